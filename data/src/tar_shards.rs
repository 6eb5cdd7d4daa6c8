//! Images in tar files, the layout of WebDataset: large sets without a million files.
//!
//! Members `key.jpg`, `key.png` are samples, whatever else has their key (labels, captions) is not read. Only headers are
//! read when a shard is opened; a sample is then read from where it lies, so shards are shuffled as folders are.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::image_file::decode_image;
use crate::image_folder::is_image;
use crate::sample::{DataError, Dataset, Sample};
use crate::unreadable::Unreadable;

/// Bytes that a header takes, and that members are filled up to.
const BLOCK: u64 = 512;

/// Why a tar file is no data set.
#[derive(Debug, thiserror::Error)]
pub enum TarShardsError {
    /// The file system said no.
    #[error("{}: {cause}", path.display())]
    Read {
        /// Folder or shard.
        path: PathBuf,
        /// What the operating system answered.
        cause: io::Error,
    },
    /// A header is none.
    #[error("{}: not a tar file, or damaged after {entries} members: {cause}", path.display())]
    Damaged {
        /// The shard.
        path: PathBuf,
        /// Members before.
        entries: usize,
        /// What is wrong.
        cause: io::Error,
    },
    /// The file ends before its end.
    #[error("{}: cut off after {bytes} bytes, {}", path.display(), last.as_ref().map_or(
        "before the mark of its end".to_owned(), |last| format!("within `{}`", last.display())))]
    CutOff {
        /// The shard.
        path: PathBuf,
        /// Bytes that are there.
        bytes: u64,
        /// The member that is not whole, if it is one.
        last: Option<PathBuf>,
    },
    /// A folder without shards.
    #[error("{}: holds no file that ends in .tar", path.display())]
    NoShards {
        /// The folder.
        path: PathBuf,
    },
    /// Shards without images.
    #[error("{}: holds no member that ends in .jpg, .jpeg or .png", path.display())]
    Empty {
        /// Folder or shard.
        path: PathBuf,
    },
}

/// The images of one tar file, or of all in a folder, in the order of shards and members.
#[derive(Debug)]
pub struct TarShards {
    shards: Vec<PathBuf>,
    members: Vec<Member>,
    unreadable: Unreadable,
}

/// Where an image lies.
#[derive(Debug)]
struct Member {
    shard: usize,
    name: PathBuf,
    start: u64,
    bytes: u64,
}

impl TarShards {
    /// Opens shards, and all shards of folders.
    ///
    /// # Errors
    /// When one cannot be read, is damaged or cut off, and when there is no image in any.
    pub fn open(paths: &[PathBuf], unreadable: Unreadable) -> Result<Self, TarShardsError> {
        let (mut shards, mut members) = (Vec::new(), Vec::new());
        for path in paths {
            let before = members.len();
            for shard in shards_of(path)? {
                scan(shards.len(), &shard, &mut members)?;
                shards.push(shard);
            }
            if members.len() == before {
                return Err(TarShardsError::Empty { path: path.clone() });
            }
        }
        Ok(Self { shards, members, unreadable })
    }

    /// Each of the shards that cannot be read, and why: [`TarShards::open`] tells the first.
    pub fn problems(paths: &[PathBuf]) -> Vec<TarShardsError> {
        let mut problems = Vec::new();
        for path in paths {
            match shards_of(path) {
                Ok(shards) => {
                    let damaged = |shard: &PathBuf| scan(0, shard, &mut Vec::new()).err();
                    problems.extend(shards.iter().filter_map(damaged));
                }
                Err(error) => problems.push(error),
            }
        }
        problems
    }

    /// What the image that a sample with this `index` holds is called, as a path into its shard.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn name(&self, index: usize) -> PathBuf {
        let Member { shard, name, .. } = &self.members[index];
        self.shards[*shard].join(name)
    }

    /// The file of the image that a sample with this `index` holds.
    ///
    /// # Errors
    /// When the shard cannot be read.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn bytes(&self, index: usize) -> Result<Vec<u8>, TarShardsError> {
        let Member { shard, name: _, start, bytes } = &self.members[index];
        read_part(&self.shards[*shard], *start, *bytes)
            .map_err(|cause| TarShardsError::Read { path: self.name(index), cause })
    }

    /// The images that could not be read so far.
    pub fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }

    fn read(&self, index: usize) -> Result<Sample, DataError> {
        let (path, content) = (self.name(index), self.bytes(index)?);
        let image = decode_image(&content, &path)?;
        Ok(Sample::of_image(index, path, image))
    }
}

impl Dataset for TarShards {
    fn len(&self) -> usize {
        self.members.len()
    }

    /// The sample `index`, or the next one that can be read.
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        self.unreadable.first_readable(index, self.members.len(), |index| self.read(index))
    }
}

fn shards_of(path: &Path) -> Result<Vec<PathBuf>, TarShardsError> {
    let error = |cause| TarShardsError::Read { path: path.into(), cause };
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(path).map_err(error)? {
        let entry = entry.map_err(error)?.path();
        if entry.extension().is_some_and(|extension| extension == "tar") {
            shards.push(entry);
        }
    }
    shards.sort();
    if shards.is_empty() {
        return Err(TarShardsError::NoShards { path: path.into() });
    }
    Ok(shards)
}

