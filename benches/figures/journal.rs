//! Journaling one step, by the store's own code under a lease that was really claimed, beside two
//! bare commits on the same database: an `INSERT` of a small row each. Both go over one pool each
//! with prepared statements, in turns, so that both sides see the same machine.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use journeyman_store::{Acting, Claim, ClaimRequest, NewStep, NewTask, PoolOptions, Store};
use serde_json::json;
use sqlx::PgPool;

use crate::machine::Home;
use crate::{Figure, milliseconds, quantile};

const ROUNDS: usize = 1000;
const ACTING: Acting<'_> = Acting { actor: "bench", trace: None };

pub(crate) async fn figures() -> Result<Vec<Figure>> {
    let home = Home::new()?;
    let cluster = home.cluster()?;
    let store = Store::connect(&cluster.url, PoolOptions::default()).await?;
    store.migrate().await?;
    let claim = claim(&store).await?;
    let pool = PgPool::connect(&cluster.url).await?;
    sqlx::query("CREATE TABLE bare (id bigserial PRIMARY KEY, word text NOT NULL)")
        .execute(&pool)
        .await?;
    let (mut bare, mut plain, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..2 {
            sqlx::query("INSERT INTO bare (word) VALUES ($1)").bind("word").execute(&pool).await?;
        }
        bare.push(began.elapsed());
        plain.push(step(&store, &claim, round, None).await?);
        // Different bytes each time: equal ones are stored once.
        let pack = format!("{round:2048}").into_bytes();
        whole.push(step(&store, &claim, round, Some(&pack)).await?);
    }
    store.close().await;
    pool.close().await;
    let [bare, plain, whole] = [bare, plain, whole].map(|mut times| quantile(&mut times, 0.5));
    let times = |step: Duration| format!("{:.2} x", step.as_secs_f64() / bare.as_secs_f64());
    Ok(vec![
        Figure::new(format!("two bare commits, median of {ROUNDS}"), milliseconds(bare), ""),
        Figure::new("a step, median", milliseconds(plain), ""),
        Figure::new("a step that changed files (a pack of 2 KiB), median", milliseconds(whole), ""),
        Figure::new("a step : two bare commits", times(plain), "at most 3"),
        Figure::new("a step that changed files : two bare commits", times(whole), "at most 3"),
    ])
}

/// Intent and result of one call, durable.
pub(crate) async fn step(
    store: &Store,
    claim: &Claim,
    round: usize,
    pack: Option<&[u8]>,
) -> Result<Duration> {
    let fence = claim.fence().context("the claim has no lease")?;
    let call_id = format!("call-{round}");
    let call = json!({ "call_id": call_id, "title": "edit", "tool": { "name": "exec", "argv": ["sh", "-c", "make check"] } });
    let intent = NewStep {
        kind: "tool_intent",
        payload: json!({ "kind": "tool_intent", "call": call, "effect": "workspace" }),
        ..NewStep::default()
    };
    let ended = json!({ "kind": "exited", "code": 0 });
    let result = NewStep {
        kind: "tool_result",
        payload: json!({ "kind": "tool_result", "call_id": call_id, "ended": ended, "head": "a line of output\n".repeat(40), "changed": pack.is_some() }),
        snapshot_tree: pack.map(|_| "4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
        pack,
        ..NewStep::default()
    };
    let began = Instant::now();
    store.journal().append(fence, claim.run.id, &intent).await?;
    store.journal().append(fence, claim.run.id, &result).await?;
    Ok(began.elapsed())
}

pub(crate) async fn claim(store: &Store) -> Result<Claim> {
    let id = crate::queue::register(store).await?;
    store.tasks().insert(&ACTING, &NewTask::new("measure"), &[]).await?;
    let request = ClaimRequest {
        node_id: id,
        limit: 1,
        max_concurrent: 1,
        only_task: None,
        agents: None,
        lease: Duration::from_hours(1),
    };
    store.queue().claim(&ACTING, &request).await?.pop().context("nothing was claimed")
}
