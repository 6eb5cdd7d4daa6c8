//! What is wrong with a data set, as `check` tells it.

use std::io::Write;

use anyhow::Result;
use cvx_data::Problem;

use crate::verbosity::{Verbosity, verbosity};

/// What is wrong with a data set.
#[derive(Default)]
pub(crate) struct Findings {
    /// Training would stop.
    errors: Vec<Finding>,
    /// Training would go on, and be worse for it.
    warnings: Vec<Finding>,
}

/// One thing that is wrong.
struct Finding {
    /// What findings of this kind are called together; none of those that stand alone.
    kind: Option<&'static str>,
    text: String,
}

impl Findings {
    /// Notes what stops a training.
    pub(crate) fn error(&mut self, text: String) {
        self.errors.push(Finding { kind: None, text });
    }

    /// Notes what hurts it.
    pub(crate) fn warn(&mut self, text: String) {
        self.warnings.push(Finding { kind: None, text });
    }

    /// Notes one of many that stop a training.
    pub(crate) fn error_of(&mut self, kind: &'static str, text: String) {
        self.errors.push(Finding { kind: Some(kind), text });
    }

    /// Notes one of many that hurt it.
    pub(crate) fn warning_of(&mut self, kind: &'static str, text: String) {
        self.warnings.push(Finding { kind: Some(kind), text });
    }

    /// Notes problems of a data set.
    pub(crate) fn extend(&mut self, problems: &[Problem]) {
        for problem in problems {
            let list = if problem.is_fatal { &mut self.errors } else { &mut self.warnings };
            list.push(Finding { kind: Some(problem.kind), text: problem.to_string() });
        }
    }

    /// How many of them stop a training.
    pub(crate) fn num_errors(&self) -> usize {
        self.errors.len()
    }

    /// Writes at most `limit` examples of each kind, and how many there are.
    pub(crate) fn write(&self, out: &mut dyn Write, limit: usize) -> Result<()> {
        let limit = if verbosity() == Verbosity::Verbose { usize::MAX } else { limit };
        for (severity, list) in [("error", &self.errors), ("warning", &self.warnings)] {
            for (kind, texts) in by_kind(list) {
                let Some(kind) = kind else {
                    texts.iter().try_for_each(|text| writeln!(out, "  {severity}: {text}"))?;
                    continue;
                };
                writeln!(out, "  {severity}: {kind}: {}", texts.len())?;
                for text in texts.iter().take(limit) {
                    writeln!(out, "    {text}")?;
                }
                if texts.len() > limit {
                    writeln!(
                        out,
                        "    and {} more, shown with --limit {}",
                        texts.len() - limit,
                        texts.len()
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// Findings of a kind together, kinds in the order in which they were found first.
fn by_kind(list: &[Finding]) -> Vec<(Option<&'static str>, Vec<&str>)> {
    let mut kinds: Vec<(Option<&'static str>, Vec<&str>)> = Vec::new();
    for Finding { kind, text } in list {
        match kinds.iter_mut().find(|(known, _)| known == kind) {
            Some((_, texts)) => texts.push(text),
            None => kinds.push((*kind, vec![text])),
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_of_a_kind_are_counted_and_the_first_are_shown() {
        let mut findings = Findings::default();
        findings.warning_of("small boxes", "box 1".to_owned());
        findings.warn("all alone".to_owned());
        findings.warning_of("small boxes", "box 2".to_owned());
        findings.warning_of("small boxes", "box 3".to_owned());
        let mut out = Vec::new();
        findings.write(&mut out, 2).expect("in memory");
        let expected = "  warning: small boxes: 3\n    box 1\n    box 2\n    and 1 more, shown with --limit 3\n  \
                        warning: all alone\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
