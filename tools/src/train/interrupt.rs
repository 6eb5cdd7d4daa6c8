//! When a run is to stop before its end: at a signal, or when its time is over.

use std::fmt;
#[cfg(unix)]
use std::io::{self, IsTerminal as _, Read as _, Write as _};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// What a first signal is answered by.
#[cfg(unix)]
const STOPPING: &str = "stopping as soon as this step or evaluation is done; a second signal ends at once";

/// Time between two looks for a signal, while there is nothing else to do.
const LOOKING: Duration = Duration::from_millis(100);

/// Why a run stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Ctrl-C.
    Interrupted,
    /// Somebody or a scheduler asked this process to end.
    Terminated,
    /// The time it was given.
    Time(Duration),
}

/// Whether a signal came, after which another ends the process.
static CAME: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// What a run is watched for.
#[derive(Clone, Debug)]
pub struct Interrupt {
    began: Instant,
    most: Option<Duration>,
    /// The signal that came, or 0.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Watches the time from now on, and signals once [`Interrupt::listen`] was called.
    pub fn after(most: Option<Duration>) -> Self {
        Self { began: Instant::now(), most, signal: Arc::new(AtomicUsize::new(0)) }
    }

    /// From now on a first SIGINT or SIGTERM is a reason to stop, and a second one ends the process at once.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn listen(&mut self) -> Result<()> {
        // Handlers stay for as long as the process does, and so all runs of a process share them.
        static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
        if let Some(signal) = SIGNAL.get() {
            self.signal = Arc::clone(signal);
            return Ok(());
        }
        let came = CAME.get_or_init(Arc::default);
        for number in [SIGINT, SIGTERM] {
            let register = || {
                // In this order: the default is taken when one has come before.
                signal_hook::flag::register_conditional_default(number, Arc::clone(came))?;
                signal_hook::flag::register(number, Arc::clone(came))?;
                signal_hook::flag::register_usize(number, Arc::clone(&self.signal), number as usize)
            };
            register().with_context(|| format!("signal {number} cannot be listened to"))?;
        }
        self.tell_at_once()?;
        // Another thread may have been first; its run then has handlers of its own.
        let _ = SIGNAL.set(Arc::clone(&self.signal));
        Ok(())
    }

    /// Says at once that a signal was understood: a step may take a minute. The handler writes a byte to a pipe, as it
    /// may, and a thread that waits for it does the rest.
    #[cfg(unix)]
    fn tell_at_once(&self) -> Result<()> {
        let pipe = || -> io::Result<()> {
            let (mut waits, told) = UnixStream::pair()?;
            for number in [SIGINT, SIGTERM] {
                signal_hook::low_level::pipe::register(number, told.try_clone()?)?;
            }
            std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
                let mut stderr = io::stderr();
                // Below a progress bar and the terminal's own `^C`.
                let below = if stderr.is_terminal() { "\n" } else { "" };
                if waits.read_exact(&mut [0]).is_ok() {
                    let _ = writeln!(stderr, "{below}{STOPPING}");
                }
            })?;
            Ok(())
        };
        pipe().context("signals cannot be listened to")
    }

    #[cfg(not(unix))]
    fn tell_at_once(&self) -> Result<()> {
        Ok(())
    }

    /// From now on the first signal ends the process at once: there is nothing left to save.
    pub fn end_at_once() {
        CAME.get_or_init(Arc::default).store(true, Ordering::Relaxed);
    }

    /// Why to stop now, if there is a reason.
    pub fn reason(&self) -> Option<Reason> {
        self.signalled().or_else(|| self.most.filter(|most| self.began.elapsed() >= *most).map(Reason::Time))
    }

    /// Waits for so long, or until a signal comes or has come: then it is true.
    pub fn signalled_within(&self, wait: Duration) -> bool {
        let began = Instant::now();
        while self.signalled().is_none() {
            let left = wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(left.min(LOOKING));
        }
        true
    }

    fn signalled(&self) -> Option<Reason> {
        match self.signal.load(Ordering::Relaxed) as i32 {
            SIGINT => Some(Reason::Interrupted),
            SIGTERM => Some(Reason::Terminated),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::Terminated => f.write_str("asked to end"),
            Self::Time(most) => write!(f, "the time of {} s is over", most.as_secs()),
        }
    }
}

/// A span of time as typed: `90s`, `30m`, `2h`, `1d`, and sums of these, `1h30m`.
///
/// # Errors
/// If it is none, or no time at all.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a span of time with its unit, as in `90s`, `30m`, `2h` or `1d12h`".to_owned();
    let (mut seconds, mut digits) = (0_u64, String::new());
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            _ => return Err(expected()),
        };
        let count: u64 = digits.parse().map_err(|_| expected())?;
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(expected)?;
        digits.clear();
    }
    if seconds == 0 || !digits.is_empty() {
        return Err(expected());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_is_a_sum_of_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1d2h30m"), Ok(Duration::from_secs(95400)));
        for wrong in ["", "30", "m", "1.5h", "0s", "-1s", "99999999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn time_that_is_over_is_a_reason() {
        assert_eq!(Interrupt::after(None).reason(), None);
        assert_eq!(Interrupt::after(Some(Duration::from_secs(3600))).reason(), None);
        assert_eq!(Interrupt::after(Some(Duration::ZERO)).reason(), Some(Reason::Time(Duration::ZERO)));
    }
}
