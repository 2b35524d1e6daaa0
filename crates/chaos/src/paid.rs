//! Answers of a model that were paid once more than they had to be.
//!
//! A play with a model has one task that is answered, so that a turn's number says which answer it is, also where a
//! model is asked from the beginning again.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use sqlx::PgConnection;

use crate::stage::Stage;

/// Answers that were asked for although they were in a journal already, and turns that were answered more often than so
/// many disturbances explain: each may cost the answer that is on its way.
pub(crate) async fn repeated(
    stage: &Stage<'_>,
    database: &mut PgConnection,
    disturbances: u32,
) -> Result<Vec<String>> {
    let Some(model) = &stage.model else { return Ok(Vec::new()) };
    let journaled: Vec<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM s.created_at) * 1000000)::bigint FROM run_steps s \
         JOIN agent_tasks r ON r.id = s.run_id JOIN tasks t ON t.id = r.task_id \
         WHERE t.title LIKE $1 AND s.kind = 'model_response' ORDER BY s.created_at, s.seq",
    )
    .bind(format!("{}%", stage.prefix))
    .fetch_all(database)
    .await?;
    let mut asked: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    for (turn, at) in model.paid() {
        asked.entry(turn).or_default().push(micros(at));
    }
    Ok(again(&journaled, &asked, usize::try_from(disturbances)?))
}

/// Microseconds since 1970, as the database counts them.
fn micros(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// `journaled` has the moment at which each turn's answer was written down, `asked` those at which what was answered was
/// asked for.
fn again(journaled: &[i64], asked: &BTreeMap<usize, Vec<i64>>, disturbances: usize) -> Vec<String> {
    let mut found = Vec::new();
    for (turn, asked) in asked {
        if let Some(journaled) = journaled.get(*turn) {
            let late = asked.iter().filter(|at| *at > journaled);
            found.extend(late.map(|at| {
                let later_us = at - journaled;
                format!("turn {turn} was asked for {later_us} us after its answer was journaled")
            }));
        }
        if asked.len() > disturbances + 1 {
            found.push(format!(
                "turn {turn} was answered {} times, {disturbances} disturbances",
                asked.len()
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(journaled: &[i64], asked: &[&[i64]], disturbances: usize, expected: &[&str]) {
        let asked = (0..).zip(asked.iter().map(|times| times.to_vec())).collect();
        assert_eq!(again(journaled, &asked, disturbances), expected);
    }

    #[test]
    fn an_answer_that_is_in_the_journal_is_not_asked_for_again() {
        check(&[10, 20], &[&[1], &[11]], 0, &[]);
        // The first try's answer was lost with its life.
        check(&[10, 20], &[&[1, 5], &[11]], 1, &[]);
        let late = ["turn 0 was asked for 2 us after its answer was journaled"];
        check(&[10, 20], &[&[1, 12], &[11]], 1, &late);
    }

    #[test]
    fn an_answer_is_lost_by_a_disturbance_alone() {
        let often = ["turn 1 was answered 3 times, 1 disturbances"];
        check(&[10], &[&[1], &[11, 12, 13]], 1, &often);
    }
}
