//! What holds of the queue's rows at any moment, whoever was killed in the middle of what.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

// A task that is ready and has no place is claimed by nobody, for good.
const WITHOUT_A_PLACE: &str = "SELECT t.id FROM tasks t WHERE t.status = 'ready' \
     AND NOT EXISTS (SELECT FROM ready_tasks q WHERE q.ids @> ARRAY[t.id]) \
     AND NOT EXISTS (SELECT FROM task_leases l WHERE l.ids @> ARRAY[t.id])";
// Somebody works on it, or it was given back and is there to be taken over.
const RUNNING_FOR_NOBODY: &str = "SELECT t.id FROM tasks t WHERE t.status = 'running' \
     AND (SELECT count(*) FROM task_executions e WHERE e.task_id = t.id AND e.status = 'running') <> 1";
const WORKED_ON_WITHOUT_RUNNING: &str = "SELECT t.id FROM tasks t JOIN task_executions e \
     ON e.task_id = t.id AND e.status = 'running' WHERE t.status <> 'running'";
const UNMARKED: &str = "SELECT t.id FROM tasks t LEFT JOIN task_marks m ON m.task_id = t.id \
     WHERE CASE WHEN t.status IN ('ready', 'completed') THEN m.task_id IS NOT NULL \
         ELSE (m.status, m.waiting_for, m.codebase_id) IS DISTINCT FROM (t.status, t.waiting_for, t.codebase_id) END";
// A list of completed tasks would not have it.
const UNLISTED: &str = "SELECT t.id FROM tasks t WHERE t.status = 'completed' \
     AND NOT EXISTS (SELECT FROM completed_spans s WHERE s.span = span_of(t.id))";
// Nobody's end would bring it back.
const LOCKED_BY_NOBODY: &str = "SELECT t.id FROM tasks t JOIN task_files f ON f.task_id = t.id \
     WHERE t.waiting_for = 'lock' AND NOT EXISTS ( \
         SELECT FROM task_files h WHERE h.task_id = f.waits_for AND h.holds)";
const HOLDING_AFTER_THE_END: &str = "SELECT t.id FROM tasks t JOIN task_files f ON f.task_id = t.id \
     WHERE f.holds AND t.status IN ('completed', 'failed', 'cancelled', 'timeout')";
const KEYED_WRONGLY: &str = "SELECT t.id FROM tasks t LEFT JOIN task_keys k ON k.task_id = t.id \
     WHERE (k.task_id IS NOT NULL) IS DISTINCT FROM (t.unique_key IS NOT NULL \
         AND t.status NOT IN ('completed', 'failed', 'cancelled', 'timeout'))";
// No transaction leaves one behind: it is judged in the one that made it so.
const PENDING: &str = "SELECT id FROM tasks WHERE status = 'pending'";

/// Every ready task has its place or a lease, every running one its one execution, every rarer state its
/// mark, files and unique keys their tasks.
#[track_caller]
pub(crate) fn assert_holds(connection: &mut PgConnection) -> impl Future<Output = ()> + use<'_> {
    let caller = std::panic::Location::caller();
    async move {
        for (what, statement) in [
            ("a ready task has no place", WITHOUT_A_PLACE),
            ("a running task has not one execution", RUNNING_FOR_NOBODY),
            ("an execution runs without its task", WORKED_ON_WITHOUT_RUNNING),
            ("a task has another mark than its state", UNMARKED),
            ("a task was not judged", PENDING),
            ("a completed task is in no list", UNLISTED),
            ("a task waits for files that nobody holds", LOCKED_BY_NOBODY),
            ("a task that has ended holds files", HOLDING_AFTER_THE_END),
            ("a unique key is not its unfinished task's", KEYED_WRONGLY),
        ] {
            let found: Vec<Uuid> =
                sqlx::query_scalar(statement).fetch_all(&mut *connection).await.unwrap();
            assert_eq!(found, [] as [Uuid; 0], "{what}, at {caller}");
        }
    }
}

/// The same at the end of all work: nothing is claimed, and nothing waits to be.
pub(crate) async fn assert_drained(connection: &mut PgConnection) {
    assert_holds(connection).await;
    let left: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM ready_tasks), (SELECT count(*) FROM task_leases), \
             (SELECT count(*) FROM task_executions WHERE status = 'running' OR lease_expires_at IS NOT NULL), \
             (SELECT count(*) FROM child_processes WHERE ended_at IS NULL)",
    )
    .fetch_one(connection)
    .await
    .unwrap();
    assert_eq!(left, (0, 0, 0, 0), "rows of the queue, leases of batches, leases, children");
}
