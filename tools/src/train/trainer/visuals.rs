//! What a run shows in TensorBoard besides numbers: pictures of predictions, and how weights and gradients are spread.

use std::io::Cursor;

use anyhow::Result;
use burn::module::Module;
use image::imageops::{self, thumbnail};
use image::{ImageFormat, RgbImage};

use super::Trainer;
use crate::run_report::Pair;
use crate::train::clip::ParamGradients;
use crate::train::histogram::Histogram;
use crate::train::params;
use crate::train::values::{Values, slice};

/// The longer side of a picture, pixels: TensorBoard keeps all of them in memory.
const SIDE: u32 = 640;

/// How gradients were spread in the last update, where that is asked for.
#[derive(Debug, Default)]
pub(super) struct Spread {
    is_wanted: bool,
    gradients: Vec<(String, Histogram)>,
}

impl Spread {
    /// Notes the gradients of an update, `batches` of which were summed.
    pub(super) fn note(&mut self, gradients: &ParamGradients, batches: usize) {
        if !self.is_wanted {
            return;
        }
        let histogram = |(path, values): (&String, &Values)| {
            let data = values.to_data(&[values_len(values)]);
            Some((path.clone(), Histogram::of(slice(&data), 1.0 / batches as f64)?))
        };
        self.gradients = gradients.values.iter().filter_map(histogram).collect();
    }
}

fn values_len(values: &Values) -> usize {
    match values {
        Values::Host(data) => data.num_elements(),
        Values::Device(tensor) => tensor.shape().num_elements(),
    }
}

impl<M: Module> Trainer<M> {
    /// From now on, evaluations record how weights and the last gradients are spread.
    pub fn spread_wanted(&mut self, is_wanted: bool) {
        self.spread.is_wanted = is_wanted;
    }

    /// Shows pictures of an evaluation, predictions beside the truth.
    ///
    /// # Errors
    /// If a picture cannot be encoded.
    pub(crate) fn record_pictures(&mut self, pictures: &[Pair]) -> Result<()> {
        for (index, Pair { prediction, truth, .. }) in pictures.iter().enumerate() {
            let picture = match truth {
                Some(truth) => beside(prediction, truth),
                None => small(prediction),
            };
            let mut png = Cursor::new(Vec::new());
            picture.write_to(&mut png, ImageFormat::Png)?;
            let tag = format!("predictions/{index}");
            let step = self.position.step;
            self.show(|events| events.image(step, &tag, picture.dimensions(), png.get_ref()));
        }
        Ok(())
    }

    /// Shows how weights and the last gradients are spread, where that is asked for.
    ///
    /// # Errors
    /// If a weight cannot be read from its device.
    pub fn record_spread(&mut self) -> Result<()> {
        if !self.spread.is_wanted {
            return Ok(());
        }
        let step = self.position.step;
        let mut weights = Vec::new();
        params::read_each(self.model(), &mut |path, data| {
            weights.extend(Histogram::of(slice(&data), 1.0).map(|histogram| (path.to_owned(), histogram)));
            Ok(())
        })?;
        let gradients = std::mem::take(&mut self.spread.gradients);
        self.show(|events| {
            for (kind, histograms) in [("weights", &weights), ("gradients", &gradients)] {
                for (path, histogram) in histograms {
                    events.histogram(step, &format!("{kind}/{path}"), histogram)?;
                }
            }
            Ok(())
        });
        self.spread.gradients = gradients;
        Ok(())
    }
}

/// Two pictures of one size beside each other, with a gap.
fn beside(left: &RgbImage, right: &RgbImage) -> RgbImage {
    const GAP: u32 = 8;
    let (left, right) = (small(left), small(right));
    let width = left.width() + GAP + right.width();
    let mut both = RgbImage::from_pixel(width, left.height().max(right.height()), image::Rgb([255; 3]));
    imageops::replace(&mut both, &left, 0, 0);
    imageops::replace(&mut both, &right, i64::from(left.width() + GAP), 0);
    both
}

fn small(picture: &RgbImage) -> RgbImage {
    let longest = picture.width().max(picture.height()).max(1);
    if longest <= SIDE {
        return picture.clone();
    }
    let scaled = |side: u32| (u64::from(side) * u64::from(SIDE)).div_ceil(u64::from(longest)) as u32;
    thumbnail(picture, scaled(picture.width()), scaled(picture.height()))
}
