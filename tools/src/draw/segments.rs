//! Overlays of semantic segmentation: the image in the colours of its classes, and beside it what they are called.
//!
//! The legend lists the classes that occur, largest first, with their shares. It lies beside the image, never on it;
//! where there are more than fit, the last line tells how many.

use cvx_data::LabelMap;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::text::Lettering;
use super::{blend, enlargement, line_width};

/// Overlays are shrunk to this longer side, pixels: they are for looking at.
const LONGEST_SIDE: u32 = 4096;

/// Legends list at least so many classes, however low the image is.
const FEWEST_LINES: usize = 8;

/// Longer names are cut off, characters.
const LONGEST_NAME: usize = 28;

/// Behind the legend.
const PAPER: Rgb<u8> = Rgb([250, 250, 248]);

/// Letters of the legend, and of what matters less.
const INK: Rgb<u8> = Rgb([28, 28, 30]);
const PALE_INK: Rgb<u8> = Rgb([120, 120, 124]);

/// Borders between classes.
const BORDER: Rgb<u8> = Rgb([255, 255, 255]);

/// What the classes are called and how they are shown, by index.
#[derive(Debug, Clone, Copy)]
pub struct Legend<'a> {
    /// Names.
    pub names: &'a [String],
    /// Red, green and blue.
    pub colors: &'a [[u8; 3]],
}

/// A class in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassShare {
    /// Its index; nothing for pixels that are ignored.
    pub class: Option<usize>,
    /// How much of the image it is, 0 to 1.
    pub share: f64,
}

/// The classes that occur, largest first; pixels of none of `num_classes` are last.
pub fn class_shares(labels: &LabelMap, num_classes: usize) -> Vec<ClassShare> {
    let histogram = labels.histogram();
    let total = labels.pixels.len().max(1) as f64;
    let share = |pixels: u64| pixels as f64 / total;
    let mut shares: Vec<ClassShare> = (0..num_classes)
        .filter(|&class| histogram[class] > 0)
        .map(|class| ClassShare { class: Some(class), share: share(histogram[class]) })
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    let rest: u64 = histogram[num_classes..].iter().sum();
    shares.extend((rest > 0).then(|| ClassShare { class: None, share: share(rest) }));
    shares
}

/// The image in the colours of its classes, `opacity` of them, beside their legend.
///
/// # Panics
/// If image and labels differ in size, or a class has no name or colour.
pub fn label_overlay(image: &RgbImage, labels: &LabelMap, legend: Legend<'_>, opacity: f32) -> RgbImage {
    let painted = label_tint(image, labels, legend, opacity);
    beside(&painted, &class_shares(labels, legend.names.len()), legend)
}

/// The same without the legend, for whoever tells it otherwise.
///
/// # Panics
/// As [`label_overlay`].
pub(crate) fn label_tint(image: &RgbImage, labels: &LabelMap, legend: Legend<'_>, opacity: f32) -> RgbImage {
    let size = |map: &LabelMap| (map.width as u32, map.height as u32);
    assert_eq!(size(labels), image.dimensions(), "labels of the image");
    let (image, labels) = comfortable(image, labels);
    paint(image, &labels, legend, opacity)
}

/// Small images enlarged by a whole factor, huge ones shrunk.
fn comfortable(image: &RgbImage, labels: &LabelMap) -> (RgbImage, LabelMap) {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    let (new_width, new_height) = if longest > LONGEST_SIDE {
        let side =
            |side: u32| ((u64::from(side) * u64::from(LONGEST_SIDE) / u64::from(longest)) as u32).max(1);
        (side(width), side(height))
    } else {
        (width * enlargement(image), height * enlargement(image))
    };
    if (new_width, new_height) == (width, height) {
        return (image.clone(), labels.clone());
    }
    let resized = if longest > LONGEST_SIDE {
        imageops::thumbnail(image, new_width, new_height)
    } else {
        imageops::resize(image, new_width, new_height, FilterType::CatmullRom)
    };
    (resized, labels.resize(new_width as usize, new_height as usize))
}

