//! Where a run took place: recorded when it starts, told in its report.

use std::path::Path;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::device_spec::DeviceSpec;
use crate::train::atomic_file;

/// Of the program, the machine, and the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    /// The program's version.
    pub(crate) version: String,
    /// What was computed on: `cpu`, `cuda:0`.
    pub(crate) device: String,
    /// The processor, as far as the system tells.
    pub(crate) processor: String,
    /// Threads that the process may use.
    pub(crate) threads: usize,
    /// System and architecture: `linux x86_64`.
    pub(crate) system: String,
    /// Seconds since 1970 when the run was started, or last resumed.
    pub(crate) started: u64,
}

impl Environment {
    /// This process's, with what it computes on.
    pub(crate) fn here(device: DeviceSpec) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.resolve().to_string(),
            processor: processor(),
            threads: available_parallelism().map_or(1, std::num::NonZero::get),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()),
        }
    }

    /// Records it in a run's folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn record(&self, run: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        atomic_file::replace(&run.join("environment.json"), |file| Ok(file.write_all(&text)?))
    }

    /// That of a run; none where it was not recorded.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub(crate) fn of_run(run: &Path) -> Result<Option<Self>> {
        let path = run.join("environment.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?))
    }

    /// Names and values, for a table.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let Self { version, device, processor, threads, system, started } = self;
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        vec![
            row("cvx", version.clone()),
            row("device", device.clone()),
            row("processor", processor.clone()),
            row("threads", threads.to_string()),
            row("system", system.clone()),
            row("started", date(*started)),
        ]
    }
}

/// The processor's name where the system tells it in a file, as Linux does.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "not told".to_owned(), |(_, name)| name.to_owned())
}

/// Seconds since 1970 as a date, UTC.
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-compatible low-level date algorithms": civil_from_days, of days from 1970 on.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_798_761_599), "2026-12-31 23:59 UTC");
    }
}
