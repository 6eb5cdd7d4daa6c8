//! A sample: an image, what is in it, and how its pixels came from the file's pixels.
//!
//! Two frames, always named. *Image pixels* are those of the file, *input pixels* those the network
//! sees. Every transform that moves pixels updates [`Geometry`], so that a detection in input pixels
//! can be brought back by [`Geometry::undo`].

use std::path::PathBuf;

use image::RgbImage;

use crate::boxes::BoxXyxy;
use crate::coco_error::CocoError;
use crate::image_file::ImageFileError;
use crate::image_folder::ImageFolderError;
use crate::label_error::LabelError;
use crate::label_map::LabelMap;
use crate::mask::Mask;
use crate::segmentation_folder::SegmentationFolderError;
use crate::tar_shards::TarShardsError;

/// One object of a sample, in input pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Contiguous class index, from 0.
    pub class: usize,
    /// Its box; after a crop, the bounds of the mask.
    pub bbox: BoxXyxy,
    /// Its pixels, in a frame of the size of the sample's image.
    pub mask: Mask,
    /// Whether this is a region of many objects not told apart: neither truth nor background.
    pub crowd: bool,
}

/// An image and its truth on the way to the network.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The id that predictions are filed under.
    pub image_id: u64,
    /// Position in the data set.
    pub index: usize,
    /// The image file, for messages.
    pub file: PathBuf,
    /// Pixels, not yet normalised.
    pub image: RgbImage,
    /// Truth; empty where a data set is read for prediction.
    pub instances: Vec<Instance>,
    /// The class of every pixel, in input pixels; `None` where objects are the truth, or there is none.
    pub labels: Option<LabelMap>,
    /// How image pixels became input pixels.
    pub geometry: Geometry,
}

impl Sample {
    /// An image as it was read, without truth.
    pub fn of_image(index: usize, file: PathBuf, image: RgbImage) -> Self {
        let geometry = Geometry::identity(image.width() as usize, image.height() as usize);
        Self { image_id: index as u64, index, file, image, instances: Vec::new(), labels: None, geometry }
    }
}

/// A data set that can be read in any order, from any thread.
#[expect(clippy::len_without_is_empty, reason = "an empty data set is refused when it is opened")]
pub trait Dataset: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Reads sample `index`, below [`len`](Dataset::len).
    ///
    /// To be done in the calling thread: the threads of rayon's pool may be waiting for the sample.
    ///
    /// # Errors
    /// When a file is missing, damaged, or contradicts the annotations.
    fn get(&self, index: usize) -> Result<Sample, DataError>;
}

/// Why a sample could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The image file.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// The annotation file.
    #[error(transparent)]
    Coco(#[from] CocoError),
    /// The folders of images and label images.
    #[error(transparent)]
    SegmentationFolder(#[from] SegmentationFolderError),
    /// The label image.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// A folder of images.
    #[error(transparent)]
    ImageFolder(#[from] ImageFolderError),
    /// A tar file of images.
    #[error(transparent)]
    TarShards(#[from] TarShardsError),
    /// More images cannot be read than may be.
    #[error("{unreadable} images cannot be read, at most {limit} may be left out; the last: {last}")]
    TooManyUnreadable {
        /// Images that cannot be read, so far.
        unreadable: usize,
        /// How many may be left out.
        limit: usize,
        /// What is wrong with the last.
        last: Box<DataError>,
    },
    /// The annotations were made for an image of another size.
    #[error(
        "{}: the image has {width} x {height} pixels, {} says {listed_width} x {listed_height} \
         (a difference by a quarter turn points to an EXIF orientation)",
        path.display(), annotations.display()
    )]
    Size {
        /// The image file.
        path: PathBuf,
        /// The annotation file.
        annotations: PathBuf,
        /// Width of the decoded, upright image.
        width: u32,
        /// Height of the decoded, upright image.
        height: u32,
        /// Width in the annotation file.
        listed_width: u32,
        /// Height in the annotation file.
        listed_height: u32,
    },
    /// An object that has a box and no mask, where masks are learnt.
    #[error("{}: annotation {annotation} has no segmentation", path.display())]
    NoMask {
        /// The annotation file.
        path: PathBuf,
        /// Id of the annotation.
        annotation: u64,
    },
    /// Filtering left nothing.
    #[error(
        "{}: none of {images} images can be trained on: each has no annotation of the classes \
         asked for, or a side under {min_side} pixels", path.display()
    )]
    NothingToTrainOn {
        /// The annotation file.
        path: PathBuf,
        /// Images listed.
        images: usize,
        /// Shortest side accepted.
        min_side: u32,
    },
}

