//! Weights that others published: opened, recognised, checked, and given our names; and our own under theirs.
//!
//! Read in this order: [`source`] opens a file whatever it is, [`published`] recognises whose names it carries and what
//! network it is of, [`fit`] puts it into a module. [`model`] is any model by our names, from here or from elsewhere;
//! [`export`] writes it under the names of others. [`describe`] fills in what a checkpoint of ours says and weights
//! alone do not.

pub(crate) mod beside;
pub mod describe;
pub mod export;
pub mod fit;

mod layout;
pub mod model;
mod pickled;
pub mod published;
pub mod python_config;
mod recognise;

pub mod source;

pub use self::fit::{Strictness, load};
pub use self::published::Published;
