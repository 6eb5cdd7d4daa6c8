//! The images with the most errors, as pictures with what was missed and what was made up.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use cvx_data::{Coco, ImageVerdict, Judged, read_image};

use crate::page::{escaped, jpeg};

/// Images that are shown.
const SHOWN: usize = 24;
/// The longer side of a picture, in pixels.
const SIDE: f64 = 480.0;

/// Figures of the worst images of `folder`, most errors first.
pub(super) fn figures(truth: &Coco, verdicts: Vec<ImageVerdict>, folder: &Path) -> Result<String> {
    let mut worst = verdicts;
    worst.retain(|verdict| verdict.false_alarms() + verdict.misses() > 0);
    worst.sort_by_key(|verdict| {
        (std::cmp::Reverse(verdict.false_alarms() + verdict.misses()), verdict.image_id)
    });
    let positions = truth.image_positions();
    let mut html = String::from("<div class=\"grid\">");
    for verdict in worst.iter().take(SHOWN) {
        let name = &truth.images[positions[&verdict.image_id]].file_name;
        html.push_str(&figure(truth, verdict, name, &folder.join(name))?);
    }
    Ok(html + "</div>")
}

fn figure(truth: &Coco, verdict: &ImageVerdict, name: &str, path: &Path) -> Result<String> {
    let picture = read_image(path).context("the worst images are shown")?;
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let scale = (SIDE / width.max(height)).min(1.0);
    let mut svg = format!(
        "<figure><svg viewBox=\"0 0 {width} {height}\" width=\"100%\"><image href=\"{}\" width=\"{width}\" height=\"{height}\"/>",
        jpeg(&picture, SIDE as u32)?
    );
    let category =
        |id: u64| truth.categories.iter().find(|category| category.id == id).map_or("?", |c| &c.name);
    let mut mark = |judged: &Judged, colour: &str, dashes: &str| {
        let [x, y, w, h] = judged.bbox;
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{}\" stroke-dasharray=\"{dashes}\"><title>{} {:.2}</title></rect>",
            w.max(0.0),
            h.max(0.0),
            2.0 / scale,
            escaped(category(judged.category_id)),
            judged.score
        );
    };
    let matched = |judged: &&Judged| judged.is_matched;
    verdict.found.iter().filter(matched).for_each(|judged| mark(judged, "#2a2", ""));
    verdict.found.iter().filter(|judged| !judged.is_matched).for_each(|judged| mark(judged, "#d22", ""));
    let dashes = format!("{} {}", 6.0 / scale, 4.0 / scale);
    verdict
        .truths
        .iter()
        .filter(|judged| !judged.is_matched)
        .for_each(|judged| mark(judged, "#e90", &dashes));
    let _ = write!(
        svg,
        "</svg><figcaption>{}: {} of {} objects missed, {} false alarms</figcaption></figure>",
        escaped(name),
        verdict.misses(),
        verdict.truths.len(),
        verdict.false_alarms()
    );
    Ok(svg)
}
