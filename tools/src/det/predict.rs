//! `cvx-det predict`: objects in images, drawn on them and listed in COCO's results format.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use cvx_data::{Coco, Geometry, Pipeline, Sample, read_image};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::args::PredictArgs;
use super::inference::Inference;
use super::results_file::ResultsFile;
use super::{Streams, data, model};
use crate::collate::{Located, results};
use crate::counting::Counting;
use crate::draw::{Drawn, overlay};
use crate::exit::{self, Exit};
use crate::image_files::{FreshNames, image_files};
use crate::wording::{abridged, counted};

/// Finds objects in every image; one that cannot be read or drawn is reported, and the others go on.
pub fn predict(args: &PredictArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    ensure!(
        (0.0..=1.0).contains(&args.draw_from),
        "--draw-from {}: possible are scores, 0 to 1",
        args.draw_from
    );
    let device = args.device.open()?;
    let trained = model::load(&args.weights, &device)?;
    trained.remarks.iter().try_for_each(|remark| writeln!(streams.err, "{remark}"))?;
    let files = image_files(&args.images, Some(&args.out))?;
    let ids = Ids::new(args.ids_from.as_deref(), &trained.classes)?;
    // All of them before the first image, so that a name that is not listed costs no work.
    let image_ids = files.iter().enumerate().map(|(index, file)| ids.image(file, index));
    let image_ids = image_ids.collect::<Result<Vec<u64>>>()?;
    fs::create_dir_all(&args.out).with_context(|| format!("{}: cannot be created", args.out.display()))?;

    let inference = Inference {
        detector: &trained.detector,
        preprocessing: &trained.preprocessing,
        mask_threshold: trained.architecture.mask_threshold(),
        device: &device,
    };
    let pipeline = data::pipeline(&trained.preprocessing);
    let mut overlays = FreshNames::new(&args.out, &args.images, &files);
    let path = args.out.join("results.json");
    let mut results_file = ResultsFile::begin(&path)?;
    let mut failed = Vec::new();
    let mut num_read = 0;
    let mut counting = Counting::on_stderr("predicted", files.len());
    for (index, (file, image_id)) in files.iter().zip(image_ids).enumerate() {
        counting.advance(1);
        let sample = match read(file, index, &pipeline) {
            Ok(sample) => sample,
            Err(error) => {
                write!(streams.err, "{}", exit::describe(&error))?;
                failed.push(file);
                continue;
            }
        };
        num_read += 1;
        let located = inference.batch(std::slice::from_ref(&sample.input)).remove(0);
        results_file.add(&results(&located, image_id, &ids.categories))?;

        let drawn = drawn(&located, &trained.classes, args.draw_from);
        match draw(&sample.original, &drawn, file, &mut overlays) {
            Ok(overlay) => writeln!(
                streams.out,
                "{}: {} of {} from a score of {} on -> {}",
                file.display(),
                drawn.len(),
                counted(located.len(), "detection", "detections"),
                args.draw_from,
                overlay.display()
            )?,
            Err(error) => {
                write!(streams.err, "{}", exit::describe(&error))?;
                failed.push(file);
            }
        }
    }
    drop(counting);

    // What a run found that saw nothing is no reason to lose what an earlier one found.
    if num_read > 0 {
        let entries = results_file.commit()?;
        writeln!(streams.out, "{} -> {}", counted(entries, "detection", "detections"), path.display())?;
    }
    let names: String = failed.iter().map(|file| format!("\n{}", file.display())).collect();
    ensure!(
        failed.is_empty(),
        "{} of {} failed:{names}",
        failed.len(),
        counted(files.len(), "image", "images")
    );
    Ok(Exit::Done)
}

/// Draws what was found, and returns the file it was drawn into.
fn draw(
    original: &image::RgbImage,
    drawn: &[Drawn],
    file: &Path,
    overlays: &mut FreshNames<'_>,
) -> Result<PathBuf> {
    let path = overlays.next(file)?;
    let saved = overlay(original, drawn).save(&path);
    saved.with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(path)
}

/// An image as it is, and as the network sees it.
struct Read {
    original: image::RgbImage,
    input: Sample,
}

fn read(file: &Path, index: usize, pipeline: &Pipeline) -> Result<Read> {
    let original = read_image(file)?;
    let (width, height) = original.dimensions();
    let sample = Sample {
        image_id: index as u64,
        index,
        file: file.to_owned(),
        image: original.clone(),
        instances: Vec::new(),
        labels: None,
        geometry: Geometry::identity(width as usize, height as usize),
    };
    // A resize draws no random numbers.
    let input = pipeline.apply(sample, &mut ChaCha8Rng::seed_from_u64(0));
    Ok(Read { original, input })
}

/// Under which ids detections are filed.
struct Ids {
    /// By class index.
    categories: Vec<u64>,
    /// By file name, when they come from a file.
    images: Option<(PathBuf, HashMap<String, u64>)>,
}

impl Ids {
    /// From a COCO file, or counted from 1.
    fn new(file: Option<&Path>, classes: &[String]) -> Result<Self> {
        let Some(file) = file else {
            return Ok(Self { categories: (1..).take(classes.len()).collect(), images: None });
        };
        let coco = Coco::open_for_scoring(file)?;
        let category = |name: &String| {
            let found = coco.categories.iter().find(|category| category.name == *name);
            found.map(|category| category.id).with_context(|| {
                let listed: Vec<String> = coco.categories.iter().map(|c| c.name.clone()).collect();
                format!("{}: lists no category `{name}`, only {}", file.display(), abridged(&listed))
            })
        };
        let categories = classes.iter().map(category).collect::<Result<_>>()?;
        let images = coco.images.iter().map(|image| (image.file_name.clone(), image.id)).collect();
        Ok(Self { categories, images: Some((file.to_owned(), images)) })
    }

    fn image(&self, file: &Path, index: usize) -> Result<u64> {
        let Some((source, images)) = &self.images else {
            return Ok(index as u64 + 1);
        };
        // File names in the json may lead through folders: the longest end that is listed counts.
        let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
        let ends = (0..parts.len()).map(|from| parts[from..].join("/"));
        match ends.filter_map(|end| images.get(&end)).next() {
            Some(id) => Ok(*id),
            None => bail!("{}: lists no image `{}`", source.display(), file.display()),
        }
    }
}

/// What to draw of what was found.
pub(super) fn drawn(located: &[Located], classes: &[String], draw_from: f64) -> Vec<Drawn> {
    located
        .iter()
        .filter(|found| f64::from(found.score) >= draw_from)
        .enumerate()
        .map(|(rank, found)| Drawn {
            bbox: found.bbox,
            mask: Some(found.mask.clone()),
            name: classes[found.class].clone(),
            score: Some(f64::from(found.score)),
            // With one class, colours tell the objects apart; with several, the classes.
            color_index: if classes.len() == 1 { rank } else { found.class },
        })
        .collect()
}
