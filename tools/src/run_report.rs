//! The report of a run as one HTML file: what came out, how it went, what it looks like, and how it was made.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use image::RgbImage;

use crate::args::ReportArgs;
use crate::environment::Environment;
use crate::page::{Axis, COLOURS, Chart, Line, Page};
use crate::summary::{self, Summary};
use crate::train::checkpoint::Checkpoint;
use crate::train::curves;
use crate::train::metrics_file::MetricsFile;
use crate::train::step_log::{self, StepRecord};

/// The longer side of a picture, pixels.
const SIDE: u32 = 560;

/// What a run left.
pub(crate) struct Run {
    folder: PathBuf,
    recipe: String,
    records: Vec<StepRecord>,
    metrics: MetricsFile,
    environment: Option<Environment>,
}

/// A prediction beside the truth.
pub(crate) struct Pair {
    pub(crate) prediction: RgbImage,
    /// None where the caption tells it.
    pub(crate) truth: Option<RgbImage>,
    pub(crate) caption: String,
    /// What colours mean, where the pictures do not tell it themselves.
    pub(crate) key: Vec<Key>,
}

/// What a colour of a picture means.
pub(crate) struct Key {
    pub(crate) colour: [u8; 3],
    pub(crate) text: String,
}

impl Run {
    /// Reads what a run left.
    ///
    /// # Errors
    /// If the folder holds no run, or a file of it is damaged.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let recipe_path = folder.join("recipe.toml");
        ensure!(
            recipe_path.exists(),
            "{}: holds no run; possible is the folder that `train` wrote (run.folder in its recipe)",
            folder.display()
        );
        let recipe = fs::read_to_string(&recipe_path).with_context(|| recipe_path.display().to_string())?;
        let log = folder.join("log.jsonl");
        let records = if log.exists() { step_log::read(&log)? } else { Vec::new() };
        let metrics = MetricsFile::open_until(&folder.join("metrics.json"), usize::MAX, None)?;
        let environment = Environment::of_run(folder)?;
        Ok(Self { folder: folder.to_owned(), recipe, records, metrics, environment })
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The recipe it was trained by, as TOML.
    pub(crate) fn recipe(&self) -> &str {
        &self.recipe
    }

    /// Where its best model is.
    pub(crate) fn best_checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoints/best.safetensors")
    }

    /// Its steps.
    pub(crate) fn records(&self) -> &[StepRecord] {
        &self.records
    }

    /// Its evaluations.
    pub(crate) fn metrics(&self) -> &MetricsFile {
        &self.metrics
    }

    /// The recipe it was trained by.
    pub(crate) fn recipe_path(&self) -> PathBuf {
        self.folder.join("recipe.toml")
    }

    /// The model that predictions are shown of: the best, or where there was no evaluation yet, the last; says which on the
    /// page and to `err`.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub(crate) fn judged(&self, page: &mut Page, err: &mut dyn Write) -> Result<Checkpoint> {
        let best = self.best_checkpoint();
        if best.exists() || !self.metrics.evaluations.is_empty() {
            return Checkpoint::open_whole(&best);
        }
        let checkpoint = Checkpoint::open_whole(&self.folder.join("checkpoints/last.safetensors"))
            .context("the run has neither an evaluation nor a checkpoint to make predictions with")?;
        let remark = format!(
            "the run has no evaluation yet: predictions are those of its last checkpoint, after step {}",
            checkpoint.position.step
        );
        writeln!(err, "note: {remark}")?;
        page.note(&remark);
        Ok(checkpoint)
    }

    /// A page with what came out and how it went.
    pub(crate) fn begin(&self, best_by: &str) -> Page {
        let mut page = Page::new(&self.folder.display().to_string());
        let Summary { rows, time } = Summary::of(&self.records, &self.metrics, best_by);
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        page.paragraph(&if self.metrics.evaluations.is_empty() {
            format!("Trained for {time}, and not evaluated yet.")
        } else {
            format!("Trained for {time}; the best evaluation is that with the highest {best_by}.")
        });
        page.table(&["", "best", "last"], &rows);
        page.raw("<div class=\"charts\">");
        for (title, lines) in curves::panels(&self.records, &self.metrics.evaluations) {
            let (low, high) = curves::value_range(&lines);
            let last = self.records.last().map_or(1, |record| record.step).max(1);
            page.raw("<section>");
            page.heading(title);
            let lines = lines.into_iter().enumerate().map(|(index, line)| Line {
                name: line.name,
                colour: COLOURS[index % COLOURS.len()],
                points: line.points.into_iter().map(|(x, y)| [x, y]).collect(),
                has_dots: line.has_dots,
            });
            page.chart(&Chart {
                alternative: format!("{title} over steps"),
                across: Axis { label: "step", range: [0.0, last as f64] },
                up: Axis { label: "", range: [low, high] },
                lines: lines.collect(),
            });
            page.raw("</section>");
        }
        page.raw("</div>");
        page
    }

    /// Appends how it was made, and writes the page where the arguments say.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn end(&self, mut page: Page, args: &ReportArgs) -> Result<PathBuf> {
        page.heading("How it was made");
        match &self.environment {
            Some(environment) => page.table(&["", ""], &environment.rows()),
            None => page.paragraph("The run did not record where it took place."),
        }
        let seconds: f64 = self.records.iter().map(|record| record.seconds).sum();
        let waited: f64 = self.records.iter().map(|record| record.data_s).sum();
        page.note(&format!(
            "Steps took {} in all, of which {} were spent waiting for images.",
            summary::duration(seconds),
            summary::duration(waited)
        ));
        page.folded("The recipe, with every value", &self.recipe);
        let path = args.out.clone().unwrap_or_else(|| self.folder.join("report.html"));
        page.write(&path)?;
        Ok(path)
    }
}

