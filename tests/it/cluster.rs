//! The embedded cluster, with real servers: shared, stopped with the last user, brought back after
//! every kind of kill.

#![expect(clippy::unwrap_used, reason = "the functions here are parts of tests")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use journeyman_store::cluster::{self, Cluster, ClusterError, ClusterOptions, ClusterStatus};
use sqlx::{ConnectOptions as _, Connection as _};

const PROGRAM: &str = env!("CARGO_BIN_EXE_journeyman");
/// Far more than anything here takes; a machine may be very busy.
const LIMIT: Duration = Duration::from_mins(2);

fn data() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("jm cluster ü-").tempdir().unwrap()
}

fn options(data_dir: &Path) -> ClusterOptions {
    ClusterOptions {
        data_dir: data_dir.to_owned(),
        bin_dir: None,
        program: PathBuf::from(PROGRAM),
        as_user: [PROGRAM, "sandbox-exec", "--map-user", "1000", "--"].map(Into::into).to_vec(),
        fsync: false,
    }
}

/// A user of the cluster in a process of its own.
struct User {
    process: Child,
    url: String,
}

impl User {
    fn start(data_dir: &Path) -> Self {
        Self::spawn(&mut Self::command(data_dir))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        if url.is_empty() {
            let mut errors = String::new();
            process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
            panic!("no address: {errors}");
        }
        Self { process, url }
    }

    fn command(data_dir: &Path) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["cluster-keeper", "hold"]).arg(data_dir).arg("false");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn leave(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

/// Keeper and server of a running cluster.
fn running(data_dir: &Path) -> Option<(u32, u32, String)> {
    match cluster::status(data_dir).unwrap() {
        ClusterStatus::Running { keeper: Some(keeper), server: Some((server, url)), .. } => {
            Some((keeper, server, url))
        }
        ClusterStatus::Running { .. } | ClusterStatus::Stopped { .. } | ClusterStatus::Absent => {
            None
        }
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the cluster has stopped, and none of its processes is left.
fn assert_stops(data_dir: &Path) {
    eventually("the cluster stops", || {
        matches!(cluster::status(data_dir).unwrap(), ClusterStatus::Stopped { .. }).then_some(())
    });
    eventually("its processes end", || processes_in(data_dir).is_empty().then_some(()));
}

fn processes_in(data_dir: &Path) -> Vec<u32> {
    let data_dir = data_dir.canonicalize().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&data_dir))
        })
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        })
        .collect()
}

fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

async fn value(url: &str, sql: &'static str) -> Result<String, sqlx::Error> {
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    let mut connection = options.connect().await?;
    let found = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(found)
}

#[test]
fn eight_commands_at_once_share_one_server_which_stops_with_the_last() {
    let data = data();
    let users: Vec<User> = thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| User::start(data.path()))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let (keeper, server, url) = running(data.path()).unwrap();
    assert!(users.iter().all(|user| user.url == url));
    for (number, user) in users.into_iter().enumerate() {
        assert_eq!(running(data.path()), Some((keeper, server, url.clone())));
        if number % 2 == 0 {
            user.kill();
        } else {
            user.leave();
        }
    }
    assert_stops(data.path());
}

#[tokio::test]
async fn a_user_that_comes_while_the_cluster_stops_gets_a_new_one() {
    let data = data();
    for _ in 0..8 {
        let cluster = Cluster::open(options(data.path())).await.unwrap();
        assert_eq!(value(&cluster.url(), "SELECT 'here'").await.unwrap(), "here");
    }
    assert_stops(data.path());
}

#[tokio::test]
async fn a_killed_keeper_leaves_no_server_and_is_replaced_while_somebody_uses_the_cluster() {
    let data = data();
    let cluster = Cluster::open(options(data.path())).await.unwrap();
    let (keeper, server, url) = running(data.path()).unwrap();
    send("-KILL", keeper);
    let (next_keeper, next_server, next_url) =
        eventually("a new keeper", || running(data.path()).filter(|found| found.0 != keeper));
    assert!(next_keeper != keeper && next_server != server);
    assert_eq!(
        (next_url.as_str(), cluster.url()),
        (url.as_str(), url.clone()),
        "the address stays"
    );
    assert_eq!(value(&url, "SELECT 'back'").await.unwrap(), "back");
    drop(cluster);
    assert_stops(data.path());
}