/// How image pixels became input pixels: a shift and a scale per axis, after an exchange of the axes
/// if the image was turned. Any chain of resizes, crops, flips and quarter turns is of this form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// Width of the file's image, in image pixels.
    pub image_width: usize,
    /// Height of the file's image, in image pixels.
    pub image_height: usize,
    /// Width now, in input pixels, before padding.
    pub input_width: usize,
    /// Height now, in input pixels, before padding.
    pub input_height: usize,
    /// Whether input x runs along image y.
    pub transposed: bool,
    /// From input x to the image axis it runs along.
    pub x: AxisMap,
    /// From input y to the image axis it runs along.
    pub y: AxisMap,
}

/// `image = input * scale + offset` along one axis; a negative scale is a flip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisMap {
    /// Image pixels per input pixel.
    pub scale: f64,
    /// Image coordinate of the input's edge at 0.
    pub offset: f64,
}

impl AxisMap {
    /// The map after the input was scaled from `old` to `new` pixels.
    fn resized(self, old: usize, new: usize) -> Self {
        Self { scale: self.scale * (old as f64 / new as f64), ..self }
    }

    /// The map after input pixels before `start` were cut off.
    fn cropped(self, start: usize) -> Self {
        Self { offset: self.offset + self.scale * start as f64, ..self }
    }

    /// The map after the input, `size` pixels long, was mirrored.
    fn flipped(self, size: usize) -> Self {
        Self { scale: -self.scale, offset: self.offset + self.scale * size as f64 }
    }

    fn to_image(self, input: f32) -> f64 {
        f64::from(input) * self.scale + self.offset
    }

    fn to_input(self, image: f32) -> f64 {
        (f64::from(image) - self.offset) / self.scale
    }
}

impl Geometry {
    /// Input pixels that are image pixels.
    pub fn identity(width: usize, height: usize) -> Self {
        let same = AxisMap { scale: 1.0, offset: 0.0 };
        Self {
            image_width: width,
            image_height: height,
            input_width: width,
            input_height: height,
            transposed: false,
            x: same,
            y: same,
        }
    }

    /// After a resize to `width` x `height`.
    #[must_use]
    pub fn resized(self, width: usize, height: usize) -> Self {
        Self {
            x: self.x.resized(self.input_width, width),
            y: self.y.resized(self.input_height, height),
            input_width: width,
            input_height: height,
            ..self
        }
    }

    /// After cutting out `width` x `height` pixels that begin at (`x0`, `y0`).
    #[must_use]
    pub fn cropped(self, x0: usize, y0: usize, width: usize, height: usize) -> Self {
        Self {
            x: self.x.cropped(x0),
            y: self.y.cropped(y0),
            input_width: width,
            input_height: height,
            ..self
        }
    }

    /// After mirroring left and right.
    #[must_use]
    pub fn flipped_horizontally(self) -> Self {
        Self { x: self.x.flipped(self.input_width), ..self }
    }

    /// After mirroring top and bottom.
    #[must_use]
    pub fn flipped_vertically(self) -> Self {
        Self { y: self.y.flipped(self.input_height), ..self }
    }

