//! The comparison as text and as Markdown: one row for each group of runs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Group, Weighed};
use crate::report::number;

/// A figure of a group.
pub(super) struct Cell {
    /// Of each run that has it.
    pub(super) values: Vec<f64>,
    /// NaN where no run has it.
    pub(super) mean: f64,
    /// The sample standard deviation over the runs; none of a single one.
    pub(super) spread: Option<f64>,
    /// Less the mean of the first group; none in the first.
    pub(super) change: Option<f64>,
    /// Where 95 of 100 changes lie when images are resampled.
    pub(super) interval: Option<[f64; 2]>,
}

/// What a group's network and its training take.
pub(super) struct Cost {
    runs: usize,
    weighed: Weighed,
    /// Images a second of training: the median step.
    images_per_s: Option<f64>,
    /// The highest memory of the process, megabytes.
    peak_mb: Option<u64>,
}

pub(super) struct Row {
    pub(super) name: String,
    pub(super) cells: Vec<Cell>,
    pub(super) cost: Cost,
}

pub(super) struct Table {
    pub(super) metrics: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) resamples: u32,
}

impl Cell {
    /// Of the values of all runs; `reference` is the mean of the first group.
    pub(super) fn of(values: Vec<f64>, reference: Option<f64>, interval: Option<[f64; 2]>) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let spread = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        let change = reference.map(|reference| mean - reference);
        Self { values, mean, spread, change, interval }
    }

    /// `0.3120 ±0.0100`.
    fn level(&self) -> String {
        if self.values.is_empty() {
            return "-".to_owned();
        }
        let spread = self.spread.map_or_else(String::new, |spread| format!(" ±{spread:.4}"));
        format!("{:.4}{spread}", self.mean)
    }

    /// `+0.0180 (-0.0020 to +0.0310)`.
    fn change(&self) -> String {
        let Some(change) = self.change.filter(|change| change.is_finite()) else { return "-".to_owned() };
        let interval =
            self.interval.map_or_else(String::new, |[low, high]| format!(" ({low:+.4} to {high:+.4})"));
        format!("{change:+.4}{interval}")
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "values": self.values, "mean": number(self.mean), "spread": self.spread, "change": self.change,
            "interval": self.interval,
        })
    }
}

impl Cost {
    pub(super) fn of(group: &Group, weighed: Weighed) -> Self {
        let steps = || group.runs.iter().flat_map(|run| run.records());
        let mut speeds: Vec<f64> = steps().map(|record| record.images_per_s).collect();
        speeds.sort_by(f64::total_cmp);
        Self {
            runs: group.runs.len(),
            weighed,
            images_per_s: speeds.get(speeds.len() / 2).copied(),
            peak_mb: steps().filter_map(|record| record.peak_mb).max(),
        }
    }

    fn headings(&self) -> [String; 5] {
        let [height, width] = self.weighed.size;
        [
            "runs".into(),
            "parameters".into(),
            format!("GFLOPs {height}x{width}"),
            "images/s".into(),
            "MB".into(),
        ]
    }

    fn columns(&self) -> [String; 5] {
        let Self { runs, weighed: Weighed { parameters, flops, size: _ }, images_per_s, peak_mb } = self;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            runs.to_string(),
            format!("{:.2} M", *parameters as f64 / 1e6),
            format!("{:.2}", *flops as f64 / 1e9),
            or_dash(images_per_s.map(|speed| format!("{speed:.1}"))),
            or_dash(peak_mb.map(|peak| peak.to_string())),
        ]
    }

    pub(super) fn to_json(&self) -> Value {
        let Self { runs, weighed: Weighed { parameters, flops, size }, images_per_s, peak_mb } = self;
        json!({
            "runs": runs, "parameters": parameters, "flops": flops, "flops_size": size,
            "images_per_s": images_per_s, "peak_mb": peak_mb,
        })
    }
}

