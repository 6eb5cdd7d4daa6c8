//! A generated data set: textured discs, squares, triangles and stars that overlap and hide one
//! another, with exact masks, written as COCO json and PNG files, or with a class for every pixel.
//!
//! It needs no download, a small detector learns it from random weights in minutes, and it passes
//! through the same readers, transforms and evaluators as COCO. Objects span COCO's small, medium
//! and large areas; some are cut by the border; now and then a swarm of tiny ones is one crowd
//! region, and an image is empty. Everything follows from the seed.

mod folder;
mod labelled;
mod layout;
mod outline;
mod paint;
mod scene;

use std::io::Write;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::folder::Partial;
use self::layout::{Layout, image_name};
use self::scene::Scene;
use crate::label_error::LabelError;

pub use self::labelled::{LABELLED_SHAPES_CLASSES, LabelledSplit, generate_labelled};

/// Class names in the order of their category ids, which begin at 1.
pub const SHAPES_CLASSES: [&str; 4] = ["disc", "square", "triangle", "star"];

/// Changes whenever the same configuration draws other images.
const GENERATOR_VERSION: u32 = 1;

/// What is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapesConfig {
    /// Decides every pixel.
    pub seed: u64,
    /// Number of training images.
    pub train: usize,
    /// Number of validation images.
    pub val: usize,
    /// Longer side of the images, 64 to 2048 pixels; the shorter one varies from 3/4 of it up.
    pub size: u32,
}

impl Default for ShapesConfig {
    fn default() -> Self {
        Self { seed: 0, train: 400, val: 100, size: 192 }
    }
}

/// Where one half of the data set lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapesSplit {
    /// COCO json.
    pub annotations: PathBuf,
    /// Folder of the images it lists.
    pub images: PathBuf,
}

/// Why the data set could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ShapesError {
    /// The image size asked for cannot be drawn.
    #[error("size {size}: generated images are from 64 to 2048 pixels long")]
    Size {
        /// What was asked for.
        size: u32,
    },
    /// The folder holds something else, which is not thrown away.
    #[error(
        "{}: holds `{found}`, which was not generated; name another folder, or remove this one",
        path.display()
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// A file or folder in it.
        found: String,
    },
    /// The folder holds another generated data set, which somebody may be using.
    #[error(
        "{}: holds generated shapes of other settings ({found}) than asked for ({wanted}); name \
         another folder, or remove this one", path.display()
    )]
    OtherSettings {
        /// The folder.
        path: PathBuf,
        /// Settings of the data set in it.
        found: String,
        /// Settings asked for.
        wanted: String,
    },
    /// The folder holds this data set, but not all of it.
    #[error(
        "{}: holds these generated shapes, but {} is missing; name another folder, or remove this one",
        path.display(), missing.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The first file that is missing.
        missing: PathBuf,
    },
    /// The file system said no.
    #[error("{}: {cause}", path.display())]
    Write {
        /// File or folder.
        path: PathBuf,
        /// What the operating system answered.
        cause: std::io::Error,
    },
    /// An image could not be written.
    #[error("{}: {cause}", path.display())]
    Image {
        /// The image file.
        path: PathBuf,
        /// What the encoder says.
        cause: image::ImageError,
    },
    /// A label image could not be written.
    #[error(transparent)]
    Labels(#[from] LabelError),
}

/// Makes sure that `folder` holds the data set of `config`, and returns its train and val halves.
///
/// A complete folder of the same configuration is left as it is; one that is absent or empty is filled.
/// Nothing else is replaced. Files are written to a neighbouring folder that is renamed at the end, so
/// that an interrupted run leaves nothing that looks finished, and nothing in the way of the next run.
///
/// # Errors
/// When the folder holds anything else, or a file cannot be written.
pub fn generate(folder: &Path, config: &ShapesConfig) -> Result<[ShapesSplit; 2], ShapesError> {
    fill(folder, config, Layout::Coco, |folder, half, count| write_split(folder, half, count, config))?;
    Ok(SPLITS.map(|name| ShapesSplit {
        annotations: folder.join(format!("{name}.json")),
        images: folder.join(name),
    }))
}

/// Names of the halves in COCO's layout.
const SPLITS: [&str; 2] = ["train", "val"];

/// Makes sure that `folder` holds a data set in this layout, both halves of which `write` writes: into a
/// folder, half 0 or 1, of so many images.
fn fill(
    folder: &Path,
    config: &ShapesConfig,
    layout: Layout,
    write: impl Fn(&Path, usize, usize) -> Result<(), ShapesError>,
) -> Result<(), ShapesError> {
    if !(64..=2048).contains(&config.size) {
        return Err(ShapesError::Size { size: config.size });
    }
    if folder::is_complete(folder, config, layout)? {
        return Ok(());
    }
    let partial = Partial::begin(folder, config, layout)?;
    for (half, count) in [config.train, config.val].into_iter().enumerate() {
        write(&partial.folder, half, count)?;
    }
    partial.finish()
}

