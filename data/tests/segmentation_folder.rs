//! Folders of images and label images: pairing, reading, and what is said of those that are wrong.

use std::fs;
use std::path::{Path, PathBuf};

use cvx_data::{
    ClassList, DataError, Dataset, ImagesRead, LabelEncoding, LabelMap, Problem, SegmentationFolder,
    SegmentationReport, SegmentationSource, ZeroLabel, check_segmentation, write_label_png,
};
use image::{Rgb, RgbImage};

/// Folders `images` and `labels`, removed at the end of a test.
struct Workplace(PathBuf);

impl Workplace {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cvx-segmentation-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        for folder in ["images", "labels"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        Self(path)
    }

    fn source(&self) -> SegmentationSource {
        SegmentationSource::new(self.0.join("images"), self.0.join("labels"))
    }

    /// Writes an image whose red channel counts its pixels.
    fn image(&self, name: &str, width: u32, height: u32) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([(y * width + x) as u8, 0, 0]));
        image.save(path).unwrap();
    }

    fn labels(&self, name: &str, width: usize, pixels: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let labels = LabelMap { width, height: pixels.len() / width, pixels: pixels.into() };
        write_label_png(&path, &labels, &[]).unwrap();
    }

    /// An image of 2 x 2 pixels with these labels.
    fn pair(&self, stem: &str, pixels: [u8; 4]) {
        self.image(&format!("images/{stem}.png"), 2, 2);
        self.labels(&format!("labels/{stem}.png"), 2, &pixels);
    }

    /// A message without this folder.
    fn local(&self, message: &str) -> String {
        message.replace(&format!("{}/", self.0.display()), "")
    }

    fn refusal(&self, source: &SegmentationSource) -> String {
        self.local(&open(source).err().unwrap().to_string())
    }

    fn problems(&self, report: &SegmentationReport) -> Vec<(String, bool)> {
        let text = |problem: &Problem| (self.local(&problem.to_string()), problem.is_fatal);
        report.problems.iter().map(text).collect()
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names() -> Vec<String> {
    ["sky", "road", "car"].map(String::from).into()
}

fn index() -> LabelEncoding {
    LabelEncoding::Index { zero: ZeroLabel::Class, ignored: Vec::new() }
}

fn open(source: &SegmentationSource) -> Result<SegmentationFolder, DataError> {
    SegmentationFolder::for_training(source, index(), names())
}

#[test]
fn images_and_labels_are_paired_by_their_path_without_suffix() {
    let work = Workplace::new("pairs");
    work.image("images/b/two.JPG", 3, 2);
    work.labels("labels/b/two.png", 3, &[0, 1, 2, 255, 1, 0]);
    work.pair("one", [2, 2, 1, 1]);
    // Neither hidden files nor other endings count.
    fs::write(work.0.join("images/.one.png"), "").unwrap();
    fs::write(work.0.join("labels/notes.txt"), "").unwrap();
    let dataset = open(&work.source()).unwrap();
    assert_eq!((dataset.len(), dataset.num_classes(), dataset.class_names()), (2, 3, names()));
    assert_eq!((dataset.stem(0), dataset.stem(1)), ("b/two", "one"));
    assert_eq!(dataset.sizes().unwrap(), [(3, 2), (2, 2)]);
    assert_eq!(dataset.image_file(0), work.0.join("images/b/two.JPG"));
    assert_eq!(dataset.label_file(0), work.0.join("labels/b/two.png"));
    let sample = dataset.get(1).unwrap();
    assert_eq!((sample.image_id, sample.index, sample.file), (1, 1, work.0.join("images/one.png")));
    assert_eq!(sample.image.get_pixel(1, 1)[0], 3);
    assert_eq!(sample.labels.unwrap().pixels, [2, 2, 1, 1]);
    assert_eq!(dataset.get(0).unwrap().labels.unwrap(), dataset.labels(0).unwrap());
}

#[test]
fn for_evaluation_the_truth_is_read_apart() {
    let work = Workplace::new("evaluation");
    work.pair("one", [0, 1, 255, 1]);
    work.image("images/two.png", 2, 2);
    work.labels("labels/two.png", 1, &[0, 0]);
    let dataset = SegmentationFolder::for_evaluation(&work.source(), index(), names()).unwrap();
    assert_eq!(dataset.get(0).unwrap().labels, None);
    assert_eq!(dataset.labels(0).unwrap().pixels, [0, 1, 255, 1]);
    let expected = "labels/two.png: the labels are 1 x 2 pixels, the image images/two.png is 2 x 2 (a difference by a \
                    quarter turn points to an EXIF orientation)";
    assert_eq!(work.local(&dataset.get(1).unwrap_err().to_string()), expected);
    let training = open(&work.source()).unwrap();
    assert_eq!(work.local(&training.get(1).unwrap_err().to_string()), expected);
}

#[test]
fn the_names_of_cityscapes_pair() {
    let work = Workplace::new("cityscapes");
    for (city, number) in [("ulm", 0), ("ulm", 1), ("bonn", 0)] {
        work.image(&format!("images/{city}/{city}_{number}_leftImg8bit.png"), 2, 1);
        for kind in ["labelTrainIds", "labelIds", "color"] {
            work.labels(&format!("labels/{city}/{city}_{number}_gtFine_{kind}.png"), 2, &[18, 255]);
        }
    }
    let mut source = work.source();
    source.image_suffixes = vec!["_leftImg8bit.png".into()];
    source.label_suffix = "_gtFine_labelTrainIds.png".into();
    let classes = ClassList::cityscapes().names;
    let dataset = SegmentationFolder::for_training(&source, index(), classes).unwrap();
    assert_eq!(dataset.len(), 3);
    assert_eq!(dataset.stem(0), "bonn/bonn_0");
    assert_eq!(dataset.get(2).unwrap().labels.unwrap().pixels, [18, 255]);
}

#[test]
fn images_and_labels_may_share_a_folder() {
    let work = Workplace::new("shared");
    for stem in ["a", "b"] {
        work.image(&format!("images/{stem}.png"), 2, 1);
        work.labels(&format!("images/{stem}_mask.png"), 2, &[0, 1]);
    }
    let mut source = SegmentationSource::new(work.0.join("images"), work.0.join("images"));
    source.label_suffix = "_mask.png".into();
    assert_eq!(open(&source).unwrap().len(), 2);
}

#[test]
fn a_list_names_what_belongs_to_a_half() {
    let work = Workplace::new("list");
    for stem in ["a", "b", "c"] {
        work.pair(stem, [0, 1, 2, 0]);
    }
    work.image("images/unlabelled.png", 2, 2);
    let list = work.0.join("train.txt");
    let source = SegmentationSource { list: Some(list.clone()), ..work.source() };
    fs::write(&list, "c\r\n\n  a\n").unwrap();
    let dataset = open(&source).unwrap();
    assert_eq!((dataset.len(), dataset.stem(0), dataset.stem(1)), (2, "c", "a"));
    fs::write(&list, "a\nunlabelled\nnowhere\n").unwrap();
    let expected = "train.txt: line 2 names `unlabelled`, of which there is no label image in labels (and 1 more like \
                    it)";
    assert_eq!(work.refusal(&source), expected);
    let report =
        check_segmentation(&source, &index(), &names(), None, ImagesRead::Pixels, &|_, _| {}).unwrap();
    let problems = work.problems(&report);
    let lines = [
        "train.txt: line 2 (`unlabelled`): there is no label image of this name in labels",
        "train.txt: line 3 (`nowhere`): there is no image of this name in images",
    ];
    assert_eq!(problems, lines.map(|line| (line.to_owned(), true)));
    fs::write(&list, "a\nb\na\n").unwrap();
    assert_eq!(work.refusal(&source), "train.txt: line 3 names `a`, as line 1 does");
    fs::write(&list, " \n").unwrap();
    let expected = "train.txt: names no image; possible are names without suffix, one a line";
    assert_eq!(work.refusal(&source), expected);
    fs::remove_file(&list).unwrap();
    assert!(work.refusal(&source).starts_with("train.txt: "));
}

#[test]
fn files_without_a_partner_are_counted_and_the_first_named() {
    let work = Workplace::new("alone");
    work.pair("both", [0; 4]);
    for stem in ["p", "q", "r", "s"] {
        work.image(&format!("images/{stem}.png"), 2, 2);
    }
    work.labels("labels/z.png", 2, &[0, 0]);
    let expected = "images: 4 files without a label image (`p.png`, `q.png`, `r.png`, ..); labels: 1 file without an image \
                    (`z.png`); files that are alike but for their suffixes are a pair, of which there are 1";
    assert_eq!(work.refusal(&work.source()), expected);
    let report =
        check_segmentation(&work.source(), &index(), &names(), None, ImagesRead::Pixels, &|_, _| {}).unwrap();
    let problems = work.problems(&report);
    assert_eq!(problems[0].0, "images/p.png: labels: there is no label image of this name in labels");
    assert_eq!(problems[4].0, "labels/z.png: image: there is no image of this name in images");
    assert!(problems[..5].iter().all(|(_, is_fatal)| *is_fatal));
}

#[test]
fn folders_that_hold_nothing_and_classes_that_cannot_be_are_refused() {
    let work = Workplace::new("empty");
    assert_eq!(work.refusal(&work.source()), "images: holds no file that ends in .jpg or .jpeg or .png");
    work.pair("a", [0, 1, 1, 1]);
    let absent = SegmentationSource::new(work.0.join("absent"), work.0.join("labels"));
    assert!(work.refusal(&absent).starts_with("absent: "));
    let none = SegmentationFolder::for_training(&work.source(), index(), Vec::new());
    assert_eq!(work.local(&none.err().unwrap().to_string()), "labels: 0 classes; possible are 1 to 255");
    work.image("images/a.jpg", 2, 2);
    let expected = "images/a.jpg and images/a.png have the same name, `a`, without their suffixes";
    assert_eq!(work.refusal(&work.source()), expected);
}

#[test]
fn binary_masks_are_recognised_where_255_would_be_ignored() {
    let work = Workplace::new("binary");
    work.pair("a", [0, 255, 255, 0]);
    work.pair("b", [0, 0, 0, 0]);
    let expected = "labels: all 2 label images hold nothing but 0 and 255, of which 255 is no class: they look like \
                    binary masks; list the value of each class, `values = [0, 255]`, or, if 255 really is to be \
                    ignored, list it as ignored";
    assert_eq!(work.refusal(&work.source()), expected);
    let report =
        check_segmentation(&work.source(), &index(), &names(), None, ImagesRead::Pixels, &|_, _| {}).unwrap();
    assert!(work.problems(&report)[0].0.starts_with("labels: values: all 2 label images"));
    let two = || vec!["background".to_owned(), "nucleus".to_owned()];
    let values = LabelEncoding::Values { values: vec![0, 255], ignored: Vec::new() };
    let dataset = SegmentationFolder::for_training(&work.source(), values, two()).unwrap();
    assert_eq!(dataset.labels(0).unwrap().pixels, [0, 1, 1, 0]);
    let ignoring = LabelEncoding::Index { zero: ZeroLabel::Class, ignored: vec![255] };
    assert!(SegmentationFolder::for_training(&work.source(), ignoring, two()).is_ok());
    // One image with another class, wherever it is, and 255 is what it usually is.
    work.pair("z", [0, 1, 255, 0]);
    assert!(open(&work.source()).is_ok());
}

#[test]
fn a_check_reads_everything_and_counts_classes() {
    let work = Workplace::new("check");
    work.pair("a", [0, 0, 1, 255]);
    work.pair("b", [255; 4]);
    work.pair("c", [0, 9, 9, 200]);
    work.image("images/d.png", 3, 2);
    work.labels("labels/d.png", 2, &[0, 0, 0, 0, 0, 0]);
    work.image("images/e.png", 1, 1);
    work.labels("labels/e.png", 1, &[1]);
    work.pair("f", [0; 4]);
    fs::write(work.0.join("images/f.png"), "no image").unwrap();
    let report =
        check_segmentation(&work.source(), &index(), &names(), None, ImagesRead::Pixels, &|_, _| {}).unwrap();
    assert_eq!(report.images, 6);
    let counts: Vec<_> = report.classes.iter().map(|class| (class.pixels, class.images)).collect();
    assert_eq!(counts, [(12, 3), (2, 2), (0, 0)]);
    assert_eq!(report.ignored_pixels, 5);
    let expected = [
        ("labels/b.png: labels: every pixel is ignored: the image teaches nothing", false),
        (
            "labels/c.png: labels: the value 9 in 2 pixels, the first in column 1, row 0, the value 200 in 1 pixel; \
             possible are 0 to 2, and 255 for ignored pixels",
            true,
        ),
        (
            "labels/d.png: size: the labels are 2 x 3 pixels, the image images/d.png is 3 x 2 (a difference by a \
             quarter turn points to an EXIF orientation)",
            true,
        ),
        (
            "labels/e.png: size: the labels are of 1 x 1 pixels: a single pixel has no surroundings to learn from",
            false,
        ),
        (
            "images/f.png: image: neither a JPEG nor a PNG file, it begins with bytes 6e 6f 20 69 6d 61 67 65",
            true,
        ),
        ("labels: class 2: `car` occurs in no label image", false),
    ];
    assert_eq!(work.problems(&report), expected.map(|(text, is_fatal)| (text.to_owned(), is_fatal)));
    // What is only doubtful is read all the same.
    assert_eq!(open(&work.source()).unwrap().get(1).unwrap().labels.unwrap().pixels, [255; 4]);
}

#[test]
fn camvid_is_read_without_a_problem() {
    let Some(data) = std::env::var_os("CVX_DATA") else {
        eprintln!("skipped: CVX_DATA does not name the folder with camvid");
        return;
    };
    let camvid = Path::new(&data).join("camvid");
    let names: Vec<String> = serde_json::from_slice(&fs::read(camvid.join("classes.json")).unwrap()).unwrap();
    for (half, count) in [("training", 123), ("validation", 26)] {
        let source =
            SegmentationSource::new(camvid.join("images").join(half), camvid.join("annotations").join(half));
        let report =
            check_segmentation(&source, &index(), &names, None, ImagesRead::Pixels, &|_, _| {}).unwrap();
        assert_eq!(report.problems, []);
        assert_eq!(report.images, count);
        let labelled: u64 = report.classes.iter().map(|class| class.pixels).sum();
        assert_eq!(labelled + report.ignored_pixels, count as u64 * 480 * 360);
        let dataset = SegmentationFolder::for_training(&source, index(), names.clone()).unwrap();
        assert_eq!(dataset.sizes().unwrap(), vec![(480, 360); count]);
        assert_eq!(dataset.get(count - 1).unwrap().image.dimensions(), (480, 360));
    }
}
