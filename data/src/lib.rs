//! cvx-data.

mod boxes;
mod class_list;
mod coco;
mod coco_ap;
mod coco_ap_curve;
mod coco_ap_match;
mod coco_ap_metrics;
mod coco_cells;
mod coco_check;
mod coco_dataset;
mod coco_entries;
mod coco_error;
mod coco_json;
mod coco_number;
mod coco_overlap;
mod coco_pixels;
mod coco_results;
mod coco_segmentation;
mod coco_text;
mod image_file;
mod image_folder;
mod label_encoding;
mod label_error;
mod label_map;
mod label_png;
mod loader;
mod mask;
mod mean_iou;
mod paste;
mod polygon;
mod resize;
#[cfg(target_arch = "x86_64")]
mod resize_avx2;
mod resize_pillow;
mod rle;
mod sample;
mod sampler;
mod segmentation_check;
mod segmentation_folder;
mod shapes;
mod tar_shards;
mod transforms;
mod unreadable;

pub use crate::boxes::BoxXyxy;
pub use crate::class_list::{ClassList, voc_palette};
pub use crate::coco::{Annotation, Category, Coco, CocoImage};
pub use crate::coco_ap::{CocoEvaluator, Detection, IouType, Params};
pub use crate::coco_ap_metrics::{ClassMetrics, CocoMetrics};
pub use crate::coco_check::Problem;
pub use crate::coco_dataset::{CocoDataset, MIN_TRAINING_SIDE};
pub use crate::coco_error::{CocoError, SegmentationError};
pub use crate::coco_results::CocoResults;
pub use crate::coco_segmentation::Segmentation;
pub use crate::image_file::{ImageFileError, MAX_PIXELS, decode_image, read_image};
pub use crate::image_folder::{ImageFolder, ImageFolderError};
pub use crate::label_encoding::{LabelEncoding, LabelEncodingError, ZeroLabel};
pub use crate::label_error::LabelError;
pub use crate::label_map::{LabelMap, pad_labels_into};
pub use crate::label_png::{read_label_png, write_label_png};
pub use crate::loader::{Epoch, Loader, MOST_WORKERS};
pub use crate::mask::Mask;
pub use crate::mean_iou::{ClassIou, ConfusionMatrix, Convention, SegmentationMetrics};
pub use crate::paste::{paste, paste_probabilities};
pub use crate::polygon::PolygonError;
pub use crate::resize::{keep_ratio_size, resize_bilinear};
pub use crate::resize_pillow::{Filter, resize_pillow};
pub use crate::rle::{Rle, RleError};
pub use crate::sample::{AxisMap, DataError, Dataset, Geometry, Instance, Sample};
pub use crate::sampler::BatchSampler;
pub use crate::segmentation_check::{ClassCount, SegmentationReport, check_segmentation};
pub use crate::segmentation_folder::{SegmentationFolder, SegmentationFolderError, SegmentationSource};
pub use crate::shapes::{
    LABELLED_SHAPES_CLASSES, LabelledSplit, SHAPES_CLASSES, ShapesConfig, ShapesError, ShapesSplit, generate,
    generate_labelled,
};
pub use crate::tar_shards::{TarShards, TarShardsError};
pub use crate::transforms::{
    Negative, Photometric, Photometric8Bit, Pipeline, RandomErasing, Transform, normalise_into,
    pad_to_multiple,
};
pub use crate::unreadable::Unreadable;
