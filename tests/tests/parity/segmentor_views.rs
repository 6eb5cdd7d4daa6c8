//! Several views of an image, and padded ones, against mmseg; and images of any size against `logits` and `classes`.

use anyhow::Result;
use burn::prelude::*;
use cvx_data::{LabelMap, normalise_into, read_image, resize_bilinear};
use cvx_heads::{Band, Wanted};
use cvx_tests::golden::Golden;
use cvx_tests::tolerance::{FORWARD, assert_close};
use cvx_tools::recipe::Input;
use cvx_tools::seg::inference::{Look, Window, classes, each_band, label_image, logits};
use cvx_tools::seg::model::{Preprocessing, Segmentor};
use image::{Rgb, RgbImage};

use crate::segmentor_reference::{Reference, float, number, window};

fn preprocessing([long_side, short_side]: [u32; 2], window: Window, pad_multiple: usize) -> Preprocessing {
    let input = Input { mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375], pad_multiple };
    Preprocessing { input, short_side, long_side, window }
}

/// The probabilities of all pixels, `[classes, height, width]`, and their classes.
fn probabilities(
    segmentor: &Segmentor,
    image: &RgbImage,
    preprocessing: &Preprocessing,
    look: &Look,
) -> (Vec<f32>, Vec<u8>) {
    let num_pixels = (image.width() * image.height()) as usize;
    let width = image.width() as usize;
    let mut all = vec![f32::NAN; segmentor.heads.num_classes() * num_pixels];
    let mut found = Vec::new();
    let mut take = |Band { rows, classes, probabilities }: Band| -> Result<()> {
        let planes = all.chunks_exact_mut(num_pixels);
        for (plane, band) in planes.zip(probabilities.chunks_exact(rows.len() * width)) {
            plane[rows.start * width..rows.end * width].copy_from_slice(band);
        }
        found.extend(classes);
        Ok(())
    };
    let device = cvx_tests::device();
    each_band(segmentor, image, preprocessing, look, Wanted::Probabilities, &device, &mut take)
        .expect("nothing fails");
    (all, found)
}

#[test]
fn views_are_padded_turned_and_averaged_as_by_mmseg() {
    let device = cvx_tests::device();
    for golden in Golden::of_kind("upernet_views") {
        let meta = golden.json("meta.json");
        let expected = golden.tensors("expected.safetensors");
        let small = Golden::named(meta["segmentor"].as_str().expect("a name"));
        let Reference { segmentor, .. } = Reference::new(&small, "mmseg.pth", &device, |heads| heads);
        let image = read_image(&small.file("e2e.png")).expect("an image");
        let sides = [0, 1].map(|at| number(&meta["scale"][at]) as u32);
        let cases = meta["cases"].as_object().expect("cases");
        assert!(cases.len() >= 5);
        for (name, case) in cases {
            let window = if case["mode"] == "slide" { window(&small) } else { Window::Whole };
            let preprocessing = preprocessing(sides, window, number(&case["size_divisor"]));
            let scales = case["ratios"].as_array().expect("ratios").iter().map(float).collect();
            let look = Look { window, scales, flip: case["flip"] == true };
            let theirs = expected.i64(&format!("{name}.classes")).values;
            let ours = label_image(&segmentor, &image, &preprocessing, &look, &device);
            assert!(ours.pixels.iter().map(|&class| i64::from(class)).eq(theirs), "{name}: the same classes");
            let (all, classes) = probabilities(&segmentor, &image, &preprocessing, &look);
            assert_eq!(classes, ours.pixels, "{name}: the same classes with probabilities");
            if let Some(theirs) = expected.get(&format!("{name}.probabilities")) {
                assert_close(name, &all, &theirs.values, FORWARD);
            }
        }
    }
}

fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = width * 31 + height;
    RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Rgb([(x * 5) as u8 ^ (state >> 27) as u8, (y * 7) as u8, (state >> 25) as u8])
    })
}

#[test]
fn images_of_any_size_have_the_classes_of_their_whole_logits() {
    let device = cvx_tests::device();
    let small = Golden::named("upernet_small");
    let Reference { segmentor, .. } = Reference::new(&small, "mmseg.pth", &device, |heads| heads);
    // Odd, larger and smaller than the window and than the input, taller than the rows that are classified at once.
    for ([width, height], sides) in [
        ([130, 90], [320, 80]),
        ([51, 47], [51, 47]),
        ([97, 301], [320, 64]),
        ([40, 35], [400, 130]),
        ([300, 33], [200, 33]),
    ] {
        let image = noise(width, height);
        for window in [Window::Whole, window(&small)] {
            let preprocessing = preprocessing(sides, window, 1);
            let (w, h) = cvx_data::keep_ratio_size(width, height, sides[0], sides[1]);
            if w.min(h) < 32 {
                continue;
            }
            let resized = resize_bilinear(&image, w, h);
            let [w, h] = [w, h].map(|side| side as usize);
            let mut planes = vec![0.0; 3 * h * w];
            let Input { mean, std, .. } = preprocessing.input;
            normalise_into(&resized, mean, std, &mut planes, h, w);
            let input = Tensor::from_data(TensorData::new(planes, [1, 3, h, w]), &device);
            let original = [height as usize, width as usize];
            let expected = classes(logits(&segmentor, input, window), original);
            let expected: Vec<i64> = expected.into_data().iter::<i64>().collect();
            let found = label_image(&segmentor, &image, &preprocessing, &Look::once(window), &device);
            assert_eq!([found.height, found.width], original);
            assert!(
                found.pixels.iter().map(|&class| i64::from(class)).eq(expected),
                "{width} x {height}, {window:?}"
            );
        }
    }
}

#[test]
fn images_down_to_a_single_pixel_have_classes() {
    let device = cvx_tests::device();
    let small = Golden::named("upernet_small");
    let Reference { segmentor, .. } = Reference::new(&small, "mmseg.pth", &device, |heads| heads);
    for [width, height] in [[1, 1], [1, 70], [300, 1], [3, 2]] {
        for sides in [[200, 64], [16, 8], [1, 1]] {
            for (window, pad_multiple) in [(Window::Whole, 1), (window(&small), 1), (Window::Whole, 64)] {
                let preprocessing = preprocessing(sides, window, pad_multiple);
                let look = Look { window, scales: vec![0.5, 1.0], flip: true };
                for look in [&look, &Look::once(window)] {
                    let LabelMap { width: found_width, height: found_height, pixels } =
                        label_image(&segmentor, &noise(width, height), &preprocessing, look, &device);
                    assert_eq!([found_width, found_height], [width, height].map(|side| side as usize));
                    assert!(
                        pixels.len() == (width * height) as usize && pixels.iter().all(|&class| class < 7)
                    );
                }
            }
        }
    }
}
