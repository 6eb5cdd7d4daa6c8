//! How the samples of label images become classes: as they are, shifted, by a list of values, or by colour.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::label_error::{LabelError, Stray};
use crate::label_map::LabelMap;
use crate::label_png::{LabelPng, no_palette};

/// What the value 0 of an index stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroLabel {
    /// The first class.
    Class,
    /// No class; 1 is the first, as in ADE20K (mmseg's `reduce_zero_label`): 0 becomes
    /// [`LabelMap::IGNORED`], 255 stays that, and all others become one less.
    Ignored,
}

/// What the samples of label images mean. 255 is ignored unless it is listed as a class's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelEncoding {
    /// Values are class indices.
    Index {
        /// What 0 stands for.
        zero: ZeroLabel,
        /// Values of the file, before any shift, that are ignored besides 255.
        ignored: Vec<u8>,
    },
    /// Each class has a value of its own: binary masks of 0 and 255, raw Cityscapes or COCO-Stuff ids.
    Values {
        /// The value of each class, in the order of the classes.
        values: Vec<u8>,
        /// Values that are ignored, besides 255 if that is none of a class.
        ignored: Vec<u8>,
    },
    /// Each class has a colour: RGB images. An indexed file whose own palette has these colours at these
    /// indices is read too, and so is a grey one, whose values are then class indices.
    Palette {
        /// Red, green and blue of each class, in the order of the classes.
        colors: Vec<[u8; 3]>,
        /// Colours that are ignored.
        ignored: Vec<[u8; 3]>,
    },
}

/// Why an encoding cannot name the classes of a data set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelEncodingError {
    /// More classes than values, or none.
    #[error("{found} classes; possible are 1 to {most}{}", if *most == 254 { " where 0 is ignored" } else { "" })]
    NumClasses {
        /// Number of classes.
        found: usize,
        /// Most there may be.
        most: usize,
    },
    /// As many values or colours as there are classes are needed.
    #[error("{found} {what} for {num_classes} classes; each class has one")]
    Count {
        /// `values` or `colours`.
        what: &'static str,
        /// How many are listed.
        found: usize,
        /// How many there must be.
        num_classes: usize,
    },
    /// One value, or colour, that stands for two classes, or for one and for ignored pixels.
    #[error(
        "{value} is listed twice, among the classes or among what is ignored; it can stand for one thing"
    )]
    Twice {
        /// The value or colour, in words.
        value: String,
    },
}

impl LabelEncoding {
    /// Whether it can name this many classes.
    ///
    /// # Errors
    /// When there are no or too many classes, when the values or colours are not as many, or when one
    /// stands for two things.
    pub fn check(&self, num_classes: usize) -> Result<(), LabelEncodingError> {
        let most = match self {
            // 255 less one is 254, which is ignored: mmseg's arithmetic.
            Self::Index { zero: ZeroLabel::Ignored, .. } => LabelMap::MOST_CLASSES - 1,
            _ => LabelMap::MOST_CLASSES,
        };
        if !(1..=most).contains(&num_classes) {
            return Err(LabelEncodingError::NumClasses { found: num_classes, most });
        }
        let count = |what, found| {
            let wrong = LabelEncodingError::Count { what, found, num_classes };
            if found == num_classes { Ok(()) } else { Err(wrong) }
        };
        let repeated = match self {
            Self::Index { .. } => None,
            Self::Values { values, ignored } => {
                count("values", values.len())?;
                first_repeated(values, ignored).map(|value| format!("the value {value}"))
            }
            Self::Palette { colors, ignored } => {
                count("colours", colors.len())?;
                first_repeated(colors, ignored).map(|color| format!("the colour {color:?}"))
            }
        };
        repeated.map_or(Ok(()), |value| Err(LabelEncodingError::Twice { value }))
    }

