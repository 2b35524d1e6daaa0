//! A database of an older binary: what was in it goes on in the queue of this one.

use std::borrow::Cow;

use journeyman_domain::status::{Status, WaitingFor};
use journeyman_store::NodeKind;
use journeyman_testkit::database::{self, TestDatabase};
use sqlx::Executor as _;
use sqlx::migrate::Migrator;
use uuid::Uuid;

use super::{claim, node, status};

#[tokio::test]
async fn tasks_from_before_the_queue_have_their_place_after_it() {
    database::init(env!("CARGO_BIN_EXE_journeyman"));
    let database = TestDatabase::empty().await.unwrap();
    let mut connection = database.connection().await.unwrap();
    let mut old =
        Migrator::new(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")))
            .await
            .unwrap();
    let before = old.migrations.iter().filter(|migration| migration.version < 15).cloned();
    old.migrations = Cow::Owned(before.collect());
    old.run(&mut connection).await.unwrap();
    let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    for (id, (state, waits, key)) in ids.iter().zip([
        ("ready", None, Some("k")),
        ("waiting", Some("dependency"), None),
        ("paused", None, None),
        ("completed", None, Some("k2")),
    ]) {
        sqlx::query(
            "INSERT INTO tasks (id, title, task_type, status, waiting_for, unique_key) \
             VALUES ($1, 't', 'feature', $2::status_type, $3::waiting_reason, $4)",
        )
        .bind(id)
        .bind(state)
        .bind(waits)
        .bind(key)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    sqlx::query("INSERT INTO task_dependencies (task_id, depends_on) VALUES ($1, $2)")
        .bind(ids[1])
        .bind(ids[0])
        .execute(&mut connection)
        .await
        .unwrap();
    let store = database.store();
    store.migrate().await.unwrap();
    let mine = node(store, NodeKind::Daemon).await;
    let claims = claim(store, mine).await;
    assert_eq!(claims.iter().map(|claim| claim.task.id.as_uuid()).collect::<Vec<_>>(), [ids[0]]);
    super::finish(store, &claims[0], Status::Completed).await;
    let id = |place: usize| journeyman_domain::ids::TaskId::from_uuid(ids[place]);
    assert_eq!(status(store, id(1)).await, (Status::Ready, None));
    assert_eq!(status(store, id(2)).await, (Status::Paused, None::<WaitingFor>));
    connection
        .execute(
            "INSERT INTO tasks (title, task_type, unique_key) VALUES ('again', 'feature', 'k2')",
        )
        .await
        .unwrap();
    assert_eq!(claim(store, mine).await.len(), 1);
}
