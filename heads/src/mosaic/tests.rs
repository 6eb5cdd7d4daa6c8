//! Bands against whole maps: resized, averaged and compared all at once.

#![expect(clippy::single_range_in_vec_init, reason = "an axis with one window has one span")]

use burn::tensor::Distribution;
use burn::tensor::activation::softmax;

use super::*;
use crate::resample::resize_bilinear;

const CLASSES: usize = 5;

/// A view of an image in an input that is padded to `frame`, with windows at `rows` and `columns`.
struct View {
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
    image: [usize; 2],
    mirroring: Mirroring,
    /// The logits of each window, row by row.
    windows: Vec<Tensor<4>>,
}

impl View {
    fn new(rows: &[Range<usize>], columns: &[Range<usize>], image: [usize; 2], mirroring: Mirroring) -> Self {
        let device = Device::flex();
        let window = |row: &Range<usize>, column: &Range<usize>| {
            let coarse = [1, CLASSES, row.len().div_ceil(4), column.len().div_ceil(4)];
            Tensor::random(coarse, Distribution::Normal(0.0, 2.0), &device)
        };
        let windows = rows.iter().flat_map(|row| columns.iter().map(move |column| window(row, column)));
        Self { rows: rows.into(), columns: columns.into(), image, mirroring, windows: windows.collect() }
    }

    /// Logits of the whole image at once.
    fn logits(&self, size: [usize; 2]) -> Tensor<4> {
        let [height, width] =
            [&self.rows, &self.columns].map(|spans| spans.iter().map(|span| span.end).max().unwrap());
        let device = self.windows[0].device();
        let mut sum = Tensor::<4>::zeros([1, CLASSES, height, width], &device);
        let mut count = Tensor::<4>::zeros([1, 1, height, width], &device);
        let mut windows = self.windows.iter();
        for row in &self.rows {
            for column in &self.columns {
                let logits = windows.next().unwrap().clone();
                let seen = resize_bilinear(logits, [row.len(), column.len()]);
                let area = s![.., .., row.clone(), column.clone()];
                sum = sum.clone().slice_assign(area, sum.slice(area) + seen);
                count = count.clone().slice_assign(area, count.slice(area) + 1.0);
            }
        }
        let image = (sum / count).slice(s![.., .., 0..self.image[0], 0..self.image[1]]);
        resize_bilinear(if self.mirroring == Mirroring::None { image } else { image.flip([3]) }, size)
    }

    fn mosaic(&self) -> Mosaic {
        Mosaic::new(self.rows.clone(), self.columns.clone(), self.image, self.mirroring)
    }

