//! A wire between the daemon and PostgreSQL: a socket of its own that passes everything on, until it does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What it does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Each piece waits for so many milliseconds.
    Slow(u64),
    /// Nothing passes; the connections stay.
    Silent,
    /// There is no server at its end.
    Down,
}

/// The wire. It ends with the process.
#[derive(Debug)]
pub struct Wire {
    folder: PathBuf,
    mode: watch::Sender<Mode>,
    /// Counts the cuts: each one ends all connections of before.
    cuts: watch::Sender<u32>,
}

impl Wire {
    /// Lays it, in a thread of its own.
    pub fn lay(folder: &Path, server: &PgConnectOptions) -> Result<Arc<Self>> {
        std::fs::create_dir_all(folder)?;
        let sockets = server.get_socket().context("PostgreSQL has no socket")?;
        // As PostgreSQL's clients expect it in a folder of sockets.
        let name = format!(".s.PGSQL.{}", server.get_port());
        let wire = Arc::new(Self {
            folder: folder.to_owned(),
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
        });
        let (shared, server) = (Arc::clone(&wire), sockets.join(&name));
        let listener = std::os::unix::net::UnixListener::bind(folder.join(&name))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(shared.pass_on(listener, server)));
        Ok(wire)
    }

    /// Where clients find it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    async fn pass_on(&self, listener: std::os::unix::net::UnixListener, server: PathBuf) {
        let Ok(listener) = UnixListener::from_std(listener) else { return };
        while let Ok((client, _)) = listener.accept().await {
            if *self.mode.borrow() == Mode::Down {
                continue;
            }
            let Ok(server) = UnixStream::connect(&server).await else { continue };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let (mode, mut cuts) = (self.mode.subscribe(), self.cuts.subscribe());
            tokio::spawn(async move {
                tokio::select! {
                    () = copy(from_client, to_server, mode.clone()) => {}
                    () = copy(from_server, to_client, mode) => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    }

    /// Ends all connections, and lets none come about until it [is mended](Self::mend).
    pub fn tear(&self) {
        self.mode.send_replace(Mode::Down);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Nothing passes any more, and all connections stay, until it [is mended](Self::mend).
    pub fn silence(&self) {
        self.mode.send_replace(Mode::Silent);
    }

    /// Everything passes again.
    pub fn mend(&self) {
        self.mode.send_replace(Mode::Pass);
    }

    /// Something happens to it, and is over when this returns.
    pub async fn disturb(&self, random: &mut fastrand::Rng) {
        match random.u8(..3) {
            0 => self.cuts.send_modify(|cuts| *cuts += 1),
            1 => {
                self.mode.send_replace(Mode::Slow(random.u64(20..150)));
                sleep(Duration::from_millis(random.u64(300..1_500))).await;
                self.mode.send_replace(Mode::Pass);
            }
            _ => {
                self.mode.send_replace(Mode::Silent);
                sleep(Duration::from_millis(random.u64(300..2_500))).await;
                self.cuts.send_modify(|cuts| *cuts += 1);
                self.mode.send_replace(Mode::Pass);
            }
        }
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let now = *mode.borrow_and_update();
        match now {
            Mode::Pass => {}
            Mode::Down => return,
            Mode::Slow(ms) => sleep(Duration::from_millis(ms)).await,
            Mode::Silent => {
                if mode.wait_for(|mode| *mode != Mode::Silent).await.is_err() {
                    return;
                }
            }
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
