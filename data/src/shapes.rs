//! A generated data set: textured discs, squares, triangles and stars that overlap and hide one
//! another, with exact masks, written as COCO json and PNG files.
//!
//! It needs no download, a small detector learns it from random weights in minutes, and it passes
//! through the same readers, transforms and evaluators as COCO. Objects span COCO's small, medium
//! and large areas; some are cut by the border; now and then a swarm of tiny ones is one crowd
//! region, and an image is empty. Everything follows from the seed.

mod outline;
mod paint;
mod scene;

use std::io::Write;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::scene::Scene;

/// Class names in the order of their category ids, which begin at 1.
pub const SHAPES_CLASSES: [&str; 4] = ["disc", "square", "triangle", "star"];

/// Changes whenever the same configuration draws other images.
const GENERATOR_VERSION: u32 = 1;

/// Written last; a folder with it is complete.
const MARKER: &str = "shapes.json";

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
        "{}: has no {MARKER}, so it was not generated here and is left alone; name another folder, \
         or remove it", path.display()
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
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
}

/// Content of the marker file.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    generator_version: u32,
    config: ShapesConfig,
}

/// Makes sure that `folder` holds the data set of `config`, and returns its train and val halves.
///
/// A complete folder of the same configuration is left as it is. One of another configuration is
/// replaced. Files are written to a neighbouring folder that is renamed at the end, so that an
/// interrupted run leaves nothing that looks finished.
///
/// # Errors
/// When the folder holds something else, or a file cannot be written.
pub fn generate(folder: &Path, config: &ShapesConfig) -> Result<[ShapesSplit; 2], ShapesError> {
    if !(64..=2048).contains(&config.size) {
        return Err(ShapesError::Size { size: config.size });
    }
    let splits = [("train", config.train), ("val", config.val)];
    let paths = splits.map(|(name, _)| ShapesSplit {
        annotations: folder.join(format!("{name}.json")),
        images: folder.join(name),
    });
    let marker = Marker { generator_version: GENERATOR_VERSION, config: *config };
    let found = found_marker(folder)?;
    if found.as_ref().is_some_and(|found| found.as_ref() == Some(&marker)) {
        return Ok(paths);
    }

    let mut partial_name = folder.file_name().unwrap_or_default().to_os_string();
    partial_name.push(format!(".partial-{}", std::process::id()));
    let partial = folder.with_file_name(partial_name);
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(write_error(&partial))?;
    }
    for (number, (name, count)) in splits.into_iter().enumerate() {
        write_split(&partial, name, number as u64, count, config)?;
    }
    write_json(&partial.join(MARKER), &marker)?;
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(write_error(folder))?;
    }
    match std::fs::rename(&partial, folder) {
        Ok(()) => Ok(paths),
        // Another process was faster with the same work.
        Err(_) if matches!(found_marker(folder), Ok(Some(Some(other))) if other == marker) => {
            std::fs::remove_dir_all(&partial).map_err(write_error(&partial))?;
            Ok(paths)
        }
        Err(cause) => Err(ShapesError::Write { path: folder.into(), cause }),
    }
}

/// The marker of a folder: `None` if there is no folder or it is empty, `Some(None)` if the marker
/// is one of another version.
fn found_marker(folder: &Path) -> Result<Option<Option<Marker>>, ShapesError> {
    match std::fs::read(folder.join(MARKER)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).ok())),
        Err(_) => match std::fs::read_dir(folder) {
            Ok(mut entries) => match entries.next() {
                Some(_) => Err(ShapesError::Occupied { path: folder.into() }),
                None => Ok(None),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(ShapesError::Write { path: folder.into(), cause }),
        },
    }
}

/// Draws and writes the images of one half, and its json.
fn write_split(
    folder: &Path,
    name: &str,
    number: u64,
    count: usize,
    config: &ShapesConfig,
) -> Result<(), ShapesError> {
    let images = folder.join(name);
    std::fs::create_dir_all(&images).map_err(write_error(&images))?;
    let drawn: Vec<(Value, Vec<Value>)> = (0..count)
        .into_par_iter()
        .map(|index| {
            let scene = Scene::draw(&mut image_rng(config.seed, number, index), config.size);
            let file_name = format!("{index:06}.png");
            let path = images.join(&file_name);
            scene
                .paint()
                .save_with_format(&path, image::ImageFormat::Png)
                .map_err(|cause| ShapesError::Image { path, cause })?;
            let id = index as u64 + 1;
            let image = json!({
                "id": id, "file_name": file_name, "width": scene.width, "height": scene.height
            });
            Ok((image, scene.annotations(id)))
        })
        .collect::<Result<_, _>>()?;

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
        generate(&second, &ShapesConfig { train: 14, ..tiny(5) }).unwrap();
        let [a, b] = [&first, &second].map(|f| std::fs::read(f.join("train/000007.png")).unwrap());
        assert!(a == b, "the image changed with their number");
        for folder in [first, second] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn a_complete_folder_is_kept_and_another_configuration_replaces_it() {
        let folder = folder("kept");
        let [train, val] = generate(&folder, &tiny(1)).unwrap();
        assert_eq!(train.annotations, folder.join("train.json"));
        assert_eq!(std::fs::read_dir(&val.images).unwrap().count(), 3);
        // A file that generation would not write survives, so nothing was written again.
        std::fs::write(folder.join("note"), "mine").unwrap();
        generate(&folder, &tiny(1)).unwrap();
        assert!(folder.join("note").exists());
        generate(&folder, &tiny(2)).unwrap();
        assert!(!folder.join("note").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let folder = folder("occupied");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("thesis.txt"), "years of work").unwrap();
        let message = generate(&folder, &tiny(1)).unwrap_err().to_string();
        assert!(message.contains("has no shapes.json, so it was not generated here"), "{message}");
        assert!(folder.join("thesis.txt").exists());
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
