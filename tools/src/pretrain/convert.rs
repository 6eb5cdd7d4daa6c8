//! `cvx-pretrain convert`: weights under other names.

use std::fs;

use anyhow::{Context as _, Result};

use super::args::ConvertArgs;
use crate::exit::{Exit, Streams};
use crate::weights::export;
use crate::weights::model::{Model, Part};

/// Reads one tensor at a time, and writes it under its new name.
pub fn convert(args: &ConvertArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    export::check_name(&args.output)?;
    let part = if args.backbone_only { Part::Backbone } else { Part::Whole };
    let (model, mut remarks) = Model::open(&args.input, args.key.as_deref(), part)?;
    if let Some(folder) = args.output.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot be created", folder.display()))?;
    }
    remarks.extend(export::write(&model, args.to, &args.input.display().to_string(), &args.output)?);
    remarks.iter().try_for_each(|remark| writeln!(streams.out, "{remark}"))?;
    writeln!(streams.out, "{} parameters -> {}", model.params.len(), args.output.display())?;
    Ok(Exit::Done)
}
