//! A database that is away for long: the daemon stays, and goes on by itself.

use std::path::PathBuf;
use std::process::Stdio;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::scene::{
    CHECK, GATED, QUICK, add_command, assert_done_once, is_over, notes, open, wait_at_gate,
};
use crate::support::{Home, wait_until};

/// How long it is away: longer than a few starts that fail would take.
const AWAY: Duration = Duration::from_secs(20);

/// A way to the database that can be shut.
struct Door {
    socket: PathBuf,
    server: PgConnectOptions,
    passing: Option<JoinHandle<()>>,
}

impl Door {
    fn new(home: &Home) -> Self {
        let socket = home.folder.path().join(".s.PGSQL.5432");
        let server = PgConnectOptions::from_str(&home.database_url()).unwrap();
        let mut door = Self { socket, server, passing: None };
        door.open();
        door
    }

    /// The address of the database behind it.
    fn url(&self) -> String {
        let folder = self.socket.parent().unwrap();
        self.server.clone().socket(folder).port(5432).to_url_lossy().to_string()
    }

    fn open(&mut self) {
        // The last one's, where nobody listens any more.
        let _ = std::fs::remove_file(&self.socket);
        let (listener, server) = (UnixListener::bind(&self.socket).unwrap(), self.server.clone());
        self.passing = Some(tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut passed = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = server.clone();
                passed.spawn(async move {
                    let (port, host) = (server.get_port(), server.get_host());
                    match server.get_socket() {
                        Some(folder) => {
                            let socket = folder.join(format!(".s.PGSQL.{port}"));
                            pass(client, UnixStream::connect(socket).await).await;
                        }
                        None => pass(client, TcpStream::connect((host, port)).await).await,
                    }
                });
            }
        }));
    }

    /// Cuts every connection; from now on new ones are refused.
    async fn shut(&mut self) {
        if let Some(passing) = self.passing.take() {
            passing.abort();
            let _ = passing.await;
        }
    }
}

async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: UnixStream,
    server: std::io::Result<S>,
) {
    // Either end may go at any time.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server.unwrap()).await;
}

/// The shipped tree, but that it notices a scheduler that hangs at once, and accepts one restart: a start that fails
/// would be the second.
fn strict_tree() -> String {
    let shipped = include_str!("../../../config/supervisor.toml");
    let strict = shipped.replacen("intensity = 3", "intensity = 1", 1).replace(
        r#"health = { every = "10s", timeout = "60s", failures = 3 }"#,
        r#"health = { every = "1s", timeout = "2s", failures = 2 }"#,
    );
    assert!(strict.contains("intensity = 1\n") && strict.contains("failures = 2"), "{strict}");
    strict
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_outlives_a_database_that_is_away_for_long() {
    let home = Home::new().await;
    let repository = notes(&home, "notes");
    let config = home.folder.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("supervisor.toml"), strict_tree()).unwrap();
    let mut door = Door::new(&home);
    let mut daemon = home.up_with(|command| {
        command.env("DATABASE_URL", door.url());
    });
    let task = add_command(&home, &repository, GATED, CHECK);
    let tree = wait_at_gate(&home, &home.data(), &task);

    door.shut().await;
    // What it does meanwhile, it writes down later.
    open(&tree);
    tokio::time::sleep(AWAY).await;
    let ended = daemon.child.try_wait().unwrap();
    assert_eq!(ended, None, "{}", home.daemon_log());
    let log = home.daemon_log();
    assert!(log.contains("the start of an actor waits for the database"), "{log}");

    // What is ordered meanwhile waits for the scheduler.
    let mut order = home.command(&["drain", "--off"]).stdout(Stdio::null()).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(order.try_wait().unwrap(), None);

    door.open();
    assert!(order.wait().unwrap().success());
    wait_until("the task is over", || is_over(&home, &task));
    let next = add_command(&home, &repository, QUICK, CHECK);
    wait_until("another one is done", || is_over(&home, &next));
    assert_done_once(&home, &repository, &next);
    assert_eq!(daemon.stop(), 0);
    let _next_life = home.up();
    assert_done_once(&home, &repository, &task);
}