/// Positions of the best, of the middle and of the worst of scored samples, `count` of each and none twice.
pub(crate) fn chosen(scores: &[f64], count: usize) -> [Vec<usize>; 3] {
    let mut order: Vec<usize> = (0..scores.len()).filter(|index| scores[*index].is_finite()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let count = count.min(order.len() / 3).max(usize::from(!order.is_empty()));
    let best: Vec<usize> = order.iter().take(count).copied().collect();
    let left = &order[best.len()..];
    let worst: Vec<usize> = left.iter().rev().take(count).copied().collect();
    let left = &left[..left.len() - worst.len()];
    let middle = left.iter().skip((left.len() - count.min(left.len())) / 2).take(count).copied().collect();
    [best, middle, worst]
}

/// Positions of a few images, spread evenly.
pub(crate) fn spread(length: usize, count: usize) -> Vec<usize> {
    (0..count.min(length)).map(|index| index * length / count.min(length)).collect()
}

/// Appends the best, the middle and the worst predictions.
///
/// # Errors
/// If a picture cannot be made.
pub(crate) fn pictures(
    page: &mut Page,
    chosen: &[Vec<usize>; 3],
    pair: &mut dyn FnMut(usize) -> Result<Pair>,
) -> Result<()> {
    for (title, indices) in ["Best predictions", "Median predictions", "Worst predictions"].iter().zip(chosen)
    {
        if indices.is_empty() {
            continue;
        }
        page.heading(title);
        let mut html = String::from("<div class=\"grid\">");
        for &index in indices {
            let Pair { prediction, truth, caption, key } = pair(index)?;
            let mut shown = vec![(&prediction, "prediction")];
            shown.extend(truth.as_ref().map(|truth| (truth, "truth")));
            let key: Vec<([u8; 3], &str)> = key.iter().map(|key| (key.colour, key.text.as_str())).collect();
            html.push_str(&Page::figure(&shown, SIDE, &caption, &key)?);
        }
        page.raw(&(html + "</div>"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_median_and_worst_are_apart() {
        let scores = [0.5, 0.9, 0.1, 0.7, f64::NAN, 0.3, 0.6];
        assert_eq!(chosen(&scores, 2), [vec![1, 3], vec![6, 0], vec![2, 5]]);
        let none = Vec::<usize>::new;
        assert_eq!(chosen(&[0.4, 0.6], 4), [vec![1], none(), vec![0]]);
        assert_eq!(chosen(&[], 4), [none(), none(), none()]);
    }
}
