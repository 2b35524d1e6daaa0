//! How fast the classifier reads what a check printed.

use std::time::{Duration, Instant};

use anyhow::Result;
use journeyman_domain::failure::{Classification, Evidence, Phase};
use journeyman_learning::classify;

use crate::Figure;

const QUIET: &str =
    "2026-03-01T09:30:00Z INFO worker[17] step 42 of 99 done in 12ms: src/file.rs compiled\n";
const FAULT: &str = "error[E0308]: mismatched types\n --> src/lib.rs:3:5\n";
const LINES: usize = 600_000;

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, every) in [
        ("a long log, a fault in a thousand lines", 1_000),
        ("a long log, a fault in ten lines", 10),
        ("a long log, no fault", usize::MAX),
    ] {
        let is_fault = |line: usize| line % every == every - 1;
        let log: String =
            (0..LINES).map(|line| if is_fault(line) { FAULT } else { QUIET }).collect();
        let speed = f64::from(u32::try_from(log.len())?) / 1e6 / timed(&log).as_secs_f64();
        figures.push(Figure::new(name, format!("{speed:.0} MB/s"), ""));
    }
    let short = FAULT.repeat(40);
    let took = (0..200).map(|_| timed(&short)).sum::<Duration>() / 200;
    let what = format!("a text of {} bytes", short.len());
    figures.push(Figure::new(what, format!("{} us", took.as_micros()), ""));
    Ok(figures)
}

fn timed(log: &str) -> Duration {
    let evidence = Evidence {
        phase: Phase::Verify,
        source: Some("cargo check".to_owned()),
        exit_code: Some(1),
        signal: None,
        timed_out: false,
        http_status: None,
        sqlstate: None,
        model_failure: None,
        text: log.to_owned(),
    };
    let began = Instant::now();
    let found: Classification = classify(&evidence);
    let took = began.elapsed();
    std::hint::black_box(found);
    took
}
