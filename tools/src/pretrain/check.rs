//! `cvx-pretrain check`: looks through the images of a recipe and lists what would stop or hurt a pretraining.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use burn::prelude::Device;
use cvx_data::{BatchSampler, Dataset as _, Loader, Sample, TarShards, image_size};
use image::RgbImage;
use rayon::prelude::*;

use super::data::{self, Images};
use super::initial::initial;
use super::model;
use super::recipe::{Halves, Recipe, Source};
use crate::args::CheckArgs;
use crate::browse::{Sheet, browse, file_and_size, tell};
use crate::check::{self, Course, Decoded};
use crate::exit::{Exit, Streams};
use crate::findings::Findings;
use crate::recipe;
use crate::wording::counted;

/// A half that could be opened.
struct Half {
    name: &'static str,
    images: Arc<Images>,
    decoded: Option<Decoded>,
}

/// Checks the images of both halves; ends with [`Exit::BadInput`] if a pretraining would stop.
///
/// # Errors
/// If the recipe cannot be used.
pub fn check(args: &CheckArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let written = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let recipe = &written.recipe;
    let mut num_errors = 0;
    let mut halves: Vec<Half> = Vec::new();
    // Which of them are unreadable is what is looked for here.
    let opened = data::halves(&recipe.data, usize::MAX)?;
    for (name, opened) in ["train", "validation"].into_iter().zip(opened) {
        let mut findings = Findings::default();
        match opened {
            Ok(images) => {
                let out = &mut *streams.out;
                writeln!(out, "{name}: {}", counted(images.len(), "image", "images"))?;
                let half = look(recipe, name, images, args.images, &mut findings);
                write_kinds(&half, out)?;
                if let Some(train) = halves.first() {
                    compare(train, &half, &mut findings);
                }
                halves.push(half);
            }
            Err(error) => {
                writeln!(streams.out, "{name}: cannot be opened")?;
                not_opened(recipe, name, &error, &mut findings);
            }
        }
        num_errors += findings.num_errors();
        findings.write(streams.out, args.limit)?;
    }
    if !args.images {
        writeln!(streams.out, "{}", check::NOT_DECODED)?;
    }
    if num_errors == 0 {
        let initial = initial(recipe, &Device::flex());
        num_errors += check::beginning(initial, &recipe.plan(), &written, streams.out)?;
    }
    if let Some(count) = args.browse {
        for half in &halves {
            let drawn = draw_samples(recipe, half, count, args);
            tell(half.name, "samples", drawn, num_errors > 0, streams.out)?;
        }
        if halves.is_empty() {
            writeln!(streams.out, "no samples are drawn: neither half can be opened")?;
        }
    }
    if num_errors > 0 {
        writeln!(streams.out, "training would stop: {}", counted(num_errors, "error", "errors"))?;
        return Ok(Exit::BadInput);
    }
    writeln!(streams.out, "training would run")?;
    Ok(Exit::Done)
}

/// Looks at every image of a half, or at its header alone.
fn look(
    recipe: &Recipe,
    name: &'static str,
    images: Images,
    is_decoding: bool,
    findings: &mut Findings,
) -> Half {
    let images = Arc::new(images);
    if name == "train" {
        let loader = data::train_loader(recipe, &images);
        Course::of(&recipe.plan(), images.len(), loader.batches_per_epoch()).doubt(findings);
        check::doubt_normalisation(&recipe.input.mean, &recipe.input.std, findings);
    }
    let names: Vec<PathBuf> = (0..images.len()).map(|index| images.name(index)).collect();
    let limit = recipe.data.most_unreadable;
    if is_decoding {
        let seen = check::decode_each(&names, &|index| images.bytes(index), &|_| None, findings);
        check::doubt_unreadable(&seen.failures, limit, findings);
        seen.doubt_normalisation(&recipe.input.mean, &recipe.input.std, findings);
        seen.sizes.iter().for_each(|(name, size)| doubt_size(recipe, name, *size, findings));
        return Half { name, images, decoded: Some(seen) };
    }
    // A shard's members are read whole or not at all.
    if let Images::Folder(_) = *images {
        let sizes: Vec<_> = names.par_iter().map(|name| image_size(name)).collect();
        let failures: Vec<String> =
            sizes.iter().filter_map(|size| size.as_ref().err()).map(ToString::to_string).collect();
        check::doubt_unreadable(&failures, limit, findings);
        for (name, size) in names.iter().zip(&sizes) {
            if let Ok(size) = size {
                doubt_size(recipe, name, *size, findings);
            }
        }
    }
    Half { name, images, decoded: None }
}

/// Notes an image that is enlarged even where all of it is cut out.
fn doubt_size(recipe: &Recipe, name: &std::path::Path, (width, height): (u32, u32), findings: &mut Findings) {
    let side = recipe.input.side;
    if width.min(height) < side {
        let text = format!(
            "{}: {width} x {height} is smaller than input.side = {side}, and enlarged",
            name.display()
        );
        findings.warning_of("images smaller than the crop", text);
    }
}

/// What images are besides coloured.
fn write_kinds(half: &Half, out: &mut dyn Write) -> Result<()> {
    let Some(Decoded { grey, transparent, .. }) = half.decoded else { return Ok(()) };
    if grey > 0 {
        writeln!(out, "  {} without colour: all channels are alike", counted(grey, "image", "images"))?;
    }
    if transparent > 0 {
        writeln!(
            out,
            "  {} with transparency, which is ignored: what is hidden is learnt, too",
            counted(transparent, "image", "images")
        )?;
    }
    Ok(())
}

/// What keeps a half from being opened: of shards, each that is damaged.
fn not_opened(recipe: &Recipe, name: &str, error: &anyhow::Error, findings: &mut Findings) {
    if let Source::Shards(Halves { train, val }) = &recipe.data.source {
        let (key, shards) = if name == "train" {
            ("data.source.shards.train", train)
        } else {
            ("data.source.shards.val", val)
        };
        let problems = data::paths(key, shards).map(|paths| TarShards::problems(&paths)).unwrap_or_default();
        if !problems.is_empty() {
            for problem in problems {
                findings.error_of("shards that cannot be read", format!("{key}: {problem}"));
            }
            return;
        }
    }
    findings.error(format!("{error:#}"));
}

/// What only the two halves together tell.
fn compare(train: &Half, val: &Half, findings: &mut Findings) {
    if let (Some(train), Some(val)) = (&train.decoded, &val.decoded) {
        return Decoded::doubt_copies(train, val, findings);
    }
    let learnt: HashSet<PathBuf> = (0..train.images.len()).map(|index| train.images.name(index)).collect();
    let names = (0..val.images.len()).map(|index| val.images.name(index));
    for name in names.filter(|name| learnt.contains(name)) {
        let text = format!("{}: is in both halves", name.display());
        findings.warning_of("validation images that are trained on", text);
    }
}

/// A sheet of samples: of training as its first epoch sees them, of validation as they are judged.
fn draw_samples(recipe: &Recipe, half: &Half, count: usize, args: &CheckArgs) -> Result<Sheet> {
    let loader = if half.name == "train" {
        data::train_loader(recipe, &half.images)
    } else {
        let sampler = BatchSampler::shuffled(&vec![(1, 1); half.images.len()], 1, recipe.seed);
        let pipeline = Arc::new(model::preprocessing(recipe).pipeline());
        Loader::new(Arc::<Images>::clone(&half.images), pipeline, sampler, recipe.train.workers)
    };
    let draw = |sample: &Sample| -> RgbImage { sample.image.clone() };
    browse(&loader, count, &draw, &file_and_size, &args.out, half.name)
}
