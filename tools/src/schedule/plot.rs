//! Learning rates over the steps and drop path over the blocks, in one picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use image::imageops::thumbnail;
use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::Curves;
use crate::train::atomic_file;
use crate::train::curves::{FONT, GRID, INK, OVERSAMPLING, PALETTE, register_font};

/// Size of the picture, pixels.
const SIZE: (u32, u32) = (1200, 720);
/// Points of a line.
const POINTS: usize = 500;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Outcome<'a> = Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

struct Panel<'a> {
    title: &'a str,
    axis: &'a str,
    lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// Draws both panels.
///
/// # Errors
/// If they cannot be drawn or written.
pub(super) fn draw(path: &Path, curves: &Curves<'_>) -> Result<()> {
    register_font()?;
    let last = curves.steps.saturating_sub(1);
    let steps: Vec<usize> = (0..=POINTS).map(|point| last * point / POINTS).collect();
    let over_steps =
        |scale: f64| steps.iter().map(|&step| (step as f64, curves.schedule.lr(step) * scale)).collect();
    let rates = curves.rows.iter().map(|(name, scale)| (name.as_str(), over_steps(*scale))).collect();
    let blocks = curves.drop_path.iter().enumerate().map(|(block, &rate)| (block as f64, rate)).collect();
    let panels = [
        Panel { title: "learning rate", axis: "step", lines: rates },
        Panel { title: "drop path, in every step", axis: "block", lines: vec![("drop path", blocks)] },
    ];
    let (width, height) = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
    let mut pixels = vec![255; (width * height * 3) as usize];
    draw_panels(&mut pixels, (width, height), &panels)
        .map_err(|e| anyhow!("{} could not be drawn: {e}", path.display()))?;
    let large = RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| anyhow!("{}: {width} x {height} pixels", path.display()))?;
    // Each pixel is the mean of those it covers.
    let small = thumbnail(&large, SIZE.0, SIZE.1);
    let mut encoded = std::io::Cursor::new(Vec::new());
    small.write_to(&mut encoded, ImageFormat::Png)?;
    atomic_file::replace(path, |file| Ok(file.write_all(encoded.get_ref())?))
}

fn draw_panels<'a>(pixels: &'a mut [u8], size: (u32, u32), panels: &[Panel<'_>]) -> Outcome<'a> {
    let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    root.present()
}

fn draw_panel<'a>(area: &Area<'a>, Panel { title, axis, lines }: &Panel<'_>) -> Outcome<'a> {
    let scale = OVERSAMPLING as i32;
    let text = |size: i32| (FONT, size * scale).into_font().color(&INK);
    let points = || lines.iter().flat_map(|(_, points)| points);
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max);
    let top = if top > 0.0 { top * 1.08 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(title, text(20))
        .margin(12 * scale)
        .margin_right(28 * scale)
        .x_label_area_size(44 * scale)
        .y_label_area_size(72 * scale)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(OVERSAMPLING))
        .light_line_style(WHITE)
        .axis_style(INK.stroke_width(OVERSAMPLING))
        .label_style(text(14))
        .x_desc(*axis)
        .x_label_formatter(&|at| if right < 10.0 { format!("{at:.1}") } else { format!("{at:.0}") })
        .y_label_formatter(&|value| {
            if top < 0.01 { format!("{value:.1e}") } else { format!("{value:.2}") }
        })
        .draw()?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let color = PALETTE[index % PALETTE.len()];
        let line = LineSeries::new(points.iter().copied(), color.stroke_width(2 * OVERSAMPLING));
        chart.draw_series(line)?.label(*name).legend(move |(x, y)| {
            Rectangle::new([(x, y - scale), (x + 18 * scale, y + scale)], color.filled())
        });
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .margin(8 * scale)
            .legend_area_size(24 * scale)
            .background_style(WHITE.mix(0.85))
            .label_font(text(14))
            .draw()?;
    }
    Ok(())
}