#[tokio::test]
async fn a_killed_server_is_started_again_and_keeps_what_was_committed() {
    let data = data();
    let durable = ClusterOptions { fsync: true, ..options(data.path()) };
    let cluster = Cluster::open(durable).await.unwrap();
    let mut connection = cluster.connect_options().connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept AS SELECT 'kept' AS word")
        .execute(&mut connection)
        .await
        .unwrap();
    let (keeper, server, url) = running(data.path()).unwrap();
    send("-KILL", server);
    let again =
        eventually("a new server", || running(data.path()).filter(|found| found.1 != server));
    assert_eq!((again.0, &again.2), (keeper, &url));
    assert_eq!(value(&url, "SELECT word FROM kept").await.unwrap(), "kept");
    drop(cluster);
    assert_stops(data.path());
}

#[tokio::test]
async fn lock_files_of_a_life_before_a_power_cut_do_not_block_the_start() {
    let data = data();
    drop(Cluster::open(options(data.path())).await.unwrap());
    assert_stops(data.path());
    let ClusterStatus::Stopped { folder, .. } = cluster::status(data.path()).unwrap() else {
        panic!("it runs")
    };
    let file = folder.join("data/postmaster.pid");
    // Our own number: it lives, is of the same user, and is no server. And one that nobody can
    // have.
    for pid in [std::process::id(), i32::MAX.unsigned_abs()] {
        fs::write(
            &file,
            format!(
                "{pid}\n{}\n1700000000\n5432\n/tmp/gone\n\n  917506 5\nready   \n",
                folder.join("data").display()
            ),
        )
        .unwrap();
        let cluster = Cluster::open(options(data.path())).await.unwrap();
        assert_eq!(value(&cluster.url(), "SELECT 'up'").await.unwrap(), "up");
        drop(cluster);
        assert_stops(data.path());
    }
    fs::write(&file, "").unwrap();
    drop(Cluster::open(options(data.path())).await.unwrap());
    assert_stops(data.path());
}

#[test]
fn a_killed_start_leaves_nothing_half_made() {
    let data = data();
    let mut first = User::command(data.path()).spawn().unwrap();
    let initdb = eventually("initdb", || {
        fs::read_dir(data.path().read_dir().ok()?.flatten().next()?.path())
            .ok()?
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with("new-"))
    });
    let keeper = initdb.file_name().to_string_lossy().trim_start_matches("new-").parse().unwrap();
    send("-KILL", keeper);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(!initdb.path().with_file_name("data").exists());
    let user = User::start(data.path());
    user.leave();
    assert_stops(data.path());
}

#[tokio::test]
async fn attaching_starts_nothing() {
    let data = data();
    assert!(Cluster::attach_if_running(options(data.path())).await.unwrap().is_none());
    assert_eq!(cluster::status(data.path()).unwrap(), ClusterStatus::Absent);
    let user = User::start(data.path());
    let attached = Cluster::attach_if_running(options(data.path())).await.unwrap().unwrap();
    user.kill();
    assert_eq!(value(&attached.url(), "SELECT 'still'").await.unwrap(), "still");
    drop(attached);
    assert_stops(data.path());
    assert!(Cluster::attach_if_running(options(data.path())).await.unwrap().is_none());
}

