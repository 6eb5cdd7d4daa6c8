//! `cvx-pretrain`: weights before a network stands on them. So far: converting them.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use crate::exit::{self, Exit, Streams};
use crate::weights::export::{self, Form};
use crate::weights::model::{Model, Part};

/// Convert weights of ConvNeXt between cvx and the libraries that others use.
///
/// Exit codes: 0 done, 2 bad input.
#[derive(Debug, Parser)]
#[command(name = "cvx-pretrain", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Convert weights, published or from here, to a checkpoint or to the names of others
    Convert(ConvertArgs),
}

/// Arguments of `convert`.
#[derive(Debug, Clone, Args)]
pub struct ConvertArgs {
    /// Weights of a ConvNeXt: official, timm, transformers, torchvision, OpenMMLab or detectron2 (.pth, .pt, .bin,
    /// .safetensors, or a folder as saved for a hub), or a checkpoint of cvx
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file to write, safetensors; its folder is created when absent
    #[arg(value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value = "cvx")]
    pub to: Form,
    /// Which weights to take of a PyTorch file that holds several, such as `model_ema`
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Leave out what stands on the backbone
    #[arg(long)]
    pub backbone_only: bool,
}

/// The program `cvx-pretrain`.
pub fn main() -> ExitCode {
    exit::main(run)
}

/// Parses `args` (the program's name first) and runs the command they name.
pub fn run<I, T>(args: I, streams: Streams<'_>) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    exit::run(args, streams, |cli: Cli, streams| match &cli.command {
        Command::Convert(args) => convert(args, streams),
    })
}

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
