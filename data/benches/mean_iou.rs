//! Confusion matrices of a data set the size of ADE20K's validation half, from memory.
//!
//! ```text
//! cargo bench -p cvx-data --bench mean_iou
//! ```
//!
//! 2000 pairs of maps of 512 x 683 pixels with 150 classes, each a picture of blocks as segmentations are,
//! with predictions that differ along the edges and in some whole blocks; then the hardest case, where
//! every pixel is drawn on its own. 64 different pairs are counted again and again: 45 MB, more than caches
//! hold.

use std::time::Instant;

use cvx_data::{ConfusionMatrix, Convention, LabelMap};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const IMAGES: usize = 2000;
const DIFFERENT: usize = 64;
const HEIGHT: usize = 512;
const WIDTH: usize = 683;
const CLASSES: u8 = 150;

/// Blocks of 10 to 90 pixels, a tenth of them ignored.
fn picture(rng: &mut ChaCha8Rng) -> LabelMap {
    let mut map = LabelMap::filled(WIDTH, HEIGHT, 0);
    for _ in 0..400 {
        let (width, height) = (rng.random_range(10..90), rng.random_range(10..90));
        let (x0, y0) = (rng.random_range(0..WIDTH - width), rng.random_range(0..HEIGHT - height));
        let class =
            if rng.random_range(0..10) == 0 { LabelMap::IGNORED } else { rng.random_range(0..CLASSES) };
        for row in map.pixels.chunks_exact_mut(WIDTH).skip(y0).take(height) {
            row[x0..x0 + width].fill(class);
        }
    }
    map
}

/// The picture moved by some pixels, with a quarter of its classes taken for others.
fn prediction(truth: &LabelMap, rng: &mut ChaCha8Rng) -> LabelMap {
    let shift = rng.random_range(1..9) * WIDTH + rng.random_range(1..9);
    let taken_for: Vec<u8> = (0..=255u8)
        .map(|class| {
            let keeps = class < CLASSES && rng.random_range(0..4) > 0;
            if keeps { class } else { rng.random_range(0..CLASSES) }
        })
        .collect();
    let moved = truth.pixels.iter().cycle().skip(shift).take(truth.pixels.len());
    LabelMap { pixels: moved.map(|&class| taken_for[usize::from(class)]).collect(), ..*truth }
}

fn noise(rng: &mut ChaCha8Rng) -> LabelMap {
    let pixels = (0..WIDTH * HEIGHT).map(|_| rng.random_range(0..CLASSES)).collect();
    LabelMap { width: WIDTH, height: HEIGHT, pixels }
}

/// Whether it is to measure: `cargo test --benches` only asks whether it runs.
fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn report(what: &str, pairs: &[(LabelMap, LabelMap)]) {
    let count = if is_measuring() { IMAGES } else { pairs.len() };
    let images: Vec<_> =
        pairs.iter().cycle().take(count).map(|(truth, prediction)| (truth, prediction)).collect();
    let labelled =
        |truth: &LabelMap| truth.pixels.iter().filter(|&&class| class != LabelMap::IGNORED).count();
    let labelled = images.iter().map(|(truth, _)| labelled(truth) as u64).sum::<u64>();
    let mut seconds: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            let metrics =
                ConfusionMatrix::of_images(usize::from(CLASSES), &images).metrics(Convention::Mmseg);
            let seconds = start.elapsed().as_secs_f64();
            let counted: u64 = metrics.classes.iter().map(|class| class.pixels).sum();
            assert_eq!(counted, labelled, "every pixel that is not ignored");
            seconds
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let pixels = (count * WIDTH * HEIGHT) as f64;
    println!(
        "{what}: {count} images of {HEIGHT} x {WIDTH}, {CLASSES} classes: median {:.3} s, best {:.3} s, \
         {:.2} Gpixel/s",
        seconds[2],
        seconds[0],
        pixels / seconds[2] / 1e9
    );
}

fn main() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let pictures: Vec<_> = (0..DIFFERENT)
        .map(|_| {
            let truth = picture(&mut rng);
            let prediction = prediction(&truth, &mut rng);
            (truth, prediction)
        })
        .collect();
    report("pictures", &pictures);
    let noise: Vec<_> = (0..DIFFERENT).map(|_| (noise(&mut rng), noise(&mut rng))).collect();
    report("noise", &noise);
}
