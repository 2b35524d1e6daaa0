//! `task_chains`: the longest chain of tasks that wait for a task. Among equals the longest goes first, since
//! whatever is late on the critical path makes the whole graph late.

use std::collections::HashMap;

use journeyman_domain::ids::TaskId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::NewTask;
use crate::StoreError;
use crate::queue::ready;

// What was there before learns of a longer chain, up to so many tasks away: beyond that the order among equals
// is as it was. A task that is being worked on, or has ended, has no use for it.
const LENGTHEN: &str = "WITH RECURSIVE up (id, length, away) AS ( \
         SELECT n.id, n.length, 0 FROM unnest($1::uuid[], $2::integer[]) AS n (id, length) \
         UNION \
         SELECT d.depends_on, u.length + 1, u.away + 1 FROM up u JOIN task_dependencies d ON d.task_id = u.id \
         JOIN tasks t ON t.id = d.depends_on AND t.status IN ('pending', 'ready', 'waiting') \
         LEFT JOIN task_chains c ON c.task_id = t.id \
         WHERE u.away < 64 AND t.id <> ALL ($1) AND u.length + 1 > coalesce(c.length, 0)), \
     longest AS (SELECT id, max(length) AS length FROM up GROUP BY id) \
     INSERT INTO task_chains AS c (task_id, length) SELECT id, length FROM longest \
     ON CONFLICT (task_id) DO UPDATE SET length = excluded.length WHERE excluded.length > c.length \
     RETURNING c.task_id";
// What stands in the queue: one that is claimed already keeps its lease. Each costs a look at the whole queue, so
// of many only the first ones change their places.
const QUEUED: &str = "SELECT t.id FROM tasks t WHERE t.id = ANY ($1) AND t.status = 'ready' \
     AND EXISTS (SELECT FROM ready_tasks q WHERE q.ids @> ARRAY[t.id]) ORDER BY t.id LIMIT 16";

pub(crate) const ALL: &[&str] = &[LENGTHEN, QUEUED];

/// The longest chain of others that wait for each of these and for what they wait for. `order`: what is waited
/// for comes first.
pub(super) fn lengths(order: &[&(NewTask, Vec<TaskId>)]) -> HashMap<TaskId, i32> {
    let mut lengths: HashMap<TaskId, i32> = HashMap::new();
    for (task, after) in order.iter().rev() {
        let length = lengths.get(&task.id).copied().unwrap_or(0) + 1;
        for awaited in after {
            let longest = lengths.entry(*awaited).or_default();
            *longest = length.max(*longest);
        }
    }
    lengths
}

/// Writes chains down, and gives what is ready already the place that follows from its own.
pub(super) async fn lengthen(
    connection: &mut PgConnection,
    lengths: &HashMap<TaskId, i32>,
) -> Result<(), StoreError> {
    let (ids, lengths): (Vec<Uuid>, Vec<i32>) =
        lengths.iter().map(|(id, length)| (id.as_uuid(), *length)).unzip();
    let longer: Vec<Uuid> =
        sqlx::query_scalar(LENGTHEN).bind(ids).bind(lengths).fetch_all(&mut *connection).await?;
    let queued: Vec<Uuid> =
        sqlx::query_scalar(QUEUED).bind(&longer).fetch_all(&mut *connection).await?;
    for task in &queued {
        ready::leave(&mut *connection, *task).await?;
    }
    ready::enqueue(connection, &queued).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_as_long_as_the_longest_way_to_its_end() {
        let tasks: Vec<NewTask> = (0..4).map(|n| NewTask::new(n.to_string())).collect();
        let before = NewTask::new("it was there before");
        let after = |waits: usize, awaited: &[&NewTask]| {
            (tasks[waits].clone(), awaited.iter().map(|task| task.id).collect())
        };
        // 0 waits for what was there; 1 for 0; 2 for 1 and 0; 3 for nothing.
        let batch = [
            after(0, &[&before]),
            after(1, &[&tasks[0]]),
            after(2, &[&tasks[1], &tasks[0]]),
            after(3, &[]),
        ];
        let found = lengths(&batch.iter().collect::<Vec<_>>());
        let expected = HashMap::from([(before.id, 3), (tasks[0].id, 2), (tasks[1].id, 1)]);
        assert_eq!(found, expected);
    }
}