    /// Reads a label image as classes, of which every pixel is one or [`LabelMap::IGNORED`].
    ///
    /// # Errors
    /// When the file cannot be read, is no PNG of a kind that holds labels, is truncated, corrupt or too
    /// large, or when a pixel is no class: with the value, how many pixels have it, and where the first is.
    pub fn read(&self, path: &Path, num_classes: usize) -> Result<LabelMap, LabelError> {
        self.classes(LabelPng::read(path)?, path, num_classes)
    }

    /// Classes of a decoded file; `path` only names it in errors.
    pub(crate) fn classes(
        &self,
        png: LabelPng,
        path: &Path,
        num_classes: usize,
    ) -> Result<LabelMap, LabelError> {
        let stray = |strays| LabelError::strays(path.into(), strays, self.possible(num_classes));
        match (self, png) {
            (Self::Palette { colors, ignored }, LabelPng::Colors { width, height, pixels }) => {
                let classes = colors.iter().zip(0..).map(|(&color, class)| (color, class));
                let ignored = ignored.iter().map(|&color| (color, LabelMap::IGNORED));
                color_labels(width, height, &pixels, &classes.chain(ignored).collect()).map_err(stray)
            }
            (_, LabelPng::Colors { pixels, .. }) => Err(no_palette(path, &pixels)),
            (Self::Palette { colors, ignored }, LabelPng::Indices(map, Some(shown_in))) => {
                agrees(path, &map, &shown_in, colors, ignored)?;
                apply(map, &self.table(num_classes)).map_err(stray)
            }
            (_, LabelPng::Indices(map, _)) => apply(map, &self.table(num_classes)).map_err(stray),
        }
    }

    /// What each value of an index becomes; `None` for those that are no class.
    fn table(&self, num_classes: usize) -> [Option<u8>; 256] {
        let mut table = [None; 256];
        table[255] = Some(LabelMap::IGNORED);
        let mut set = |value: u8, class: usize| table[usize::from(value)] = Some(class as u8);
        match self {
            Self::Index { zero, ignored } => {
                let first = usize::from(*zero == ZeroLabel::Ignored);
                (0..num_classes).for_each(|class| set((class + first) as u8, class));
                let zero = (*zero == ZeroLabel::Ignored).then_some(0);
                ignored.iter().copied().chain(zero).for_each(|value| set(value, LabelMap::IGNORED.into()));
            }
            Self::Values { values, ignored } => {
                values.iter().enumerate().for_each(|(class, &value)| set(value, class));
                ignored.iter().for_each(|&value| set(value, LabelMap::IGNORED.into()));
            }
            Self::Palette { .. } => (0..num_classes).for_each(|class| set(class as u8, class)),
        }
        table
    }

    /// What may stand in a file, in words.
    fn possible(&self, num_classes: usize) -> String {
        let list = |values: &[u8]| values.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let (classes, mut ignored) = match self {
            Self::Index { zero: ZeroLabel::Class, ignored } => {
                (format!("0 to {}", num_classes - 1), ignored.clone())
            }
            Self::Index { zero: ZeroLabel::Ignored, ignored } => {
                (format!("1 to {num_classes}"), [&[0], ignored.as_slice()].concat())
            }
            Self::Values { values, ignored } => (list(values), ignored.clone()),
            Self::Palette { colors, ignored } => {
                let classes = format!("the {} colours of the classes", colors.len());
                return match ignored.len() {
                    0 => classes,
                    1 => format!("{classes} and the one that is ignored"),
                    count => format!("{classes} and the {count} that are ignored"),
                };
            }
        };
        let is_class = matches!(self, Self::Values { values, .. } if values.contains(&LabelMap::IGNORED));
        if !is_class && !ignored.contains(&LabelMap::IGNORED) {
            ignored.push(LabelMap::IGNORED);
        }
        if ignored.is_empty() {
            classes
        } else {
            format!("{classes}, and {} for ignored pixels", list(&ignored))
        }
    }
}

