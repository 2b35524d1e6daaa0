//! Databases that are not there, or not for this program.

use sqlx::{Connection as _, PgConnection};

use super::refuse_with;
use crate::support::Home;

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_the_mend_is_named() {
    let home = Home::new().await;
    let empty = home.folder.path().join("nothing");
    std::fs::create_dir(&empty).unwrap();
    let variables =
        [("DATABASE_URL", ""), ("JOURNEYMAN__DATABASE__BIN_DIR", empty.to_str().unwrap())];
    for arguments in [&["task", "list"][..], &["up"], &["db", "start"]] {
        let refused = refuse_with(&home, arguments, &variables, 3, "database_unavailable");
        let named = format!("{} holds no server programs of PostgreSQL", empty.display());
        assert!(refused.message.starts_with(&named), "{refused:?}");
        assert!(refused.hint.unwrap().contains("journeyman config set database.bin_dir"));
    }
    // Nothing was begun that would have to be cleaned up.
    let left = std::fs::read_dir(home.data()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "daemon.lock"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nobody_answers_is_said_with_its_cause() {
    let home = Home::new().await;
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://me:hunter22@127.0.0.1:{port}/x");
    let variables = [("DATABASE_URL", url.as_str())];
    let refused = refuse_with(&home, &["task", "list"], &variables, 3, "database_unavailable");
    assert!(refused.message.starts_with("the database is not available: "), "{refused:?}");
    assert!(refused.message.contains("Connection refused"), "{refused:?}");
    assert!(refused.hint.unwrap().contains("journeyman doctor"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_not_our_fault() {
    let home = Home::new().await;
    for url in ["nonsense", "postgres://me:hunter22@127.0.0.1:99999/x", "env:NOT_SET_ANYWHERE"] {
        let variables = [("DATABASE_URL", url)];
        let refused = refuse_with(&home, &["task", "list"], &variables, 3, "database_unavailable");
        assert!(!format!("{refused:?}").contains("hunter22"), "{refused:?}");
    }
    let url = home.database_url();
    let elsewhere = format!("{}_that_is_not_there", url.split('?').next().unwrap());
    let socket = url.split_once('?').map(|(_, rest)| format!("?{rest}")).unwrap_or_default();
    let elsewhere = format!("{elsewhere}{socket}");
    let variables = [("DATABASE_URL", elsewhere.as_str())];
    let refused = refuse_with(&home, &["task", "list"], &variables, 3, "database_unavailable");
    assert!(refused.message.contains("does not exist"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_left_alone() {
    let home = Home::new().await;
    let mut connection = PgConnection::connect(&home.database_url()).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99990101000000, 'of the future', true, '', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    for arguments in [&["task", "list"][..], &["up"], &["db", "migrate"]] {
        let refused = refuse_with(&home, arguments, &[], 3, "database_newer");
        assert!(refused.message.contains("schema version 99990101000000"), "{refused:?}");
        assert_eq!(
            refused.hint.as_deref(),
            Some("use the newer version of journeyman that made it")
        );
    }
    let versions: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(versions, 99_990_101_000_000);
}
