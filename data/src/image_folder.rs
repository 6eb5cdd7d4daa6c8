//! A folder of images, however nested, as samples: without truth, or with a class for each subfolder.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::image_file::read_image;
use crate::sample::{DataError, Dataset, Sample};
use crate::unreadable::Unreadable;

/// File names that are taken for images, in upper or lower case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Why a folder is no data set.
#[derive(Debug, thiserror::Error)]
pub enum ImageFolderError {
    /// The file system said no, or a link leads back to where it stands.
    #[error("{}: {cause}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What went wrong, and where.
        cause: walkdir::Error,
    },
    /// No image.
    #[error("{}: holds no file that ends in .jpg, .jpeg or .png, nor do its folders", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// No classes.
    #[error("{}: holds no folders; a class is a folder of images", path.display())]
    NoClasses {
        /// The folder.
        path: PathBuf,
    },
}

/// Images of a folder and of the folders in it, in the order of their paths.
#[derive(Debug)]
pub struct ImageFolder {
    files: Vec<PathBuf>,
    /// By image; empty where there are no classes.
    class_of: Vec<usize>,
    class_names: Vec<String>,
    unreadable: Unreadable,
}

impl ImageFolder {
    /// All images in some folders, at any depth.
    ///
    /// # Errors
    /// When a folder cannot be read, or holds no image.
    pub fn open(folders: &[PathBuf], unreadable: Unreadable) -> Result<Self, ImageFolderError> {
        let mut files = Vec::new();
        for folder in folders {
            let found = images_below(folder)?;
            if found.is_empty() {
                return Err(ImageFolderError::Empty { path: folder.clone() });
            }
            files.extend(found);
        }
        Ok(Self { files, class_of: Vec::new(), class_names: Vec::new(), unreadable })
    }

    /// A class for each folder in `folder`, in the order of their names, with all images in it at any depth
    /// (torchvision's `ImageFolder`).
    ///
    /// # Errors
    /// When it cannot be read, or a class holds no image.
    pub fn with_classes(folder: &Path, unreadable: Unreadable) -> Result<Self, ImageFolderError> {
        let mut set = Self { files: Vec::new(), class_of: Vec::new(), class_names: Vec::new(), unreadable };
        for entry in WalkDir::new(folder).min_depth(1).max_depth(1).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|cause| ImageFolderError::Read { path: folder.into(), cause })?;
            if !entry.file_type().is_dir() {
                continue;
            }
            let images = images_below(entry.path())?;
            if images.is_empty() {
                return Err(ImageFolderError::Empty { path: entry.path().into() });
            }
            set.class_of.resize(set.class_of.len() + images.len(), set.class_names.len());
            set.files.extend(images);
            set.class_names.push(entry.file_name().to_string_lossy().into_owned());
        }
        if set.class_names.is_empty() {
            return Err(ImageFolderError::NoClasses { path: folder.into() });
        }
        Ok(set)
    }

    /// Names of the classes, by index; none where the folder was opened without.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The class of the image that a sample with this `index` holds.
    ///
    /// # Panics
    /// If the folder was opened without classes, or there is no such image.
    pub fn class(&self, index: usize) -> usize {
        self.class_of[index]
    }

    /// The file of the image that a sample with this `index` holds.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn file(&self, index: usize) -> &Path {
        &self.files[index]
    }

    /// The images that could not be read so far.
    pub fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }

    fn read(&self, index: usize) -> Result<Sample, DataError> {
        let file = self.files[index].clone();
        let image = read_image(&file)?;
        Ok(Sample::of_image(index, file, image))
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    /// The sample `index`, or the next one that can be read; its own index is in [`Sample::index`].
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        self.unreadable.first_readable(index, self.files.len(), |index| self.read(index))
    }
}

/// Whether a file is named as an image.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

fn images_below(folder: &Path) -> Result<Vec<PathBuf>, ImageFolderError> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|cause| ImageFolderError::Read { path: folder.into(), cause })?;
        // What an archiver of another system leaves beside a picture begins with a dot and is none.
        let is_hidden = entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.');
        if entry.file_type().is_file() && !is_hidden && is_image(entry.path()) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, Luma, Rgb, RgbImage, Rgba};
    use std::fs;

    /// A folder with a grey, a transparent and a coloured picture two levels down, and what is no picture.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let grey = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(4, 3, Luma([9])));
        grey.save(path("a/deep/grey.PNG")).unwrap();
        let clear = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(5, 3, Rgba([1, 2, 3, 0])));
        clear.save(path("b/clear.png")).unwrap();
        RgbImage::from_pixel(6, 3, Rgb([7, 8, 9])).save(path("b/colour.jpg")).unwrap();
        fs::write(path("b/notes.txt"), "no picture").unwrap();
        fs::write(path("b/._colour.jpg"), "what a Mac leaves").unwrap();
        folder
    }

    #[test]
    fn images_are_found_at_any_depth_grey_and_transparent_ones_too() {
        let folder = folder();
        let set = ImageFolder::open(&[folder.path().into()], Unreadable::at_most(0)).unwrap();
        let widths: Vec<u32> = (0..set.len()).map(|index| set.get(index).unwrap().image.width()).collect();
        assert_eq!(widths, [4, 5, 6]);
        assert_eq!(set.get(0).unwrap().image.get_pixel(0, 0), &Rgb([9, 9, 9]));
        assert_eq!(set.get(1).unwrap().image.get_pixel(0, 0), &Rgb([1, 2, 3]));
    }

    #[test]
    fn a_class_is_a_folder() {
        let folder = folder();
        let set = ImageFolder::with_classes(folder.path(), Unreadable::at_most(0)).unwrap();
        assert_eq!(set.class_names(), ["a", "b"]);
        assert_eq!((0..3).map(|index| set.class(index)).collect::<Vec<_>>(), [0, 1, 1]);
        fs::create_dir(folder.path().join("c")).unwrap();
        let error = ImageFolder::with_classes(folder.path(), Unreadable::at_most(0)).unwrap_err();
        assert!(matches!(&error, ImageFolderError::Empty { path } if path.ends_with("c")), "{error}");
        let error = ImageFolder::with_classes(&folder.path().join("b"), Unreadable::at_most(0)).unwrap_err();
        assert!(matches!(error, ImageFolderError::NoClasses { .. }), "{error}");
    }

    #[test]
    fn a_damaged_image_gives_way_to_the_next_and_says_which_that_is() {
        let folder = folder();
        fs::write(folder.path().join("a/deep/grey.PNG"), b"\x89PNG\r\n\x1a\nand no more").unwrap();
        let set = ImageFolder::open(&[folder.path().into()], Unreadable::at_most(1)).unwrap();
        assert_eq!(set.get(0).unwrap().index, 1);
        let [message] = &set.unreadable().messages()[..] else { panic!("one is damaged") };
        assert!(message.contains("grey.PNG"), "{message}");
        let strict = ImageFolder::open(&[folder.path().into()], Unreadable::at_most(0)).unwrap();
        assert!(strict.get(0).is_err());
    }

    #[test]
    fn a_folder_without_images_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = ImageFolder::open(&[folder.path().into()], Unreadable::at_most(0)).unwrap_err();
        assert!(matches!(error, ImageFolderError::Empty { .. }));
        let error = ImageFolder::open(&[folder.path().join("absent")], Unreadable::at_most(0)).unwrap_err();
        assert!(matches!(error, ImageFolderError::Read { .. }));
    }
}
