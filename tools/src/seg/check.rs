//! `cvx-seg check`: reads the whole data set of a recipe and lists what would stop or hurt a training.

use anyhow::Result;
use burn::prelude::Device;
use cvx_data::{ClassCount, SegmentationReport, check_segmentation};

use super::data::Source;
use super::initial::initial;
use super::recipe::Recipe;
use crate::args::CheckArgs;
use crate::exit::{Exit, Streams};
use crate::findings::Findings;
use crate::recipe;
use crate::wording::counted;

/// Checks images and labels of both halves; ends with [`Exit::BadInput`] if training would stop.
pub fn check(args: &CheckArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let recipe: Recipe = recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let source = Source::of(&recipe.data)?;
    let names = &source.classes.names;
    let mut num_errors = 0;
    let halves = [("train", &source.train), ("validation", &source.val)];
    // Some recipes judge what they train on.
    let num_halves = if source.train == source.val { 1 } else { 2 };
    for (name, half) in halves.into_iter().take(num_halves) {
        let report = check_segmentation(half, &source.encoding, names)?;
        let out = &mut *streams.out;
        writeln!(out, "{name}: {}: {}", half.images.display(), counted(report.images, "image", "images"))?;
        let findings = Findings::of(&report.problems);
        num_errors += findings.errors.len();
        findings.write(out, args.limit)?;
        write_shares(&report, names, out)?;
    }
    if let Err(error) = source.compare_classes(&recipe) {
        num_errors += 1;
        writeln!(streams.out, "  error: {error}")?;
    }
    // Whether the weights to start from load is known once they have been.
    if num_errors == 0 {
        match initial(&recipe, names, &Device::flex()) {
            Ok((_, remarks)) => {
                remarks.iter().try_for_each(|remark| writeln!(streams.out, "weights: {remark}"))?;
            }
            Err(error) => {
                num_errors += 1;
                writeln!(streams.out, "  error: {error:#}")?;
            }
        }
    }
    if num_errors > 0 {
        writeln!(streams.out, "training would stop: {}", counted(num_errors, "error", "errors"))?;
        return Ok(Exit::BadInput);
    }
    writeln!(streams.out, "training would run")?;
    Ok(Exit::Done)
}

/// How much of the pixels, and of the images, each class has.
fn write_shares(report: &SegmentationReport, names: &[String], out: &mut dyn std::io::Write) -> Result<()> {
    let labelled: u64 = report.classes.iter().map(|class| class.pixels).sum();
    let share = |pixels: u64| 100.0 * pixels as f64 / (labelled + report.ignored_pixels).max(1) as f64;
    writeln!(out, "  {:<24} {:>10} {:>10}", "class", "% pixels", "images")?;
    for (name, ClassCount { pixels, images }) in names.iter().zip(&report.classes) {
        writeln!(out, "  {name:<24} {:>10.3} {images:>10}", share(*pixels))?;
    }
    writeln!(out, "  {:<24} {:>10.3}", "(ignored)", share(report.ignored_pixels))?;
    Ok(())
}
