//! Weights that others published: opened, recognised, checked, and given our names; and our own under theirs.
//!
//! Read in this order: [`source`] opens a file whatever it is (`pickled` what `torch.save` wrote, `beside` what the file
//! or its neighbours say besides), `recognise` finds out whose names it carries and what network it is of, [`published`]
//! answers our names with its tensors, [`fit`] puts them into a module. [`model`] is any model by our names, from here or
//! from elsewhere; [`export`] writes it under the names of others. [`describe`] fills in what a checkpoint of ours says
//! and weights alone do not, and refuses what our networks cannot do.

pub(crate) mod beside;
pub mod describe;
pub mod export;
pub mod fit;

pub(crate) mod judged;
mod layout;
pub mod model;
mod pickled;
pub mod published;
pub mod python_config;
mod recognise;

pub mod source;

pub use self::fit::{Strictness, load};
pub use self::published::Published;
