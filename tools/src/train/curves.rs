//! `curves.png`: losses, learning rate and metrics over the steps, in one picture.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Once;

use anyhow::{Result, anyhow};
use image::imageops::thumbnail;
use image::{ImageFormat, RgbImage};
use plotters::prelude::*;
use plotters::style::FontStyle;

use crate::train::atomic_file;
use crate::train::metrics_file::Evaluation;
use crate::train::step_log::StepRecord;

/// Size of the picture, pixels.
const WIDTH: u32 = 1200;
const PANEL_HEIGHT: u32 = 360;
/// Drawn this much larger and shrunk, for smooth lines.
pub(crate) const OVERSAMPLING: u32 = 2;
/// Points a line has at most; longer logs are averaged.
const MAX_POINTS: usize = 500;
/// The name under which plotters knows the font.
pub(crate) const FONT: &str = "sans-serif";

/// Lines in order, distinguishable also without colour vision (Okabe and Ito 2008).
pub(crate) const PALETTE: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(0, 0, 0),
];
pub(crate) const GRID: RGBColor = RGBColor(232, 232, 232);
pub(crate) const INK: RGBColor = RGBColor(60, 60, 60);

/// One line of a panel.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// Evaluations are few, and get dots.
    pub(crate) has_dots: bool,
}

/// What there is to draw of a run: a title, and lines over the steps.
pub(crate) fn panels(records: &[StepRecord], evaluations: &[Evaluation]) -> Vec<(&'static str, Vec<Line>)> {
    let mut panels = vec![("losses", losses(records)), ("learning rate", learning_rate(records))];
    let metrics = metrics(evaluations);
    if !metrics.is_empty() {
        panels.push(("metrics", metrics));
    }
    panels
}

/// Draws the picture; without any step there is none.
///
/// # Errors
/// If it cannot be drawn or written.
pub fn draw(path: &Path, records: &[StepRecord], evaluations: &[Evaluation]) -> Result<()> {
    let Some(last) = records.last() else {
        return Ok(());
    };
    let panels = panels(records, evaluations);
    let (width, height) = (WIDTH * OVERSAMPLING, PANEL_HEIGHT * OVERSAMPLING * panels.len() as u32);
    let mut pixels = vec![255; (width * height * 3) as usize];
    register_font()?;
    draw_panels(&mut pixels, (width, height), &panels, last.step)
        .map_err(|e| anyhow!("{} could not be drawn: {e}", path.display()))?;
    let large = RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| anyhow!("{}: {width} x {height} pixels", path.display()))?;
    // Each pixel is the mean of those it covers.
    let small = thumbnail(&large, width / OVERSAMPLING, height / OVERSAMPLING);
    let mut encoded = std::io::Cursor::new(Vec::new());
    small.write_to(&mut encoded, ImageFormat::Png)?;
    atomic_file::replace(path, |file| Ok(file.write_all(encoded.get_ref())?))
}

type Drawing<'a> = BitMapBackend<'a>;
type DrawingOutcome<'a> = Result<(), DrawingAreaErrorKind<<Drawing<'a> as DrawingBackend>::ErrorType>>;

fn draw_panels<'a>(
    pixels: &'a mut [u8],
    size: (u32, u32),
    panels: &[(&str, Vec<Line>)],
    last_step: usize,
) -> DrawingOutcome<'a> {
    let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    for (area, (title, lines)) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw_panel(area, title, lines, last_step)?;
    }
    root.present()
}

fn draw_panel<'a>(
    area: &DrawingArea<Drawing<'a>, plotters::coord::Shift>,
    title: &str,
    lines: &[Line],
    last_step: usize,
) -> DrawingOutcome<'a> {
    let scale = OVERSAMPLING as i32;
    let text = |size: i32| (FONT, size * scale).into_font().color(&INK);
    let (low, high) = value_range(lines);
    let mut chart = ChartBuilder::on(area)
        .caption(title, text(20))
        .margin(12 * scale)
        .margin_right(28 * scale)
        .x_label_area_size(44 * scale)
        .y_label_area_size(64 * scale)
        .build_cartesian_2d(0.0..last_step.max(1) as f64, low..high)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(OVERSAMPLING))
        .light_line_style(WHITE)
        .axis_style(INK.stroke_width(OVERSAMPLING))
        .label_style(text(14))
        .x_desc("step")
        .x_labels(10)
        .y_labels(6)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| label(*value, high))
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let color = PALETTE[index % PALETTE.len()];
        let style = color.stroke_width(2 * OVERSAMPLING);
        let series = chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        if lines.len() > 1 || line.has_dots {
            series.label(line.name.as_str()).legend(move |(x, y)| {
                Rectangle::new([(x, y - scale), (x + 18 * scale, y + scale)], color.filled())
            });
        }
        if line.has_dots {
            let dot = |&point| Circle::new(point, 4 * scale, color.filled());
            chart.draw_series(line.points.iter().map(dot))?;
        }
    }
    if lines.len() > 1 || lines.iter().any(|line| line.has_dots) {
        let position = match lines.iter().any(|line| line.has_dots) {
            true => SeriesLabelPosition::LowerRight,
            false => SeriesLabelPosition::UpperRight,
        };
        chart
            .configure_series_labels()
            .position(position)
            .margin(8 * scale)
            .legend_area_size(24 * scale)
            .background_style(WHITE.mix(0.85))
            .label_font(text(14))
            .draw()?;
    }
    Ok(())
}