/// Tints every pixel, and draws borders between the classes.
fn paint(mut canvas: RgbImage, labels: &LabelMap, legend: Legend<'_>, opacity: f32) -> RgbImage {
    let LabelMap { width, height, ref pixels } = *labels;
    let reach = line_width(&canvas) as usize;
    for y in 0..height {
        let row = &pixels[y * width..][..width];
        let below = &pixels[(y + reach).min(height - 1) * width..][..width];
        for (x, &label) in row.iter().enumerate() {
            let Some(&color) = legend.colors.get(usize::from(label)) else { continue };
            let is_border = row[(x + reach).min(width - 1)] != label || below[x] != label;
            let (x, y) = (x as i64, y as i64);
            blend(&mut canvas, x, y, Rgb(color), opacity);
            if is_border {
                blend(&mut canvas, x, y, BORDER, 0.6 * opacity.min(1.0));
            }
        }
    }
    canvas
}

/// Puts the legend to the right of an image, or below one that is wide.
fn beside(painted: &RgbImage, shares: &[ClassShare], legend: Legend<'_>) -> RgbImage {
    let (width, height) = painted.dimensions();
    let lettering = Lettering::new((width.max(height) as f32 / 50.0).clamp(15.0, 56.0));
    let (_, letter_height) = lettering.size("x");
    let line = (letter_height * 1.45).ceil();
    let margin = line * 0.7;
    let entries: Vec<Entry> = shares.iter().map(|share| Entry::new(share, legend)).collect();
    let longest_name = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
    let text_width = |entry: &Entry| lettering.size(&entry.text(longest_name)).0;
    let entry_width = line + entries.iter().map(text_width).fold(0.0, f32::max);

    let is_wide = width > 2 * height;
    let (columns, fitting) = if is_wide {
        let columns = ((width as f32 - margin) / (entry_width + margin)).floor().max(1.0) as usize;
        (columns, columns * FEWEST_LINES)
    } else {
        (1, (((height as f32 - 2.0 * margin) / line).floor().max(0.0) as usize).max(FEWEST_LINES))
    };
    let entries = Entry::abridge(entries, fitting);
    let lines = entries.len().div_ceil(columns);
    let legend_width = (margin + columns.min(entries.len()) as f32 * (entry_width + margin)).ceil() as u32;
    let legend_height = (2.0 * margin + lines as f32 * line).ceil() as u32;
    let (origin, size) = if is_wide {
        ([0.0, height as f32], [width.max(legend_width), height + legend_height])
    } else {
        ([width as f32, 0.0], [width + legend_width, height.max(legend_height)])
    };
    let mut canvas = RgbImage::from_pixel(size[0], size[1], PAPER);
    imageops::replace(&mut canvas, painted, 0, 0);
    for (at, entry) in entries.iter().enumerate() {
        let (column, row) = (at / lines, at % lines);
        let x = origin[0] + margin + column as f32 * (entry_width + margin);
        let y = origin[1] + margin + row as f32 * line;
        if let Some(color) = entry.color {
            swatch(&mut canvas, [x, y], letter_height, color);
        }
        let ink = if entry.color.is_some() { INK } else { PALE_INK };
        lettering.draw(&mut canvas, x + line, y, &entry.text(longest_name), ink);
    }
    canvas
}

/// A line of the legend.
struct Entry {
    name: String,
    share: f64,
    color: Option<Rgb<u8>>,
}

impl Entry {
    fn new(share: &ClassShare, legend: Legend<'_>) -> Self {
        let name = share.class.map_or("no class", |class| legend.names[class].as_str());
        let name = if name.chars().count() > LONGEST_NAME {
            let kept: String = name.chars().take(LONGEST_NAME - 1).collect();
            kept + "…"
        } else {
            name.to_owned()
        };
        Self { name, share: share.share, color: share.class.map(|class| Rgb(legend.colors[class])) }
    }

