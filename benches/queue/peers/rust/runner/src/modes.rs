//! The modes: what is put in, what is timed, and what the line says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::handler;
use crate::report::phase;
use crate::{Arguments, Mode, Peer, Purpose};

/// Tasks in one call when the tasks of a drain are put in.
const FILL_BATCH: usize = 1000;
/// Callers that put them in where there is no batch call.
const FILL_CALLERS: usize = 32;

/// Installs the peer and runs the mode.
pub async fn run<P: Peer>(arguments: &Arguments) -> Result<Value> {
    handler::prepare();
    phase("install");
    let peer = Arc::new(P::install(&arguments.url, &arguments.mode).await?);
    let database = Database::connect(&arguments.url).await?;
    match arguments.mode {
        Mode::Drain { tasks } => {
            fill(&peer, tasks).await?;
            let seconds = drain(&*peer, &database, tasks).await?;
            Ok(json!({ "tasks": tasks, "seconds": seconds, "per_s": tasks as f64 / seconds }))
        }
        Mode::Enqueue { callers, duration } => enqueue(peer, callers, duration).await,
        Mode::EnqueueBatch { size, duration, callers } => {
            enqueue_batch(peer, size, duration, callers.unwrap_or(P::BATCH_CALLERS)).await
        }
        Mode::Latency { samples } => latency(&*peer, &database, samples).await,
        Mode::Steps { workflows, steps } => run_steps(&*peer, workflows, steps).await,
        Mode::Wal { tasks } => wal(&peer, &database, tasks).await,
    }
}