fn first_repeated<T: Copy + Eq + std::hash::Hash>(classes: &[T], ignored: &[T]) -> Option<T> {
    let mut seen = HashSet::new();
    classes.iter().chain(ignored).copied().find(|&value| !seen.insert(value))
}

/// Whether an indexed file shows every index that it uses in the colour of the class of that number.
fn agrees(
    path: &Path,
    map: &LabelMap,
    shown_in: &[[u8; 3]],
    colors: &[[u8; 3]],
    ignored: &[[u8; 3]],
) -> Result<(), LabelError> {
    let histogram = map.histogram();
    for index in (0..LabelMap::IGNORED).filter(|&index| histogram[usize::from(index)] > 0) {
        // An index that is no class, or is shown in no colour, is reported as such later, with its place.
        let (Some(&found), Some(&given)) = (shown_in.get(usize::from(index)), colors.get(usize::from(index)))
        else {
            continue;
        };
        if found != given {
            let given = if ignored.contains(&found) {
                format!("{given:?} (the colour found is ignored)")
            } else {
                format!("{given:?}")
            };
            return Err(LabelError::OtherPalette { path: path.into(), index, found, given });
        }
    }
    Ok(())
}

/// Replaces every value by what the table has for it.
fn apply(mut map: LabelMap, table: &[Option<u8>; 256]) -> Result<LabelMap, Vec<Stray>> {
    let histogram = map.histogram();
    let is_stray = |value: &usize| histogram[*value] > 0 && table[*value].is_none();
    let mut strays: Vec<(usize, usize)> = (0..256)
        .filter(is_stray)
        .filter_map(|value| Some((map.pixels.iter().position(|&pixel| usize::from(pixel) == value)?, value)))
        .collect();
    if strays.is_empty() {
        let classes = table.map(|class| class.unwrap_or(LabelMap::IGNORED));
        map.pixels.iter_mut().for_each(|pixel| *pixel = classes[usize::from(*pixel)]);
        return Ok(map);
    }
    strays.sort_unstable();
    let stray = |(at, value): (usize, usize)| Stray {
        value: format!("the value {value}"),
        pixels: histogram[value],
        x: at % map.width,
        y: at / map.width,
    };
    Err(strays.into_iter().map(stray).collect())
}

/// The classes of RGB pixels, three bytes each.
pub(crate) fn color_labels(
    width: usize,
    height: usize,
    pixels: &[u8],
    class_of: &HashMap<[u8; 3], u8>,
) -> Result<LabelMap, Vec<Stray>> {
    /// A photograph has a million colours, of which a message names one.
    const MOST_STRAYS: usize = 256;
    let mut labels = Vec::with_capacity(width * height);
    let mut strays: HashMap<[u8; 3], (usize, u64)> = HashMap::new();
    // Neighbours are mostly of one colour.
    let mut last: Option<([u8; 3], u8)> = None;
    for (at, pixel) in pixels.chunks_exact(3).enumerate() {
        let color = [pixel[0], pixel[1], pixel[2]];
        let class = match last {
            Some((same, class)) if same == color => class,
            _ => match class_of.get(&color) {
                Some(&class) => class,
                None => {
                    if strays.len() < MOST_STRAYS || strays.contains_key(&color) {
                        strays.entry(color).or_insert((at, 0)).1 += 1;
                    }
                    continue;
                }
            },
        };
        last = Some((color, class));
        labels.push(class);
    }
    if strays.is_empty() {
        return Ok(LabelMap { width, height, pixels: labels });
    }
    let mut strays: Vec<_> = strays.into_iter().collect();
    strays.sort_unstable_by_key(|(_, (at, _))| *at);
    let stray = |(color, (at, pixels)): ([u8; 3], (usize, u64))| Stray {
        value: format!("the colour {color:?}"),
        pixels,
        x: at % width,
        y: at / width,
    };
    Err(strays.into_iter().map(stray).collect())
}