    /// The first of them, and what the others come to.
    fn abridge(mut entries: Vec<Self>, most: usize) -> Vec<Self> {
        if entries.len() > most {
            let rest = entries.split_off(most - 1);
            let name = format!("{} more", rest.len());
            entries.push(Self { name, share: rest.iter().map(|entry| entry.share).sum(), color: None });
        }
        entries
    }

    /// The name, filled up to a length, and the share.
    fn text(&self, length: usize) -> String {
        format!("{:<length$} {:>7}", self.name, percent(self.share))
    }
}

/// A share in words.
pub(crate) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.0005 { "<0.1 %".to_owned() } else { format!("{:.1} %", 100.0 * share) }
}

/// A square of a class's colour, with a rim so that white ones show.
fn swatch(canvas: &mut RgbImage, [x, y]: [f32; 2], side: f32, color: Rgb<u8>) {
    let (x, y, side) = (x.round() as i64, (y + 0.1 * side).round() as i64, (0.8 * side).round() as i64);
    for row in 0..side {
        for column in 0..side {
            let is_rim = [row, column].iter().any(|&at| at == 0 || at == side - 1);
            blend(canvas, x + column, y + row, color, 1.0);
            if is_rim {
                blend(canvas, x + column, y + row, Rgb([0, 0, 0]), 0.35);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    #[test]
    fn classes_are_listed_by_size_and_what_is_ignored_last() {
        let labels = LabelMap { width: 4, height: 2, pixels: vec![2, 2, 0, 255, 255, 255, 255, 0] };
        let shares = class_shares(&labels, 3);
        let found: Vec<_> = shares.iter().map(|share| (share.class, share.share)).collect();
        assert_eq!(found, [(Some(0), 0.25), (Some(2), 0.25), (None, 0.5)]);
    }

    #[test]
    fn the_image_keeps_its_place_and_the_legend_is_beside_it() {
        let names = names(2);
        let legend = Legend { names: &names, colors: &[[255, 0, 0], [0, 0, 255]] };
        for (width, height) in [(900, 700), (1200, 100), (1, 1), (30, 900)] {
            let image = RgbImage::from_pixel(width, height, Rgb([100, 100, 100]));
            let labels = LabelMap::filled(width as usize, height as usize, 1);
            let overlay = label_overlay(&image, &labels, legend, 0.5);
            assert_eq!(overlay.get_pixel(0, 0), &Rgb([50, 50, 178]));
            assert!(overlay.width() * overlay.height() > width * height);
        }
    }

    #[test]
    fn nothing_is_left_of_the_image_at_full_opacity_and_all_at_none() {
        let names = names(1);
        let legend = Legend { names: &names, colors: &[[9, 8, 7]] };
        let image = RgbImage::from_pixel(900, 900, Rgb([100, 100, 100]));
        let labels = LabelMap::filled(900, 900, 0);
        for (opacity, expected) in [(1.0, Rgb([9, 8, 7])), (0.0, Rgb([100, 100, 100]))] {
            let overlay = label_overlay(&image, &labels, legend, opacity);
            assert!((0..900).all(|at| overlay.get_pixel(at, at) == &expected));
        }
    }

    #[test]
    fn more_classes_than_lines_are_summed_up() {
        let names = names(150);
        let colors: Vec<[u8; 3]> = (0..150).map(|class| [class; 3]).collect();
        let entry = |class| {
            Entry::new(
                &ClassShare { class: Some(class), share: 0.01 },
                Legend { names: &names, colors: &colors },
            )
        };
        let entries = Entry::abridge((0..100).map(entry).collect(), 12);
        assert_eq!(entries.len(), 12);
        assert_eq!(entries[11].name, "89 more");
        assert_eq!(percent(entries[11].share), "89.0 %");
    }

    #[test]
    fn a_huge_image_is_shrunk() {
        let names = names(1);
        let legend = Legend { names: &names, colors: &[[9, 8, 7]] };
        let overlay = label_overlay(&RgbImage::new(9000, 3), &LabelMap::filled(9000, 3, 0), legend, 0.5);
        assert_eq!(overlay.width(), LONGEST_SIDE);
    }
}