/// Draws and writes the images of one half, and its json.
fn write_split(folder: &Path, half: usize, count: usize, config: &ShapesConfig) -> Result<(), ShapesError> {
    let name = SPLITS[half];
    let images = folder.join(name);
    std::fs::create_dir_all(&images).map_err(write_error(&images))?;
    let drawn: Vec<(Value, Vec<Value>)> = (0..count)
        .into_par_iter()
        .map(|index| {
            let scene = Scene::draw(&mut image_rng(config.seed, half as u64, index), config.size);
            let file_name = image_name(index);
            save(&scene.paint(), images.join(&file_name))?;
            let id = index as u64 + 1;
            let image = json!({
                "id": id, "file_name": file_name, "width": scene.width, "height": scene.height
            });
            Ok((image, scene.annotations(id)))
        })
        .collect::<Result<_, ShapesError>>()?;

    let (listed, annotations): (Vec<Value>, Vec<Vec<Value>>) = drawn.into_iter().unzip();
    let mut annotations = annotations.concat();
    for (index, annotation) in annotations.iter_mut().enumerate() {
        annotation["id"] = json!(index + 1);
    }
    let categories: Vec<Value> = SHAPES_CLASSES
        .iter()
        .enumerate()
        .map(|(index, name)| json!({"id": index + 1, "name": name, "supercategory": "shape"}))
        .collect();
    let content = json!({
        "info": {"description": format!("generated shapes, {name}, seed {}", config.seed)},
        "images": listed,
        "annotations": annotations,
        "categories": categories,
    });
    write_json(&folder.join(format!("{name}.json")), &content)
}

/// The random numbers of one image: independent of how many there are.
fn image_rng(seed: u64, split: u64, index: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (part, number) in key.chunks_exact_mut(8).zip([seed, split, index as u64]) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

fn save(image: &RgbImage, path: PathBuf) -> Result<(), ShapesError> {
    let saved = image.save_with_format(&path, image::ImageFormat::Png);
    saved.map_err(|cause| ShapesError::Image { path, cause })
}

fn write_json(path: &Path, content: &impl Serialize) -> Result<(), ShapesError> {
    let write = || {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        serde_json::to_writer(&mut file, content)?;
        file.flush()
    };
    write().map_err(write_error(path))
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> ShapesError {
    move |cause| ShapesError::Write { path: path.into(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cvx-shapes-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn tiny(seed: u64) -> ShapesConfig {
        ShapesConfig { seed, train: 12, val: 3, size: 128 }
    }

    #[test]
    fn the_seed_decides_every_byte() {
        let [first, second] = ["first", "second"].map(folder);
        generate(&first, &tiny(5)).unwrap();
        generate(&second, &tiny(5)).unwrap();
        for file in ["train.json", "val.json", "train/000007.png", "val/000002.png"] {
            let [a, b] = [&first, &second].map(|folder| std::fs::read(folder.join(file)).unwrap());
            assert!(a == b, "{file} differs");
        }
        // More images do not change the ones there are.
        let third = folder("third");
        generate(&third, &ShapesConfig { train: 14, ..tiny(5) }).unwrap();
        let [a, b] = [&first, &third].map(|f| std::fs::read(f.join("train/000007.png")).unwrap());
        assert!(a == b, "the image changed with their number");
        for folder in [first, second, third] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn a_complete_folder_is_kept() {
        let folder = folder("kept");
        let [train, val] = generate(&folder, &tiny(1)).unwrap();
        assert_eq!(train.annotations, folder.join("train.json"));
        assert_eq!(std::fs::read_dir(&val.images).unwrap().count(), 3);
        // Generation would not write this, so it shows that nothing was written again.
        std::fs::write(folder.join("train.json"), "mine").unwrap();
        std::fs::write(folder.join("note"), "mine").unwrap();
        generate(&folder, &tiny(1)).unwrap();
        for file in ["train.json", "note"] {
            assert_eq!(std::fs::read_to_string(folder.join(file)).unwrap(), "mine");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn annotations_are_the_visible_pixels_of_disjoint_objects() {
        for index in 0..20 {
            let scene = Scene::draw(&mut image_rng(3, 0, index), 128);
            let mut owners = 0;
            for annotation in scene.annotations(1) {
                let counts = annotation["segmentation"]["counts"].as_str().unwrap();
                let (height, width) = (scene.height as u32, scene.width as u32);
                let rle = crate::rle::Rle::from_compressed(counts, height, width).unwrap();
                assert_eq!(annotation["area"], rle.area());
                owners += rle.area() as usize;
            }
            assert!(owners <= scene.width * scene.height, "objects share pixels in image {index}");
        }
    }
}
