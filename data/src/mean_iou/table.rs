//! The tables that mmseg prints: figures of each class, then their means, in percent.

use std::fmt::Write;

use super::{ClassIou, SegmentationMetrics};

impl SegmentationMetrics {
    /// mmseg's table of every class, with Dice, and the means below: percent with two decimals, `nan` where
    /// there is no figure.
    ///
    /// # Panics
    /// When there is not a name for every class.
    pub fn table(&self, class_names: &[String]) -> String {
        self.class_table(class_names) + &self.means_table()
    }

    /// Its upper half.
    fn class_table(&self, class_names: &[String]) -> String {
        assert_eq!(class_names.len(), self.classes.len(), "a name for every class");
        let class_row = |(name, class): (&String, &ClassIou)| {
            vec![name.clone(), percent(class.iou), percent(class.accuracy), percent(class.dice)]
        };
        let classes: Vec<_> = class_names.iter().zip(&self.classes).map(class_row).collect();
        framed(&["Class", "IoU", "Acc", "Dice"], &classes)
    }

    /// Its lower half.
    pub fn means_table(&self) -> String {
        let means = [
            ("aAcc", self.pixel_accuracy),
            ("mIoU", self.mean_iou),
            ("mAcc", self.mean_accuracy),
            ("mDice", self.mean_dice),
            ("fwIoU", self.frequency_weighted_iou),
        ];
        framed(&means.map(|(name, _)| name), &[means.map(|(_, value)| percent(value)).into()])
    }
}

/// Percent, two decimals, rounded to even as numpy does.
fn percent(share: Option<f64>) -> String {
    share.map_or("nan".into(), |share| format!("{:.2}", (share * 1e4).round_ties_even() / 1e2))
}

/// Rows of cells in a frame, centred as prettytable does.
fn framed(heads: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([head.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, &width) in cells.zip(&widths) {
            let room = width - cell.chars().count();
            // An odd space goes to the right, to the left of a cell of even length.
            let left = if room % 2 == 1 && cell.chars().count() % 2 == 0 { room / 2 + 1 } else { room / 2 };
            let _ = write!(line, "| {}{cell}{} ", " ".repeat(left), " ".repeat(room - left));
        }
        line + "|\n"
    };
    let mut text = format!("{rule}+\n{}{rule}+\n", line(&mut heads.iter().copied()));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text + &rule + "+\n"
}