fn losses(records: &[StepRecord]) -> Vec<Line> {
    let mut names: Vec<&str> =
        records.iter().flat_map(|record| record.losses.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let total = line("total", records, |record| Some(f64::from(record.loss)));
    let terms = names
        .iter()
        .map(|name| line(name, records, |record| record.losses.get(*name).copied().map(f64::from)));
    // One loss is its own total.
    if names.len() < 2 { vec![total] } else { std::iter::once(total).chain(terms).collect() }
}

fn learning_rate(records: &[StepRecord]) -> Vec<Line> {
    vec![line("learning rate", records, |record| Some(record.lr))]
}

/// Whether a metric is one of the few that a run is told by.
pub(crate) fn is_headline(name: &str) -> bool {
    ["ap", "ap50", "miou", "macc", "accuracy", "explained", "top1", "top5"]
        .contains(&name.rsplit('/').next().unwrap_or(name))
}

/// The averages over sizes and thresholds; the other metrics are in `metrics.json`.
fn metrics(evaluations: &[Evaluation]) -> Vec<Line> {
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for evaluation in evaluations {
        for (name, value) in &evaluation.metrics {
            if let (true, Some(value)) = (is_headline(name), value) {
                lines.entry(name).or_default().push((evaluation.step as f64, *value));
            }
        }
    }
    lines.into_iter().map(|(name, points)| Line { name: name.to_owned(), points, has_dots: true }).collect()
}

/// The values of all steps, averaged over neighbours where there are more than fit.
fn line(name: &str, records: &[StepRecord], value: impl Fn(&StepRecord) -> Option<f64>) -> Line {
    let mean = |chunk: &[StepRecord]| {
        let values: Vec<f64> = chunk.iter().filter_map(&value).collect();
        let step = chunk.iter().map(|record| record.step as f64).sum::<f64>() / chunk.len() as f64;
        (!values.is_empty()).then(|| (step, values.iter().sum::<f64>() / values.len() as f64))
    };
    let points = records.chunks(records.len().div_ceil(MAX_POINTS).max(1)).filter_map(mean).collect();
    Line { name: name.to_owned(), points, has_dots: false }
}

/// From zero to a little above what occurs; a few first steps far above the rest are cut off.
pub(crate) fn value_range(lines: &[Line]) -> (f64, f64) {
    let mut values: Vec<f64> =
        lines.iter().flat_map(|line| line.points.iter().map(|&(_, value)| value)).collect();
    values.sort_by(f64::total_cmp);
    let at = |fraction: f64| values.get(((values.len().max(1) - 1) as f64 * fraction) as usize).copied();
    let (largest, usual) = (at(1.0).unwrap_or(1.0), at(0.99).unwrap_or(1.0));
    let high = if largest > 3.0 * usual && usual > 0.0 { usual * 1.5 } else { largest * 1.08 };
    let low = at(0.0).unwrap_or(0.0).min(0.0);
    if high > low { (low, high) } else { (low, low + 1.0) }
}

/// Small rates as `1e-4`, the rest as plain numbers.
fn label(value: f64, high: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if high < 0.01 {
        format!("{value:.1e}")
    } else if high < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

/// Once a process: plotters keeps fonts in a global table.
pub(crate) fn register_font() -> Result<()> {
    static REGISTERED: Once = Once::new();
    let mut outcome = Ok(());
    REGISTERED.call_once(|| {
        outcome = plotters::style::register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
            .map_err(|_| anyhow!("the font of the curves is not a font"));
    });
    outcome
}
