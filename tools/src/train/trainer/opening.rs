//! How a run begins: afresh, or from the newest checkpoint that is sound.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::Device;

use super::TrainerParts;
use super::saving::Saving;
use super::stop;
use crate::train::checkpoint::Position;
use crate::train::ema::Ema;
use crate::train::kept::{self, Newest};
use crate::train::params;
use crate::train::told;

/// What a run begins with.
pub(super) struct Opened<M> {
    pub(super) model: M,
    pub(super) position: Position,
    pub(super) ema: Option<Ema>,
    pub(super) saving: Saving<M>,
}

/// A run that starts here.
pub(super) fn begin<M: Module>(model: M, parts: &TrainerParts) -> Result<Opened<M>> {
    stop::expect_nothing_saved(&parts.run, parts.config.checkpoint)?;
    // Now, while the device is seeded as the caller wants, and not in the middle of the first step.
    params::read_each(&model, &mut |_, _| Ok(()))?;
    let ema = parts.config.ema.map(|config| Ema::new(config, &model));
    Ok(Opened { model, position: Position::default(), ema, saving: Saving::default() })
}

/// A run that goes on, or starts where there is no checkpoint yet.
pub(super) fn resume<M: Module>(model: M, parts: &mut TrainerParts, device: &Device) -> Result<Opened<M>> {
    let Newest { checkpoint, skipped } = kept::newest(&parts.run)?;
    let Some(checkpoint) = checkpoint else {
        let folder = parts.run.checkpoints();
        parts.progress.say(&format!("nothing to resume in {}: from the beginning", folder.display()));
        return begin(model, parts);
    };
    checkpoint.expect_description(&parts.description)?;
    told::expect_ahead(parts.config.epochs, &checkpoint.position)?;
    let model = checkpoint.load_model(model)?;
    checkpoint.load_optimizer(&mut parts.optimizer, &model, device)?;
    let load_ema = |config| checkpoint.load_ema(config, &model, device);
    let ema = parts.config.ema.map(load_ema).transpose()?;
    for (path, reason) in &skipped {
        parts.progress.warn(&format!("{} is damaged and left out: {reason}", path.display()));
    }
    let (step, path) = (checkpoint.position.step, checkpoint.path.display());
    parts.progress.say(&format!("resumed after step {step} of {path}"));
    let saving = Saving {
        last_step: (checkpoint.path == parts.run.last_checkpoint()).then_some(step),
        damaged: skipped.into_iter().map(|(path, _)| path).collect(),
        ..Saving::default()
    };
    Ok(Opened { model, position: checkpoint.position, ema, saving })
}
