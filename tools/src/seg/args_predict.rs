//! What can be typed after `cvx-seg predict` and `cvx-seg score`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use cvx_data::{ClassList, LabelMap};

use super::inference::Window;
use crate::device_spec::DeviceSpec;

/// Arguments of `predict`.
#[derive(Debug, Clone, Args)]
pub struct PredictArgs {
    /// A checkpoint, which carries architecture, classes and preprocessing, or a UPerNet of mmseg or transformers
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Images, or folders of images
    #[arg(required = true, value_name = "IMAGES")]
    pub images: Vec<PathBuf>,
    /// Folder for labels/, overlays/ and probabilities/; created when absent
    #[arg(long, value_name = "DIR", default_value = "predictions")]
    pub out: PathBuf,
    /// Scale images so that the shorter side reaches this, instead of what the weights say
    #[arg(long, value_name = "PIXELS")]
    pub short_side: Option<u32>,
    /// .. unless the longer side would pass this
    #[arg(long, value_name = "PIXELS")]
    pub long_side: Option<u32>,
    /// What the network sees at once, instead of what the weights say: `whole`, or SIZE or SIZE:STRIDE of sliding
    /// windows, as in `512:341` or `512x1024:341x682`; the stride is two thirds of the size unless given
    #[arg(long, value_name = "WINDOW", value_parser = parse_window)]
    pub window: Option<Window>,
    /// Look at several sizes, these times the usual one, and average their probabilities
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', default_values_t = [1.0])]
    pub scales: Vec<f64>,
    /// Look at each size mirrored too
    #[arg(long)]
    pub flip: bool,
    /// Write the first class as 1 into the label images, as ADE20K has them; 0 is then no class
    #[arg(long)]
    pub zero_label_offset: bool,
    /// Also write the probabilities of all classes: float32 [classes, height, width], .npy
    #[arg(long)]
    pub probabilities: bool,
    /// Weight of the classes' colours in the overlays, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub opacity: f32,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

/// Arguments of `score`.
#[derive(Debug, Clone, Args)]
pub struct ScoreArgs {
    /// Folder of true label images (.png), with any folders in it
    #[arg(value_name = "GT_DIR")]
    pub truth: PathBuf,
    /// Folder of predicted ones, with the same folders and names in it
    #[arg(value_name = "PRED_DIR")]
    pub predictions: PathBuf,
    /// The classes: ade20k, voc, cityscapes, how many there are, or a text file with a name a line; without it, as many
    /// as occur
    #[arg(long, value_name = "CLASSES")]
    pub classes: Option<ClassesArg>,
    /// Label images show classes in colours: those of `ade20k`, `voc` or `cityscapes`, whose colour for no class is
    /// ignored, or a text file with red, green and blue of a class a line
    #[arg(long, value_name = "PALETTE")]
    pub palette: Option<PaletteArg>,
    /// What 0 means in the truth
    #[arg(long, value_enum, default_value = "class")]
    pub zero: ZeroArg,
    /// What 0 means in the predictions
    #[arg(long, value_enum, default_value = "class")]
    pub prediction_zero: ZeroArg,
    /// Values of the truth that are ignored besides 255, before any shift; with `--values`, besides 255 where it is none
    #[arg(long, value_name = "VALUES", value_delimiter = ',')]
    pub ignore: Vec<u8>,
    /// The value of each class, in truth and predictions, as in `0,255` for masks or the ids of COCO-Stuff
    #[arg(long, value_name = "VALUES", value_delimiter = ',')]
    pub values: Vec<u8>,
    /// Ending of the files in GT_DIR
    #[arg(long, value_name = "ENDING", default_value = ".png")]
    pub truth_suffix: String,
    /// Ending of the files in PRED_DIR
    #[arg(long, value_name = "ENDING", default_value = ".png")]
    pub prediction_suffix: String,
    /// Whose rules about classes that do not occur
    #[arg(long, value_enum, default_value = "mmseg")]
    pub convention: ConventionArg,
    /// Also print the figures of every class
    #[arg(long)]
    pub per_class: bool,
    /// Also write the numbers to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What 0 means in label images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ZeroArg {
    /// The first class.
    Class,
    /// No class; 1 is the first, as in ADE20K.
    Ignored,
}

/// Whose rules about classes that do not occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConventionArg {
    /// mmseg and Hugging Face: they are left out.
    Mmseg,
    /// ADE20K's toolkit: they count as 0.
    Ade,
    /// Detectron2: those that are never true are left out.
    Detectron2,
    /// torchmetrics: they are 0 and left out.
    Torchmetrics,
}

/// Which classes there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassesArg {
    /// Those of a well-known data set.
    Known(Known),
    /// So many, called by their numbers.
    Count(usize),
    /// Their names stand in a file.
    File(PathBuf),
}

/// Which colours classes have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaletteArg {
    /// Those of a well-known data set.
    Known(Known),
    /// They stand in a file.
    File(PathBuf),
}

