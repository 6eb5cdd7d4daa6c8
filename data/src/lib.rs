//! Files in, samples out; predictions in, metrics out. Needs no network and no framework.
//!
//! To score detections of any model, on boxes, masks or boundaries, from memory or from a file of COCO results:
//!
//! ```
//! use cvx_data::{Coco, CocoError, CocoEvaluator, Detection, IouType, Params};
//!
//! # fn main() -> Result<(), CocoError> {
//! # let text = br#"{"images": [{"id": 1, "width": 60, "height": 40, "file_name": "a.png"}],
//! #     "categories": [{"id": 1, "name": "cat"}], "annotations": [
//! #     {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400}]}"#;
//! # let truth = Coco::from_json("truth.json".as_ref(), text.to_vec())?;
//! // let truth = Coco::open_for_scoring("instances_val2017.json")?;
//! let mut evaluator = CocoEvaluator::new(&truth, IouType::Bbox, Params::default());
//! let bbox = [6.0, 5.0, 20.0, 20.0];
//! evaluator.add([Detection { image_id: 1, category_id: 1, score: 0.9, bbox, mask: None }])?;
//!
//! let tide = evaluator.tide()?; // what each kind of error costs
//! let metrics = evaluator.finish()?; // pycocotools' arrays and figures
//! print!("{}", metrics.table());
//! assert_eq!((metrics.classes[0].name.as_str(), tide.ap), ("cat", 1.0));
//! # Ok(())
//! # }
//! ```
//!
//! Which numbers may be compared with whose:
//!
//! | Numbers | Comparable with |
//! |---|---|
//! | [`CocoEvaluator::finish`], boxes and masks | pycocotools 2.0.11 on x86-64, to the bit |
//! | [`CocoEvaluator::finish`], [`IouType::Boundary`] | boundary-iou-api, to the bit on the frozen cases |
//! | [`CocoEvaluator::lvis_metrics`] | lvis-api 0.5.3, to the bit on the frozen cases |
//! | [`CocoEvaluator::tide`] | tidecv 1.0.1, divided by 100 |
//! | [`PanopticEvaluator`], [`PanopticFile`] | panopticapi |
//! | [`CocoEvaluator::verdicts`], [`CocoEvaluator::confusion_matrix`], [`CocoEvaluator::image_verdicts`], [`compare`] | extensions, comparable with themselves |

mod bootstrap;
mod boxes;
mod class_list;
mod coco;
mod coco_ap;
mod coco_ap_curve;
mod coco_ap_match;
mod coco_ap_metrics;
mod coco_bootstrap;
mod coco_boundary;
mod coco_cells;
mod coco_check;
mod coco_confusion;
mod coco_dataset;
mod coco_entries;
mod coco_error;
mod coco_images;
mod coco_json;
mod coco_number;
mod coco_overlap;
mod coco_pixels;
mod coco_results;
mod coco_segmentation;
mod coco_survey;
mod coco_text;
mod coco_verdicts;
mod image_file;
mod image_folder;
mod label_encoding;
mod label_error;
mod label_folders;
mod label_map;
mod label_png;
mod loader;
mod lvis;
mod mask;
mod mean_iou;
mod mean_iou_bootstrap;
mod panoptic;
mod panoptic_file;
mod paste;
mod polygon;
mod polygon_fill;
mod resize;
#[cfg(target_arch = "x86_64")]
mod resize_avx2;
mod resize_pillow;
mod rle;
mod rle_text;
mod sample;
mod sampler;
mod segmentation_check;
mod segmentation_folder;
mod shapes;
mod tar_shards;
mod tide;
mod transforms;
mod unreadable;

pub use crate::bootstrap::{Comparison, Resampling};
pub use crate::boxes::BoxXyxy;
pub use crate::class_list::{ClassList, voc_palette};
pub use crate::coco::{Annotation, Category, Coco, CocoImage, Frequency};
pub use crate::coco_ap::{CocoEvaluator, Detection, IouType, Params};
pub use crate::coco_ap_metrics::{ClassMetrics, CocoMetrics, FigureRow};
pub use crate::coco_bootstrap::compare;
pub use crate::coco_check::Problem;
pub use crate::coco_confusion::DetectionConfusion;
pub use crate::coco_dataset::{CocoDataset, MIN_TRAINING_SIDE};
pub use crate::coco_error::{CocoError, SegmentationError};
pub use crate::coco_images::{ImageVerdict, Judged};
pub use crate::coco_results::CocoResults;
pub use crate::coco_segmentation::Segmentation;
pub use crate::coco_verdicts::{Calibration, CalibrationBin, OperatingPoint, Verdicts};
pub use crate::image_file::{ImageFileError, MAX_PIXELS, decode_image, image_size, read_image};
pub use crate::image_folder::{ImageFolder, ImageFolderError};
pub use crate::label_encoding::{LabelEncoding, LabelEncodingError, ZeroLabel};
pub use crate::label_error::LabelError;
pub use crate::label_folders::{LabelFolders, LabelFoldersError, LabelPair, PredictionEncoding};
pub use crate::label_map::{LabelMap, pad_labels_into};
pub use crate::label_png::{read_label_png, write_label_png};
pub use crate::loader::{Epoch, Loader, MOST_WORKERS};
pub use crate::lvis::LvisMetrics;
pub use crate::mask::Mask;
pub use crate::mean_iou::{ClassIou, ClassPixels, ConfusionMatrix, Convention, SegmentationMetrics};
pub use crate::mean_iou_bootstrap::{compare_accuracies, compare_segmentations};
pub use crate::panoptic::{
    PanopticCategory, PanopticClass, PanopticEvaluator, PanopticMetrics, PanopticQuality, PanopticSegment,
};
pub use crate::panoptic_file::{PanopticError, PanopticFile};
pub use crate::paste::{paste, paste_probabilities};
pub use crate::polygon::PolygonError;
pub use crate::resize::{keep_ratio_size, resize_bilinear};
pub use crate::resize_pillow::{Filter, resize_pillow};
pub use crate::rle::{Rle, RleError};
pub use crate::sample::{AxisMap, DataError, Dataset, Geometry, Instance, Sample};
pub use crate::sampler::BatchSampler;
pub use crate::segmentation_check::{ClassCount, ImagesRead, SegmentationReport, check_segmentation};
pub use crate::segmentation_folder::{SegmentationFolder, SegmentationFolderError, SegmentationSource};
pub use crate::shapes::{
    LABELLED_SHAPES_CLASSES, LabelledSplit, SHAPES_CLASSES, ShapesConfig, ShapesError, ShapesSplit, generate,
    generate_labelled,
};
pub use crate::tar_shards::{TarShards, TarShardsError};
pub use crate::tide::{Tide, TideError};
pub use crate::transforms::{
    Negative, Photometric, Photometric8Bit, Pipeline, RandAugment, RandomErasing, Transform, normalise_into,
    pad_to_multiple,
};
pub use crate::unreadable::Unreadable;
