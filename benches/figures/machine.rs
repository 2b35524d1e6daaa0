//! A user's home for the length of a benchmark: data of its own, a private cluster with durable
//! settings, and a daemon.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use journeyman_runtime::client::Client;
use journeyman_store::{PoolOptions, Store};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_journeyman");

pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("bench").tempdir()? })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program, with nothing of the machine's settings but where PostgreSQL's programs are.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env_remove("DATABASE_URL").env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        command.env("JOURNEYMAN_DATA", self.data());
        command.env("JOURNEYMAN_CONFIG", self.folder.path().join("config"));
        command
    }

    /// The private cluster without a daemon.
    pub(crate) fn cluster(&self) -> Result<Cluster> {
        std::fs::create_dir_all(self.data())?;
        let mut command = self.command(&["cluster-keeper", "hold"]);
        command.arg(self.data()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn()?;
        let stdout = holder.stdout.take().context("the holder has no output")?;
        let mut url = String::new();
        BufReader::new(stdout).read_line(&mut url)?;
        ensure!(!url.is_empty(), "the private cluster did not start");
        Ok(Cluster { holder, url: url.trim().to_owned() })
    }

    /// A daemon that answers.
    pub(crate) async fn daemon(&self) -> Result<Daemon> {
        let process = self.command(&["up"]).spawn()?;
        let began = Instant::now();
        loop {
            let socket = journeyman_runtime::socket::path(&self.data())?;
            if let Some(client) = Client::connect(&socket).await {
                return Ok(Daemon { process, client });
            }
            ensure!(began.elapsed() < Duration::from_mins(2), "the daemon does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes the user's settings.
    pub(crate) fn settings(&self, text: &str) -> Result<()> {
        let folder = self.folder.path().join("config");
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join("journeyman.toml"), text)?)
    }

    /// Where the daemon's database is.
    pub(crate) fn url(&self) -> Result<String> {
        let output = self.command(&["db", "url"]).stdout(Stdio::piped()).output()?;
        ensure!(output.status.success(), "`journeyman db url` failed");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The daemon's database.
    pub(crate) async fn store(&self) -> Result<Store> {
        Ok(Store::connect(&self.url()?, PoolOptions::default()).await?)
    }

    /// A crate with one commit.
    pub(crate) fn repository(&self) -> Result<PathBuf> {
        let folder = self.folder.path().join("repository");
        std::fs::create_dir_all(folder.join("src"))?;
        let manifest = "[package]\nname = \"sums\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
        std::fs::write(folder.join("Cargo.toml"), manifest)?;
        let lock = "version = 4\n\n[[package]]\nname = \"sums\"\nversion = \"0.1.0\"\n";
        std::fs::write(folder.join("Cargo.lock"), lock)?;
        std::fs::write(folder.join("src/lib.rs"), "pub fn one() -> u8 {\n    1\n}\n")?;
        git(&folder, &["init", "-q", "-b", "main"])?;
        git(&folder, &["add", "-A"])?;
        git(&folder, &["commit", "-q", "-m", "first"])?;
        Ok(folder)
    }
}

pub(crate) fn git(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=You", "-c", "user.email=you@localhost"]).args(arguments);
    let status = command.current_dir(folder).status()?;
    ensure!(status.success(), "git {arguments:?} failed");
    Ok(())
}

/// A use of the private cluster; it stops when this is dropped.
pub(crate) struct Cluster {
    holder: Child,
    pub(crate) url: String,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A running daemon; it is stopped in order when this is dropped.
pub(crate) struct Daemon {
    process: Child,
    pub(crate) client: Client,
}

impl Daemon {
    /// SIGKILL, and gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // What fails here leaves a process behind, which the user sees.
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let _ = self.process.wait();
    }
}