    fn advance(&self, mosaic: &mut Mosaic, size: [usize; 2], rows: &Range<usize>, looks: &mut usize) {
        mosaic.advance(size, rows, &mut |row, column| {
            *looks += 1;
            let place = |spans: &[Range<usize>], span: &Range<usize>| {
                spans.iter().position(|other| other == span).unwrap()
            };
            self.windows[place(&self.rows, &row) * self.columns.len() + place(&self.columns, &column)].clone()
        });
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    host::read_floats(tensor)
}

/// Bands of `step` rows by both ways of computing, against all at once.
#[track_caller]
fn case(views: &[View], size: [usize; 2], step: usize) {
    let [height, width] = size;
    let logits: Vec<Tensor<4>> = views.iter().map(|view| view.logits(size)).collect();
    let sum = logits.iter().map(|logits| softmax(logits.clone(), 1)).reduce(|sum, next| sum + next).unwrap();
    let mean = sum / views.len() as f32;
    let best = if views.len() == 1 { logits[0].clone() } else { mean.clone() };
    let best = host::read_bytes(best.argmax(1));
    let mean = values(mean);

    let mut mosaics: Vec<Mosaic> = views.iter().map(View::mosaic).collect();
    let mut looks = 0;
    for start in (0..height).step_by(step) {
        let rows = start..(start + step).min(height);
        for (view, mosaic) in views.iter().zip(&mut mosaics) {
            view.advance(mosaic, size, &rows, &mut looks);
        }
        let composed = mosaic_composed::classify_rows(&mosaics, size, rows.clone(), Wanted::Probabilities);
        let plain = classify_rows(&mosaics, size, rows.clone(), Wanted::Classes);
        let all = classify_rows(&mosaics, size, rows.clone(), Wanted::Probabilities);
        for bands in [&plain, &all, &vec![composed]] {
            assert_eq!(bands.iter().map(|band| band.rows.len()).sum::<usize>(), rows.len());
            for Band { rows, classes, probabilities } in bands {
                assert_eq!(classes, &best[rows.start * width..rows.end * width], "rows {rows:?} of {size:?}");
                if probabilities.is_empty() {
                    continue;
                }
                assert_eq!(probabilities.len(), CLASSES * rows.len() * width);
                for (class, plane) in probabilities.chunks_exact(rows.len() * width).enumerate() {
                    let expected = &mean[class * height * width..][rows.start * width..rows.end * width];
                    for (actual, expected) in plane.iter().zip(expected) {
                        assert!((actual - expected).abs() < 1e-6, "{actual} {expected} of {size:?}");
                    }
                }
            }
        }
    }
    let num_windows: usize = views.iter().map(|view| view.windows.len()).sum();
    assert_eq!(looks, num_windows, "every window is looked through once");
}

#[test]
fn bands_of_any_height_are_the_whole() {
    for step in [1, 3, 100] {
        for size in [[21, 18], [40, 33], [9, 7], [1, 1], [21, 50]] {
            let whole = View::new(&[0..21], &[0..18], [21, 18], Mirroring::None);
            case(&[whole], size, step);
            let windows = View::new(&[0..12, 7..19, 9..21], &[0..12, 6..18], [21, 18], Mirroring::Horizontal);
            case(&[windows], size, step);
        }
    }
}

#[test]
fn padding_is_cut_off_before_the_image_is_turned_and_resized() {
    for mirroring in [Mirroring::None, Mirroring::Horizontal] {
        for size in [[17, 25], [30, 11]] {
            case(&[View::new(&[0..32], &[0..32], [17, 25], mirroring)], size, 5);
            case(&[View::new(&[0..20, 12..32], &[0..32], [17, 25], mirroring)], size, 5);
        }
    }
}

#[test]
fn several_views_are_averaged_as_probabilities() {
    let views = [
        View::new(&[0..12, 7..19], &[0..12, 6..18], [19, 18], Mirroring::None),
        View::new(&[0..12, 7..19], &[0..12, 6..18], [19, 18], Mirroring::Horizontal),
        View::new(&[0..40], &[0..36], [38, 36], Mirroring::None),
    ];
    for step in [1, 4, 64] {
        case(&views, [27, 25], step);
    }
}

#[test]
fn a_single_pixel_has_a_class() {
    case(&[View::new(&[0..32], &[0..32], [1, 1], Mirroring::None)], [1, 1], 1);
}

#[test]
fn the_first_of_equal_classes_is_taken() {
    let view = View::new(&[0..8], &[0..8], [8, 8], Mirroring::None);
    let mut mosaic = view.mosaic();
    mosaic.advance([8, 8], &(0..8), &mut |_, _| Tensor::ones([1, CLASSES, 2, 2], &Device::flex()));
    let bands = classify_rows(&[mosaic], [8, 8], 0..8, Wanted::Probabilities);
    assert!(bands.iter().all(|band| band.classes.iter().all(|&class| class == 0)));
    assert!(bands.iter().all(|band| band.probabilities.iter().all(|&share| share == 1.0 / CLASSES as f32)));
}

#[test]
#[should_panic(expected = "windows on row 0 are forgotten")]
fn an_image_is_passed_from_top_to_bottom() {
    let view = View::new(&[0..8, 8..16], &[0..8], [16, 8], Mirroring::None);
    let mut mosaic = view.mosaic();
    for rows in [12..16, 0..4] {
        view.advance(&mut mosaic, [16, 8], &rows, &mut 0);
    }
}

#[test]
#[should_panic(expected = "do not cover 20 pixels")]
fn windows_that_leave_pixels_out_are_refused() {
    View::new(&[0..8, 9..20], &[0..8], [20, 8], Mirroring::None).mosaic();
}