#[tokio::test]
async fn a_runtime_folder_that_is_too_long_does_not_stop_the_server_from_starting() {
    let data = data();
    let runtime = data.path().join("r".repeat(100));
    fs::create_dir(&runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
    let user = User::spawn(User::command(data.path()).env("XDG_RUNTIME_DIR", &runtime));
    assert!(user.url.contains("/tmp/journeyman-"), "{}", user.url);
    assert_eq!(value(&user.url, "SELECT 'short'").await.unwrap(), "short");
    user.leave();
    assert_stops(data.path());
}

#[tokio::test]
async fn the_server_is_durable_private_and_not_root() {
    let data = data();
    let cluster =
        Cluster::open(ClusterOptions { fsync: true, ..options(data.path()) }).await.unwrap();
    let url = cluster.url();
    for (sql, expected) in [
        ("SHOW fsync", "on"),
        ("SHOW synchronous_commit", "on"),
        ("SHOW full_page_writes", "on"),
        ("SHOW data_checksums", "on"),
        ("SHOW listen_addresses", ""),
        ("SHOW TimeZone", "UTC"),
        ("SHOW server_encoding", "UTF8"),
        ("SELECT current_database()::text", "journeyman"),
    ] {
        assert_eq!(value(&url, sql).await.unwrap(), expected, "{sql}");
    }
    let sockets = url.split_once("host=").unwrap().1;
    assert_eq!(fs::metadata(sockets).unwrap().mode() & 0o777, 0o700);
    let (keeper, server, _) = running(data.path()).unwrap();
    for pid in [keeper, server] {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let names = environment
            .split(|byte| *byte == 0)
            .filter_map(|line| line.split(|byte| *byte == b'=').next());
        for name in names.filter(|name| !name.is_empty()).map(String::from_utf8_lossy) {
            assert!(
                ["PATH", "LD_LIBRARY_PATH"].contains(&&*name),
                "{name} is handed on to process {pid}"
            );
        }
    }
    drop(cluster);
    assert_stops(data.path());
}

#[tokio::test]
async fn missing_programs_are_told_apart_from_those_of_another_version() {
    let data = data();
    let empty = data.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let without = ClusterOptions { bin_dir: Some(empty.clone()), ..options(data.path()) };
    let error = Cluster::open(without.clone()).await.unwrap_err();
    assert!(
        matches!(&error, ClusterError::ProgramsUnusable { bin, .. } if *bin == empty),
        "{error}"
    );

    fs::create_dir_all(data.path().join("postgres-99/data")).unwrap();
    fs::write(data.path().join("postgres-99/data/PG_VERSION"), "99\n").unwrap();
    let error = Cluster::open(options(data.path())).await.unwrap_err();
    assert!(matches!(error, ClusterError::MajorMissing { major: 99, .. }), "{error}");
    assert!(
        !data.path().join("postgres-15").exists(),
        "a new, empty database would hide the old one"
    );
}

#[tokio::test]
async fn a_server_that_cannot_start_is_reported_with_its_own_words() {
    let data = data();
    drop(Cluster::open(options(data.path())).await.unwrap());
    assert_stops(data.path());
    let ClusterStatus::Stopped { folder, .. } = cluster::status(data.path()).unwrap() else {
        panic!("it runs")
    };
    fs::write(folder.join("data/postgresql.conf"), "no_such_setting = 1\n").unwrap();
    let error = Cluster::open(options(data.path())).await.unwrap_err();
    assert!(
        matches!(&error, ClusterError::Start { reason } if reason.contains("no_such_setting")),
        "{error}"
    );
    assert_stops(data.path());
}

#[tokio::test]
async fn where_root_gets_no_namespace_an_account_is_used_if_it_can_enter_the_folder() {
    let data = data();
    if fs::metadata(data.path()).unwrap().uid() != 0 {
        return; // Only root needs a way around the server's refusal.
    }
    for as_user in [vec![], vec!["false".into()]] {
        let without = ClusterOptions { as_user, ..options(data.path()) };
        fs::set_permissions(data.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let error = Cluster::open(without.clone()).await.unwrap_err();
        assert!(
            matches!(&error, ClusterError::Start { reason } if reason.contains("may not enter")),
            "{error}"
        );

        fs::set_permissions(data.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let cluster = Cluster::open(without).await.unwrap();
        let (_, server, url) = running(data.path()).unwrap();
        assert_ne!(fs::metadata(format!("/proc/{server}")).unwrap().uid(), 0);
        assert_eq!(value(&url, "SELECT 'by account'").await.unwrap(), "by account");
        drop(cluster);
        assert_stops(data.path());
    }
    // Both ways share one cluster.
    let cluster = Cluster::open(options(data.path())).await.unwrap();
    assert_eq!(value(&cluster.url(), "SELECT 'by namespace'").await.unwrap(), "by namespace");
    drop(cluster);
    assert_stops(data.path());
}
