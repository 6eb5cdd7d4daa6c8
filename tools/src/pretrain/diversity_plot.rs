//! The distances of every layer of several models, in one picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use image::imageops::thumbnail;
use image::{ImageFormat, RgbImage};
use plotters::prelude::*;

use super::diversity::Curve;
use crate::train::atomic_file;
use crate::train::curves::{FONT, GRID, INK, OVERSAMPLING, PALETTE, register_font};

/// Size of the picture, pixels.
const SIZE: (u32, u32) = (900, 520);

/// Draws a line for each model, the layers of each from 0 to 1 along the axis.
///
/// # Errors
/// If it cannot be drawn or written.
pub(super) fn draw(path: &Path, curves: &[Curve]) -> Result<()> {
    register_font()?;
    let (width, height) = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
    let mut pixels = vec![255; (width * height * 3) as usize];
    draw_lines(&mut pixels, (width, height), curves)
        .map_err(|e| anyhow!("{} could not be drawn: {e}", path.display()))?;
    let large = RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| anyhow!("{}: {width} x {height} pixels", path.display()))?;
    // Each pixel is the mean of those it covers.
    let small = thumbnail(&large, SIZE.0, SIZE.1);
    let mut encoded = std::io::Cursor::new(Vec::new());
    small.write_to(&mut encoded, ImageFormat::Png)?;
    atomic_file::replace(path, |file| Ok(file.write_all(encoded.get_ref())?))
}

type Outcome<'a> = Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw_lines<'a>(pixels: &'a mut [u8], size: (u32, u32), curves: &[Curve]) -> Outcome<'a> {
    let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    let scale = OVERSAMPLING as i32;
    let text = |size: i32| (FONT, size * scale).into_font().color(&INK);
    let largest = curves.iter().flat_map(|curve| &curve.distances).copied().fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption("cosine distance of channels, by layer", text(20))
        .margin(12 * scale)
        .margin_right(28 * scale)
        .x_label_area_size(44 * scale)
        .y_label_area_size(64 * scale)
        .build_cartesian_2d(0.0..1.0, 0.0..(largest * 1.1).max(0.1))?;
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(OVERSAMPLING))
        .light_line_style(WHITE)
        .axis_style(INK.stroke_width(OVERSAMPLING))
        .label_style(text(14))
        .x_desc("layer, from the first to the last")
        .y_label_formatter(&|value| format!("{value:.2}"))
        .draw()?;
    for (index, Curve { name, distances }) in curves.iter().enumerate() {
        let color = PALETTE[index % PALETTE.len()];
        let last = distances.len().saturating_sub(1).max(1) as f64;
        let points = distances.iter().enumerate().map(|(layer, &distance)| (layer as f64 / last, distance));
        chart
            .draw_series(LineSeries::new(points.clone(), color.stroke_width(2 * OVERSAMPLING)))?
            .label(name.as_str())
            .legend(move |(x, y)| {
                Rectangle::new([(x, y - scale), (x + 18 * scale, y + scale)], color.filled())
            });
        chart.draw_series(points.map(|point| Circle::new(point, 4 * scale, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .margin(8 * scale)
        .legend_area_size(24 * scale)
        .background_style(WHITE.mix(0.85))
        .label_font(text(14))
        .draw()?;
    root.present()
}
