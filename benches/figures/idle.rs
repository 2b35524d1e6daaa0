//! What a daemon without work costs: anonymous memory, and time on a core.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Figure;
use crate::machine::Home;

/// Until everything that a start sets off has ended.
const SETTLE: Duration = Duration::from_secs(10);

pub(crate) async fn figures(length: Duration) -> Result<Vec<Figure>> {
    let home = Home::new()?;
    let daemon = home.daemon().await?;
    tokio::time::sleep(SETTLE).await;
    let (before, began) = (cpu_time(daemon.pid())?, Instant::now());
    tokio::time::sleep(length).await;
    let used = cpu_time(daemon.pid())?.saturating_sub(before);
    let part = used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let memory = format!("{:.1} MiB", anonymous_memory_mib(daemon.pid())?);
    let what = format!("time on a core over {} s", length.as_secs());
    Ok(vec![
        Figure::new("memory of its own (RssAnon)", memory, "at most 40"),
        Figure::new(what, format!("{part:.3} %"), "at most 0.1"),
    ])
}

/// `utime` and `stime` of `man 5 proc_pid_stat`.
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in the daemon's stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("a short stat")?.parse()?) };
    let ticks = ticks()? + ticks()?;
    let each = Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(each * u32::try_from(ticks)?)
}

pub(crate) fn anonymous_memory_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let text = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no RssAnon")?;
    Ok(text.parse::<f64>()? / 1024.0)
}