/// Data sets whose classes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Known {
    /// The 150 classes of ADE20K.
    Ade20k,
    /// The 21 classes of PASCAL VOC.
    Voc,
    /// The 19 classes of Cityscapes.
    Cityscapes,
}

impl Known {
    fn list(self) -> ClassList {
        match self {
            Self::Ade20k => ClassList::ade20k(),
            Self::Voc => ClassList::voc(),
            Self::Cityscapes => ClassList::cityscapes(),
        }
    }
}

impl FromStr for ClassesArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(known) = Known::from_str(text, false) {
            return Ok(Self::Known(known));
        }
        match text.parse() {
            Ok(count) if (1..=LabelMap::MOST_CLASSES).contains(&count) => Ok(Self::Count(count)),
            Ok(count) => Err(format!("{count} classes; possible are 1 to {}", LabelMap::MOST_CLASSES)),
            Err(_) => Ok(Self::File(text.into())),
        }
    }
}

impl FromStr for PaletteArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Known::from_str(text, false).map_or_else(|_| Self::File(text.into()), Self::Known))
    }
}

impl ClassesArg {
    /// Their names.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let path = match self {
            Self::Known(known) => return Ok(known.list().names),
            Self::Count(count) => return Ok((0..*count).map(|class| class.to_string()).collect()),
            Self::File(path) => path,
        };
        let names = lines(path)?;
        for (at, (line, name)) in names.iter().enumerate() {
            if let Some((first, _)) = names[..at].iter().find(|(_, other)| other == name) {
                anyhow::bail!("{}: line {line} names `{name}`, as line {first} does", path.display());
            }
        }
        ensure!(
            names.len() <= LabelMap::MOST_CLASSES,
            "{}: names {} classes; possible are 1 to {}",
            path.display(),
            names.len(),
            LabelMap::MOST_CLASSES
        );
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }
}

impl PaletteArg {
    /// The colours that the data set shows for pixels of no class.
    pub(super) fn ignored(&self) -> Vec<[u8; 3]> {
        match self {
            // The outlines of objects; what is not labelled is black.
            Self::Known(Known::Voc) => vec![[224, 224, 192]],
            Self::Known(Known::Ade20k | Known::Cityscapes) => vec![[0, 0, 0]],
            Self::File(_) => Vec::new(),
        }
    }

    /// Red, green and blue by class.
    pub(super) fn colors(&self) -> Result<Vec<[u8; 3]>> {
        let path = match self {
            Self::Known(known) => return Ok(known.list().colors),
            Self::File(path) => path,
        };
        let color = |(line, text): (usize, String)| {
            let cells = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|cell| !cell.is_empty());
            let numbers: Option<Vec<u8>> = cells.map(|cell| cell.parse().ok()).collect();
            let color = numbers.and_then(|numbers| <[u8; 3]>::try_from(numbers).ok());
            color.with_context(|| {
                format!("{}: line {line} is `{text}`; possible are three numbers, 0 to 255", path.display())
            })
        };
        lines(path)?.into_iter().map(color).collect()
    }
}

/// Numbers, from 1, and content of the lines that are not blank.
fn lines(path: &Path) -> Result<Vec<(usize, String)>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: a list of classes that cannot be read", path.display()))?;
    let lines = text.lines().zip(1..).map(|(line, number)| (number, line.trim().to_owned()));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    ensure!(!lines.is_empty(), "{}: lists no class", path.display());
    Ok(lines)
}

/// `whole`, `512`, `512:341` or `512x1024:341x682`.
fn parse_window(text: &str) -> Result<Window, String> {
    if text == "whole" {
        return Ok(Window::Whole);
    }
    let sides = |text: &str| {
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        Some([height.parse::<usize>().ok()?, width.parse::<usize>().ok()?])
    };
    let window = match text.split_once(':') {
        Some((size, stride)) => sides(size).zip(sides(stride)),
        // mmseg's own configurations: 341 of 512, 426 of 640.
        None => sides(text).map(|size| (size, size.map(|side| side * 2 / 3))),
    };
    let (size, stride) = window
        .ok_or("expected `whole`, SIZE or SIZE:STRIDE in pixels, as in `512:341` or `512x1024:341x682`")?;
    let window = Window::Sliding { size, stride };
    window.check("window").map_err(|error| error.to_string())?;
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(text: &str, expected: Option<Window>) {
        assert_eq!(parse_window(text).ok(), expected, "{text}");
    }

    #[test]
    fn windows_are_whole_or_have_a_size_and_a_stride() {
        case("whole", Some(Window::Whole));
        case("512", Some(Window::Sliding { size: [512; 2], stride: [341; 2] }));
        case("640:400", Some(Window::Sliding { size: [640; 2], stride: [400; 2] }));
        case("512x1024:341x682", Some(Window::Sliding { size: [512, 1024], stride: [341, 682] }));
        for text in ["", "half", "16", "512:600", "512:0", "512x:3", "99999999"] {
            case(text, None);
        }
    }
}