/// Puts the tasks of a drain in.
async fn fill<P: Peer>(peer: &Arc<P>, tasks: usize) -> Result<()> {
    phase("fill");
    let mut left = tasks;
    while left > 0 {
        let size = left.min(FILL_BATCH);
        if !peer.enqueue_batch(size).await? {
            break;
        }
        left -= size;
    }
    let next = Arc::new(AtomicUsize::new(tasks - left));
    let mut callers = JoinSet::new();
    for _ in 0..FILL_CALLERS.min(left) {
        let (peer, next) = (Arc::clone(peer), Arc::clone(&next));
        callers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= tasks {
                    return Ok::<_, anyhow::Error>(());
                }
                peer.enqueue(number).await?;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

/// Starts the worker and waits until all is done; seconds.
async fn drain<P: Peer>(peer: &P, database: &Database, tasks: usize) -> Result<f64> {
    phase("analyze");
    database.analyze().await?;
    phase("drain");
    let start = Instant::now();
    peer.start(Purpose::Throughput).await?;
    handler::reached(tasks).await;
    phase("completions");
    database.finished(P::UNFINISHED, tasks).await?;
    let seconds = start.elapsed().as_secs_f64();
    if let Some(query) = P::FINISHED {
        let finished = database.count(query).await?;
        ensure!(
            finished == tasks as i64,
            "{finished} of {tasks} tasks are completed in the database"
        );
    }
    ensure!(handler::ran() == tasks, "{} handlers ran for {tasks} tasks", handler::ran());
    Ok(seconds)
}

/// Callers that each put in one task after the other.
async fn enqueue<P: Peer>(peer: Arc<P>, callers: usize, duration: Duration) -> Result<Value> {
    // The first call of each caller opens its connection and prepares its statement.
    phase("warm-up");
    let mut warm = JoinSet::new();
    for number in 0..callers {
        let peer = Arc::clone(&peer);
        warm.spawn(async move { peer.enqueue(number).await });
    }
    while let Some(ended) = warm.join_next().await {
        ended??;
    }
    phase("enqueue");
    let start = Instant::now();
    let mut loops = JoinSet::new();
    for _ in 0..callers {
        let peer = Arc::clone(&peer);
        loops.spawn(async move {
            let mut count = 0;
            while start.elapsed() < duration {
                peer.enqueue(count).await?;
                count += 1;
            }
            Ok::<_, anyhow::Error>(count)
        });
    }
    let mut count = 0;
    while let Some(ended) = loops.join_next().await {
        count += ended??;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(
        json!({ "callers": callers, "tasks": count, "seconds": seconds, "per_s": count as f64 / seconds }),
    )
}

/// Callers that each put in one batch after the other.
async fn enqueue_batch<P: Peer>(
    peer: Arc<P>,
    size: usize,
    duration: Duration,
    callers: usize,
) -> Result<Value> {
    phase("warm-up");
    if !peer.enqueue_batch(1).await? {
        return Ok(json!({ "unsupported": true }));
    }
    phase("enqueue-batch");
    let start = Instant::now();
    let mut loops = JoinSet::new();
    for _ in 0..callers {
        let peer = Arc::clone(&peer);
        loops.spawn(async move {
            let mut count = 0;
            while start.elapsed() < duration {
                peer.enqueue_batch(size).await?;
                count += size;
            }
            Ok::<_, anyhow::Error>(count)
        });
    }
    let mut count = 0;
    while let Some(ended) = loops.join_next().await {
        count += ended??;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(json!({
        "size": size, "callers": callers, "tasks": count, "seconds": seconds, "per_s": count as f64 / seconds
    }))
}

/// One task at a time on an idle worker.
async fn latency<P: Peer>(peer: &P, database: &Database, samples: usize) -> Result<Value> {
    /// Samples before those that count: connections, prepared statements, caches.
    const WARM_UP: usize = 10;
    phase("start");
    peer.start(Purpose::Latency).await?;
    let (mut from_call, mut from_acknowledgement) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + samples {
        if number == WARM_UP {
            phase("latency");
        }
        tokio::time::sleep(Duration::from_micros(20_000 + jitter(number) % 20_000)).await;
        let before = handler::ran();
        let call = Instant::now();
        peer.enqueue(number).await?;
        let acknowledgement = Instant::now();
        handler::reached(before + 1).await;
        if number >= WARM_UP {
            let started = handler::last();
            from_call.push(milliseconds(call, started));
            from_acknowledgement.push(milliseconds(acknowledgement, started));
        }
    }
    database.finished(P::UNFINISHED, WARM_UP + samples).await?;
    Ok(json!({
        "samples": samples,
        "p50_ms": percentile(&mut from_call, 0.50), "p99_ms": percentile(&mut from_call, 0.99),
        "acknowledged_p50_ms": percentile(&mut from_acknowledgement, 0.50),
        "acknowledged_p99_ms": percentile(&mut from_acknowledgement, 0.99),
    }))
}

/// Workflows of durable steps, all at the same time.
async fn run_steps<P: Peer>(peer: &P, workflows: usize, steps: usize) -> Result<Value> {
    phase("warm-up");
    // As many at a time as are measured, so that their connections are open.
    if !peer.run_workflows(workflows, 2).await? {
        return Ok(json!({ "unsupported": true }));
    }
    phase("steps");
    let start = Instant::now();
    peer.run_workflows(workflows, steps).await?;
    let seconds = start.elapsed().as_secs_f64();
    let per_s = (workflows * steps) as f64 / seconds;
    Ok(json!({ "workflows": workflows, "steps": steps, "seconds": seconds, "per_s": per_s }))
}

/// Bytes of log for the whole life of a task.
async fn wal<P: Peer>(peer: &Arc<P>, database: &Database, tasks: usize) -> Result<Value> {
    database.checkpoint().await?;
    let before = database.wal_bytes().await?;
    fill(peer, tasks).await?;
    let enqueued = database.wal_bytes().await? - before;
    // The statistics that `drain` takes first are no part of a task's life.
    database.analyze().await?;
    let before = database.wal_bytes().await?;
    drain(&**peer, database, tasks).await?;
    let worked = database.wal_bytes().await? - before;
    let per_task = |bytes: i64| bytes as f64 / tasks as f64;
    Ok(json!({
        "tasks": tasks, "bytes_per_task": per_task(enqueued + worked),
        "enqueue_bytes_per_task": per_task(enqueued), "work_bytes_per_task": per_task(worked),
    }))
}

/// A fixed scatter, so that the samples fall into no timer's beat.
fn jitter(number: usize) -> u64 {
    (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// From one moment to the other, negative when it came first.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    if to >= from { (to - from).as_secs_f64() * 1e3 } else { -(from - to).as_secs_f64() * 1e3 }
}

/// The nearest rank.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}
