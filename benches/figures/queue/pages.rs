//! Pages of lists, each through the API.

use std::time::Instant;

use anyhow::{Result, anyhow};
use journeyman_runtime::client::Client;
use journeyman_web::types::Tasks;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Figure, milliseconds, quantile};

const LOOKS: usize = 10;
const BAR: &str = "at most 100";
const STATES: [&str; 10] = [
    "pending",
    "ready",
    "running",
    "waiting",
    "paused",
    "parked",
    "completed",
    "failed",
    "cancelled",
    "timeout",
];

pub(super) async fn figures(client: &Client, pool: &PgPool) -> Result<Vec<Figure>> {
    let middle: Uuid = sqlx::query_scalar(
        "SELECT id FROM tasks ORDER BY id OFFSET (SELECT count(*) / 2 FROM tasks) LIMIT 1",
    )
    .fetch_one(pool)
    .await?;
    let mut queries = vec![
        ("no filter".to_owned(), String::new()),
        ("no filter, from the middle".to_owned(), format!("cursor={middle}")),
        ("a page of 1000".to_owned(), "limit=1000".to_owned()),
        ("codebase".to_owned(), "codebase=north".to_owned()),
        ("codebase, from the middle".to_owned(), format!("codebase=north&cursor={middle}")),
        ("a codebase with few".to_owned(), "codebase=rare".to_owned()),
    ];
    for state in STATES {
        queries.push((state.to_owned(), format!("status={state}")));
        let from_the_middle = format!("status={state}&cursor={middle}");
        queries.push((format!("{state}, from the middle"), from_the_middle));
        queries.push((format!("{state}, codebase"), format!("status={state}&codebase=north")));
        let few = format!("status={state}&codebase=rare");
        queries.push((format!("{state}, a codebase with few"), few));
    }
    let mut figures = Vec::new();
    for (what, query) in queries {
        let path = format!("/api/v1/tasks?{query}");
        let (mut times, mut rows) = (Vec::new(), 0);
        for _ in 0..LOOKS {
            let began = Instant::now();
            let page: Result<Tasks, _> = client.get(&path).await;
            times.push(began.elapsed());
            rows = page.map_err(|_| anyhow!("{path} was refused"))?.tasks.len();
        }
        let what = format!("{what}: {rows} rows, p50 of {LOOKS}");
        figures.push(Figure::new(what, milliseconds(quantile(&mut times, 0.5)), BAR));
    }
    Ok(figures)
}
