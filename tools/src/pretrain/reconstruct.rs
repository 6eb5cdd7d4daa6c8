//! `cvx-pretrain reconstruct`: what a pretrained network imagines, drawn beside what it saw.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use burn::prelude::*;
use cvx_data::{Sample, read_image};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::args::ReconstructArgs;
use super::model::{self, Trained};
use super::recipe;
use crate::classify::Preprocessing;
use crate::draw::Lettering;
use crate::exit::{self, Exit, Streams};
use crate::image_files::{FreshNames, image_files};
use crate::wording::counted;

/// What stands above the three pictures.
const CAPTIONS: [&str; 3] = ["original", "masked", "reconstruction"];

/// Colour of hidden patches, and of the paper.
const HIDDEN: Rgb<u8> = Rgb([128; 3]);
const PAPER: Rgb<u8> = Rgb([255; 3]);
const INK: Rgb<u8> = Rgb([60; 3]);

/// Pictures are enlarged while they stay within this, pixels.
const COMFORTABLE_SIDE: u32 = 320;

/// Pixels between pictures and around them.
const MARGIN: u32 = 8;

/// Draws every image; one that cannot be read is reported, and the others go on.
///
/// # Errors
/// If the checkpoint cannot be used, or an image not be read.
pub fn reconstruct(args: &ReconstructArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let device = args.device.open()?;
    let mut trained = model::load(&args.weights, &device)?;
    let size = trained.preprocessing.size;
    if let Some(ratio) = args.mask_ratio {
        let autoencoder =
            recipe::Autoencoder { mask_ratio: ratio, ..trained.architecture.autoencoder.clone() };
        autoencoder
            .check()
            .and_then(|()| autoencoder.check_grid(size))
            .with_context(|| format!("--mask-ratio {ratio}"))?;
        trained.architecture.autoencoder = autoencoder;
    }
    let files = image_files(&args.images, Some(&args.out))?;
    fs::create_dir_all(&args.out).with_context(|| format!("{}: cannot be created", args.out.display()))?;
    let mut names = FreshNames::new(&args.out, &args.images, &files);
    let mut failed = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let seed = args.seed.wrapping_add(index as u64);
        let drawn = read_image(file).map_err(anyhow::Error::from).and_then(|image| {
            let sample = Sample::of_image(index, file.clone(), image);
            let picture = draw(&trained, sample, seed, &device)?;
            let path = names.next(file)?;
            picture.save(&path).with_context(|| format!("{}: cannot be written", path.display()))?;
            Ok(path)
        });
        match drawn {
            Ok(path) => writeln!(streams.out, "{} -> {}", file.display(), path.display())?,
            Err(error) => {
                write!(streams.err, "{}", exit::describe(&error))?;
                failed.push(file);
            }
        }
    }
    let list: String = failed.iter().map(|file| format!("\n{}", file.display())).collect();
    ensure!(
        failed.is_empty(),
        "{} of {} failed:{list}",
        failed.len(),
        counted(files.len(), "image", "images")
    );
    Ok(Exit::Done)
}

/// The three pictures of one image, side by side.
pub(super) fn draw(trained: &Trained, sample: Sample, seed: u64, device: &Device) -> Result<RgbImage> {
    let Trained { fcmae, architecture, preprocessing } = trained;
    let Preprocessing { mean, std, size, .. } = *preprocessing;
    // Nothing is drawn at random where an image is cut in its centre.
    let sample = preprocessing.pipeline().apply(sample, &mut ChaCha8Rng::seed_from_u64(0));
    let mask = Arc::new(architecture.mask(size, &[seed]));
    let images = preprocessing.images(std::slice::from_ref(&sample), device);
    let imagined = fcmae.reconstruct(images, &mask).try_into_vec_as::<f32>()?;

    let plane = (size * size) as usize;
    let hidden: Vec<bool> = mask.is_hidden().collect();
    let is_hidden = |x: u32, y: u32| {
        let side = cvx_backbone::PATCH as u32;
        hidden[(y / side * (size / side) + x / side) as usize]
    };
    let seen = sample.image;
    let masked =
        RgbImage::from_fn(size, size, |x, y| if is_hidden(x, y) { HIDDEN } else { *seen.get_pixel(x, y) });
    let reconstruction = RgbImage::from_fn(size, size, |x, y| {
        if !is_hidden(x, y) {
            return *seen.get_pixel(x, y);
        }
        let at = (y * size + x) as usize;
        Rgb([0, 1, 2].map(|channel| {
            let value = imagined[channel * plane + at] * std[channel] + mean[channel];
            value.round().clamp(0.0, 255.0) as u8
        }))
    });
    Ok(side_by_side(&[seen, masked, reconstruction]))
}

/// Each below its caption; small ones enlarged by a whole factor.
fn side_by_side(pictures: &[RgbImage; 3]) -> RgbImage {
    let factor = (COMFORTABLE_SIDE / pictures[0].width()).max(1);
    let (width, height) = (pictures[0].width() * factor, pictures[0].height() * factor);
    let lettering = Lettering::new(16.0);
    let line = lettering.size(CAPTIONS[0]).1.ceil() as u32 + MARGIN;
    let mut canvas = RgbImage::from_pixel(3 * width + 4 * MARGIN, height + line + 2 * MARGIN, PAPER);
    for (index, (picture, caption)) in pictures.iter().zip(CAPTIONS).enumerate() {
        let left = MARGIN + index as u32 * (width + MARGIN);
        lettering.draw(&mut canvas, left as f32, MARGIN as f32 / 2.0, caption, INK);
        let picture = imageops::resize(picture, width, height, FilterType::Nearest);
        imageops::replace(&mut canvas, &picture, left.into(), (line + MARGIN).into());
    }
    canvas
}