/// Finds the images of a shard by its headers, and that all of it is there.
fn scan(index: usize, shard: &Path, members: &mut Vec<Member>) -> Result<(), TarShardsError> {
    let path = || shard.to_path_buf();
    let unread = |cause| TarShardsError::Read { path: path(), cause };
    let file = File::open(shard).map_err(unread)?;
    let length = file.metadata().map_err(unread)?.len();
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut end = 0;
    let damaged = |entries, end: u64, cause| {
        // A header that the file has no room for is one cut off.
        if end.next_multiple_of(BLOCK) + BLOCK > length {
            TarShardsError::CutOff { path: path(), bytes: length, last: None }
        } else {
            TarShardsError::Damaged { path: path(), entries, cause }
        }
    };
    for (entries, entry) in archive.entries_with_seek().map_err(unread)?.enumerate() {
        let entry = entry.map_err(|cause| damaged(entries, end, cause))?;
        let name = entry.path().map_err(|cause| damaged(entries, end, cause))?.into_owned();
        let (start, bytes) = (entry.raw_file_position(), entry.size());
        end = start.saturating_add(bytes);
        if end > length {
            return Err(TarShardsError::CutOff { path: path(), bytes: length, last: Some(name) });
        }
        if entry.header().entry_type().is_file() && is_image(&name) {
            members.push(Member { shard: index, name, start, bytes });
        }
    }
    // Two blocks of zeros end a tar file. Without them, members may be missing.
    if end.next_multiple_of(BLOCK) + 2 * BLOCK > length {
        return Err(TarShardsError::CutOff { path: path(), bytes: length, last: None });
    }
    Ok(())
}

fn read_part(path: &Path, start: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut content = Vec::new();
    file.take(bytes).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};
    use std::fs;

    fn png(value: u8) -> Vec<u8> {
        let mut bytes = io::Cursor::new(Vec::new());
        let image = RgbImage::from_pixel(3, 2, Rgb([value; 3]));
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn shards(tars: &[&[u8]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (index, tar) in tars.iter().enumerate() {
            fs::write(folder.path().join(format!("{index:06}.tar")), tar).unwrap();
        }
        folder
    }

    #[test]
    fn images_of_all_shards_are_samples_and_nothing_else_is() {
        // A name of more than the hundred characters that an old header holds.
        let long = format!("{}/long.png", "folder/".repeat(30));
        let first = tar_of(&[("a.png", &png(1)), ("a.cls", b"7"), ("b.png", &png(2)), ("b.json", b"{}")]);
        let folder = shards(&[&first, &tar_of(&[(&long, &png(3))])]);
        let set = TarShards::open(&[folder.path().into()], Unreadable::at_most(0)).unwrap();
        let values: Vec<u8> =
            (0..set.len()).map(|index| set.get(index).unwrap().image.get_pixel(0, 0)[0]).collect();
        assert_eq!(values, [1, 2, 3]);
        assert!(set.get(1).unwrap().file.ends_with("000000.tar/b.png"));
    }

    #[test]
    fn a_shard_cut_off_anywhere_is_refused() {
        let whole = tar_of(&[("a.png", &png(1)), ("b.png", &png(2))]);
        for end in (0..whole.len()).step_by(100) {
            let folder = shards(&[&whole[..end]]);
            let error = TarShards::open(&[folder.path().into()], Unreadable::at_most(9)).unwrap_err();
            assert!(matches!(error, TarShardsError::CutOff { .. }), "{end}: {error}");
        }
        let folder = shards(&[&whole[..whole.len() - 1025]]);
        let error = TarShards::open(&[folder.path().into()], Unreadable::at_most(0)).unwrap_err().to_string();
        assert!(error.contains("000000.tar: cut off after"), "{error}");
    }

    #[test]
    fn what_is_no_tar_file_is_refused() {
        let folder = shards(&[&[b'x'; 4096]]);
        let error = TarShards::open(&[folder.path().into()], Unreadable::at_most(0)).unwrap_err();
        assert!(matches!(error, TarShardsError::Damaged { .. }), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let error = TarShards::open(&[empty.path().into()], Unreadable::at_most(0)).unwrap_err();
        assert!(matches!(error, TarShardsError::NoShards { .. }), "{error}");
        let folder = shards(&[&tar_of(&[("a.cls", b"1")])]);
        let error = TarShards::open(&[folder.path().into()], Unreadable::at_most(0)).unwrap_err();
        assert!(matches!(error, TarShardsError::Empty { .. }), "{error}");
    }

    #[test]
    fn a_damaged_image_in_a_shard_is_left_out() {
        let tar = tar_of(&[("a.png", b"no picture"), ("b.png", &png(2))]);
        let folder = shards(&[&tar]);
        let set = TarShards::open(&[folder.path().into()], Unreadable::at_most(1)).unwrap();
        assert_eq!(set.get(0).unwrap().index, 1);
        assert!(set.unreadable().messages()[0].contains("000000.tar/a.png"));
    }
}