impl Table {
    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let mut text = aligned(&self.levels());
        if self.rows.len() > 1 {
            let _ = writeln!(text, "\nchange from {}{}", self.rows[0].name, self.interval_told());
            text += &aligned(&self.changes());
        }
        let _ = writeln!(text, "\n{}", self.remark());
        text
    }

    /// For a document.
    pub(super) fn markdown(&self) -> String {
        let mut text = piped(&self.levels());
        if self.rows.len() > 1 {
            let _ = writeln!(text, "\nChange from {}{}:\n", self.rows[0].name, self.interval_told());
            text += &piped(&self.changes());
        }
        let _ = writeln!(text, "\n{}", self.remark());
        text
    }

    pub(super) fn remark(&self) -> String {
        let mut remark = String::from("Figures of the best evaluation of each run");
        if self.rows.iter().any(|row| row.cost.runs > 1) {
            remark += ", mean ±standard deviation over seeds";
        }
        remark += "; images/s of training, the median step; MB of the process at most, on the host.";
        if self.has_intervals() {
            remark += " Intervals tell of the choice of images, not of that of seeds.";
        }
        remark
    }

    fn has_intervals(&self) -> bool {
        self.rows.iter().flat_map(|row| &row.cells).any(|cell| cell.interval.is_some())
    }

    fn interval_told(&self) -> String {
        if !self.has_intervals() {
            return String::new();
        }
        format!(", and where it lies in 95 of 100 of {} resamplings of the images", self.resamples)
    }

    /// Headings, and a row for each group.
    fn levels(&self) -> Vec<Vec<String>> {
        let mut headings = vec![String::new()];
        headings.extend(self.metrics.iter().cloned());
        headings.extend(self.rows.first().map(|row| row.cost.headings()).into_iter().flatten());
        let row = |row: &Row| {
            let mut columns = vec![row.name.clone()];
            columns.extend(row.cells.iter().map(Cell::level));
            columns.extend(row.cost.columns());
            columns
        };
        std::iter::once(headings).chain(self.rows.iter().map(row)).collect()
    }

    /// Headings, and a row for each group but the first.
    fn changes(&self) -> Vec<Vec<String>> {
        let mut headings = vec![String::new()];
        headings.extend(self.metrics.iter().cloned());
        let row = |row: &Row| {
            let mut columns = vec![row.name.clone()];
            columns.extend(row.cells.iter().map(Cell::change));
            columns
        };
        std::iter::once(headings).chain(self.rows.iter().skip(1).map(row)).collect()
    }
}

/// Columns as wide as their widest entry, the first flush left.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (entry, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {entry:>width$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A table of Markdown.
fn piped(rows: &[Vec<String>]) -> String {
    let line = |row: &[String]| {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        text += &line(row);
        if index == 0 {
            let _ = writeln!(text, "|---|{}", "---:|".repeat(row.len() - 1));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let cost = |runs| Cost {
            runs,
            weighed: Weighed { parameters: 3_400_000, flops: 550_000_000, size: [224, 224] },
            images_per_s: Some(28.04),
            peak_mb: None,
        };
        let first = Cell::of(vec![0.25, 0.75], None, None);
        let second = Cell::of(vec![0.5625], Some(0.5), Some([-0.125, 0.25]));
        Table {
            metrics: vec!["box/ap".to_owned()],
            rows: vec![
                Row { name: "v1".to_owned(), cells: vec![first], cost: cost(2) },
                Row { name: "v2 | fcmae".to_owned(), cells: vec![second], cost: cost(1) },
            ],
            resamples: 100,
        }
    }

    #[test]
    fn text_has_columns() {
        let expected = "                    box/ap  runs  parameters  GFLOPs 224x224  images/s  MB
v1          0.5000 ±0.3536     2      3.40 M            0.55      28.0   -
v2 | fcmae          0.5625     1      3.40 M            0.55      28.0   -

change from v1, and where it lies in 95 of 100 of 100 resamplings of the images
                                  box/ap
v2 | fcmae  +0.0625 (-0.1250 to +0.2500)
";
        let text = table().text();
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn markdown_has_rows_of_as_many_cells() {
        let text = table().markdown();
        assert!(text.contains("| v2 \\| fcmae | 0.5625 | 1 |"), "{text}");
        assert!(text.contains("|---|---:|---:|---:|---:|---:|---:|\n"), "{text}");
    }

    #[test]
    fn one_run_has_no_spread() {
        assert_eq!(Cell::of(vec![0.5], None, None).spread, None);
        assert_eq!(Cell::of(vec![], Some(0.1), None).change(), "-");
    }
}
