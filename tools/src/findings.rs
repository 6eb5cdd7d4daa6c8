//! What is wrong with a data set, as `check` tells it.

use std::io::Write;

use anyhow::Result;
use cvx_data::Problem;

/// What is wrong with a data set.
#[derive(Default)]
pub(crate) struct Findings {
    /// Training would stop.
    pub(crate) errors: Vec<String>,
    /// Training would go on, and be worse for it.
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    /// Those of a data set.
    pub(crate) fn of(problems: &[Problem]) -> Self {
        let mut findings = Self::default();
        findings.extend(problems);
        findings
    }

    /// Notes problems of a data set.
    pub(crate) fn extend(&mut self, problems: &[Problem]) {
        for problem in problems {
            let list = if problem.is_fatal { &mut self.errors } else { &mut self.warnings };
            list.push(problem.to_string());
        }
    }

    /// Writes at most `limit` of each kind.
    pub(crate) fn write(&self, out: &mut dyn Write, limit: usize) -> Result<()> {
        for (kind, list) in [("error", &self.errors), ("warning", &self.warnings)] {
            for text in list.iter().take(limit) {
                writeln!(out, "  {kind}: {text}")?;
            }
            if list.len() > limit {
                writeln!(
                    out,
                    "  {kind}: and {} more, shown with --limit {}",
                    list.len() - limit,
                    list.len()
                )?;
            }
        }
        Ok(())
    }
}
