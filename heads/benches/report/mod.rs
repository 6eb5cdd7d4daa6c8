//! How the benchmarks of the heads time and tell.

use std::time::Instant;

/// Whether a case is to run: any that is named in part, or all.
#[allow(dead_code, reason = "not every benchmark has cases")]
pub(crate) fn is_asked_for(case: &str) -> bool {
    let mut parts = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
    parts.peek().is_none() || parts.any(|part| case.contains(&part))
}

/// Runs something `runs` times and prints the fastest in milliseconds.
pub(crate) fn report(what: &str, runs: usize, mut run: impl FnMut()) {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    };
    println!("{what:55} {:9.2} ms", (0..runs).map(time).fold(f64::MAX, f64::min));
}

/// Whether it is to measure: `cargo test --benches` only asks whether it runs.
pub(crate) fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
