//! How fast image files become network input, on one core.
//!
//! `cargo run --release -p cvx-data --example image_speed -- FOLDER [LONG SHORT]`
//!
//! Prints milliseconds an image for decoding, resizing (keep ratio, default 1333 x 800) and
//! normalising all images of a folder.

use std::path::PathBuf;
use std::time::Instant;

use cvx_data::{decode_image, keep_ratio_size, normalise_into, pad_to_multiple, resize_bilinear};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: image_speed FOLDER [LONG SHORT]")?);
    let long = arguments.next().map_or(Ok(1333), |text| text.parse())?;
    let short = arguments.next().map_or(Ok(800), |text| text.parse())?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        files.push((std::fs::read(&path)?, path));
    }

    // The best of several rounds, image by image: what else the machine does falls out.
    let mut best = vec![[f64::INFINITY; 3]; files.len()];
    let mut planes = Vec::new();
    for _ in 0..7 {
        for ((bytes, path), best) in files.iter().zip(&mut best) {
            let start = Instant::now();
            let image = decode_image(bytes, path)?;
            let decode = start.elapsed();

            let (width, height) = keep_ratio_size(image.width(), image.height(), long, short);
            let start = Instant::now();
            let resized = resize_bilinear(&image, width, height);
            let resize = start.elapsed();

            let padded = [height, width].map(|side| pad_to_multiple(side as usize, 32));
            planes.resize(3 * padded[0] * padded[1], 0.0);
            let start = Instant::now();
            let (mean, std) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
            normalise_into(&resized, mean, std, &mut planes, padded[0], padded[1]);
            let normalise = start.elapsed();

            for (best, elapsed) in best.iter_mut().zip([decode, resize, normalise]) {
                *best = best.min(elapsed.as_secs_f64() * 1000.0);
            }
        }
    }
    let [decode, resize, normalise] =
        [0, 1, 2].map(|step| best.iter().map(|best| best[step]).sum::<f64>() / files.len() as f64);
    println!("{} images, milliseconds an image on one core", files.len());
    println!("decode {decode:.2}   resize {resize:.2}   normalise {normalise:.2}");
    println!("together {:.2}", decode + resize + normalise);
    Ok(())
}