    /// After exchanging rows and columns.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            x: self.y,
            y: self.x,
            input_width: self.input_height,
            input_height: self.input_width,
            transposed: !self.transposed,
            ..self
        }
    }

    /// A box in input pixels, in image pixels. Nothing is clipped: mmdet clips in the input frame
    /// only, and its published figures include boxes that stick out by a fraction of a pixel.
    pub fn undo(&self, input: BoxXyxy) -> BoxXyxy {
        let along_x = [self.x.to_image(input.x0), self.x.to_image(input.x1)];
        let along_y = [self.y.to_image(input.y0), self.y.to_image(input.y1)];
        let (x, y) = if self.transposed { (along_y, along_x) } else { (along_x, along_y) };
        ordered(x, y)
    }

    /// A box in image pixels, in input pixels, not clipped: the inverse of [`undo`](Self::undo).
    pub fn apply(&self, image: BoxXyxy) -> BoxXyxy {
        let (x, y) = ([image.x0, image.x1], [image.y0, image.y1]);
        let (along_x, along_y) = if self.transposed { (y, x) } else { (x, y) };
        ordered(along_x.map(|v| self.x.to_input(v)), along_y.map(|v| self.y.to_input(v)))
    }
}

/// A box from two ends per axis, in whichever order a flip left them.
fn ordered(x: [f64; 2], y: [f64; 2]) -> BoxXyxy {
    BoxXyxy {
        x0: x[0].min(x[1]) as f32,
        y0: y[0].min(y[1]) as f32,
        x1: x[0].max(x[1]) as f32,
        y1: y[0].max(y[1]) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(x0: f32, y0: f32, x1: f32, y1: f32) -> BoxXyxy {
        BoxXyxy { x0, y0, x1, y1 }
    }

    #[test]
    fn a_resize_is_undone_by_its_scale_factors() {
        // 100 x 50 to 200 x 150: boxes shrink by 2 across and by 3 down.
        let geometry = Geometry::identity(100, 50).resized(200, 150);
        assert_eq!(geometry.undo(bbox(20.0, 30.0, 200.0, 150.0)), bbox(10.0, 10.0, 100.0, 50.0));
    }

    #[test]
    fn a_crop_is_undone_by_its_offset() {
        let geometry = Geometry::identity(100, 50).cropped(30, 10, 40, 40).resized(80, 80);
        assert_eq!(geometry.undo(bbox(0.0, 0.0, 80.0, 80.0)), bbox(30.0, 10.0, 70.0, 50.0));
    }

    #[test]
    fn a_flip_keeps_the_corners_in_order() {
        let geometry = Geometry::identity(100, 50).flipped_horizontally();
        assert_eq!(geometry.undo(bbox(10.0, 5.0, 30.0, 20.0)), bbox(70.0, 5.0, 90.0, 20.0));
        assert_eq!(geometry.flipped_horizontally(), Geometry::identity(100, 50));
    }

    #[test]
    fn a_transposition_exchanges_the_axes() {
        let geometry = Geometry::identity(100, 50).transposed();
        assert_eq!((geometry.input_width, geometry.input_height), (50, 100));
        assert_eq!(geometry.undo(bbox(1.0, 2.0, 3.0, 4.0)), bbox(2.0, 1.0, 4.0, 3.0));
        // A flip of the input's x axis is one of the image's y axis.
        let turned = geometry.flipped_horizontally();
        assert_eq!(turned.undo(bbox(0.0, 0.0, 10.0, 20.0)), bbox(0.0, 40.0, 20.0, 50.0));
    }

    #[test]
    fn apply_is_the_inverse_of_undo() {
        let geometry = Geometry::identity(317, 211)
            .resized(500, 400)
            .cropped(13, 70, 300, 200)
            .flipped_vertically()
            .transposed()
            .resized(111, 97)
            .flipped_horizontally();
        let input = bbox(10.25, 3.5, 60.0, 90.75);
        let there_and_back = geometry.apply(geometry.undo(input));
        for (a, b) in [
            (there_and_back.x0, input.x0),
            (there_and_back.y0, input.y0),
            (there_and_back.x1, input.x1),
            (there_and_back.y1, input.y1),
        ] {
            assert!((a - b).abs() < 1e-4, "{there_and_back:?} is not {input:?}");
        }
    }
}
