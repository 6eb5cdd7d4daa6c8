//! The comparison as a picture: a panel for each figure, a row for each group, a dot for each run.

use std::path::Path;

use anyhow::{Result, anyhow};
use image::imageops::thumbnail;
use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::{Cell, Table};
use crate::train::atomic_file;
use crate::train::curves::{FONT, GRID, INK, OVERSAMPLING, PALETTE, register_font};

/// Heights of a row, of what is above and below all rows, and the widths of names and of a panel, pixels.
const ROW: u32 = 44;
const HEAD: u32 = 48;
const FOOT: u32 = 34;
const PANEL: u32 = 330;
/// Height of letters, and about the width of one.
const LETTERS: i32 = 15;
const LETTER_WIDTH: u32 = 9;
/// Width of the explanation of the marks, pixels.
const KEY: u32 = 210;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Outcome<'a> = Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

/// Draws it.
///
/// # Errors
/// If it cannot be drawn or written.
pub(super) fn draw(path: &Path, table: &Table) -> Result<()> {
    register_font()?;
    let longest = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0) as u32;
    let names = (longest * LETTER_WIDTH + 32).max(KEY);
    let size = (names + PANEL * table.metrics.len() as u32, HEAD + ROW * table.rows.len() as u32 + FOOT);
    let large_size = (size.0 * OVERSAMPLING, size.1 * OVERSAMPLING);
    let mut pixels = vec![255; (large_size.0 * large_size.1 * 3) as usize];
    draw_table(&mut pixels, large_size, names, table)
        .map_err(|e| anyhow!("{} could not be drawn: {e}", path.display()))?;
    let large = RgbImage::from_raw(large_size.0, large_size.1, pixels)
        .ok_or_else(|| anyhow!("{}: {} x {} pixels", path.display(), size.0, size.1))?;
    // Each pixel is the mean of those it covers.
    let small = thumbnail(&large, size.0, size.1);
    let mut encoded = std::io::Cursor::new(Vec::new());
    small.write_to(&mut encoded, ImageFormat::Png)?;
    atomic_file::replace(path, |file| Ok(file.write_all(encoded.get_ref())?))
}

fn draw_table<'a>(pixels: &'a mut [u8], size: (u32, u32), names: u32, table: &Table) -> Outcome<'a> {
    let scale = OVERSAMPLING as i32;
    let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    let (left, right) = root.split_horizontally(names * OVERSAMPLING);
    let style = (FONT, LETTERS * scale).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    for (index, row) in table.rows.iter().enumerate() {
        left.draw(&Text::new(row.name.as_str(), (12 * scale, middle(index)), style.clone()))?;
    }
    draw_key(&left)?;
    for (column, area) in right.split_evenly((1, table.metrics.len().max(1))).iter().enumerate() {
        draw_panel(area, table, column)?;
    }
    root.present()
}

/// What dot and tick stand for.
fn draw_key<'a>(area: &Area<'a>) -> Outcome<'a> {
    let scale = OVERSAMPLING as i32;
    let y = area.dim_in_pixel().1 as i32 - 16 * scale;
    let style = (FONT, (LETTERS - 3) * scale).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Circle::new((17 * scale, y), 4 * scale, INK.mix(0.7).filled()))?;
    area.draw(&Text::new("a run", (26 * scale, y), style.clone()))?;
    let tick = [(76 * scale, y - 7 * scale), (76 * scale, y + 7 * scale)];
    area.draw(&PathElement::new(tick, INK.stroke_width(2 * OVERSAMPLING)))?;
    area.draw(&Text::new("mean \u{b1} deviation", (84 * scale, y), style))
}

fn draw_panel<'a>(area: &Area<'a>, table: &Table, column: usize) -> Outcome<'a> {
    let scale = OVERSAMPLING as i32;
    let cells: Vec<&Cell> = table.rows.iter().filter_map(|row| row.cells.get(column)).collect();
    let values = || cells.iter().flat_map(|cell| cell.values.iter().copied());
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let margin = ((high - low) * 0.08).max(1e-4);
    let (low, high) = (low - margin, high + margin);
    let (width, height) = area.dim_in_pixel();
    let (first, last) = (10 * scale, width as i32 - 130 * scale);
    let across = |value: f64| first + ((value - low) / (high - low) * f64::from(last - first)) as i32;
    let text = |size: i32, side: HPos| {
        (FONT, size * scale).into_font().color(&INK).pos(Pos::new(side, VPos::Center))
    };

    let title = table.metrics.get(column).map_or("", String::as_str);
    area.draw(&Text::new(title, (first, 22 * scale), text(LETTERS + 2, HPos::Left)))?;
    for (index, cell) in cells.iter().enumerate() {
        let y = middle(index);
        area.draw(&PathElement::new([(first, y), (last, y)], GRID.stroke_width(OVERSAMPLING)))?;
        if cell.values.is_empty() {
            continue;
        }
        let color = PALETTE[index % PALETTE.len()];
        let at = across(cell.mean);
        let tick = [(at, y - 12 * scale), (at, y + 12 * scale)];
        area.draw(&PathElement::new(tick, color.stroke_width(2 * OVERSAMPLING)))?;
        for &value in &cell.values {
            area.draw(&Circle::new((across(value), y), 5 * scale, color.mix(0.7).filled()))?;
        }
        let spread = cell.spread.map_or_else(String::new, |spread| format!(" ±{spread:.3}"));
        let label = format!("{:.3}{spread}", cell.mean);
        area.draw(&Text::new(label, (last + 10 * scale, y), text(LETTERS, HPos::Left)))?;
    }
    let y = height as i32 - 16 * scale;
    for (value, x, side) in [(low, first, HPos::Left), (high, last, HPos::Right)] {
        area.draw(&Text::new(format!("{value:.3}"), (x, y), text(LETTERS - 3, side)))?;
    }
    Ok(())
}

/// The middle of a row, pixels of the larger picture.
fn middle(row: usize) -> i32 {
    (HEAD as i32 + ROW as i32 * row as i32 + ROW as i32 / 2) * OVERSAMPLING as i32
}
