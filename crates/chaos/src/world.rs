//! Where scenarios take place: a database, a data folder, settings. Several follow each other in one world, so that
//! they also meet what earlier ones left.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use journeyman_domain::model::Wire as Dialect;
use journeyman_faults::{Mechanism, take_out};
use journeyman_runtime::config::{Layers, paths::Paths};
use journeyman_runtime::session::Context;
use journeyman_testkit::database::TestDatabase;
use journeyman_testkit::forge::Forge;
use journeyman_testkit::model::ModelServer;
use rustix::process::Pid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tempfile::TempDir;

use crate::trouble::{Disk, Trouble, Wire};

/// The key that the scripted model and the forge want.
pub const KEY: &str = "sk-scripted-chaos";

/// How a world differs from the usual one.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a life may take to do what is left.
    pub patience: Duration,
    /// Take-overs without a new step after which a task is parked. Many, since a scenario has many lives.
    pub max_reclaims: u32,
    /// Seconds that a lease is good for.
    pub lease_s: u32,
    /// Whether children get namespaces of their own.
    pub namespaces: bool,
    /// Executions at once.
    pub concurrent: u32,
    /// The life of a scenario from which on mechanisms are out, the first one being 0.
    pub without_from: usize,
    /// Whether the folder stays where something is wrong.
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(90),
            max_reclaims: 20,
            lease_s: 3,
            concurrent: 10,
            namespaces: true,
            without_from: 0,
            keep: false,
        }
    }
}

/// A place for scenarios.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    database: TestDatabase,
    program: PathBuf,
    options: Options,
    /// Mechanisms that lives of it do without.
    without: Vec<String>,
    /// Whether they do by now.
    is_without: AtomicBool,
    /// Where PostgreSQL's files are, where it is of this world alone.
    cluster: Option<PathBuf>,
    wire: Option<Arc<Wire>>,
    disk: Option<Disk>,
}

impl World {
    /// A new one; `program` is `journeyman`, built with failpoints. The database is made on the cluster of
    /// [`journeyman_testkit::database`].
    pub async fn new(program: &Path, options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("chaos").tempdir()?;
        let database = TestDatabase::new().await.context("a database")?;
        std::fs::create_dir_all(folder.path().join("config"))?;
        let world = Self {
            folder,
            database,
            program: program.to_owned(),
            options,
            without: Vec::new(),
            is_without: AtomicBool::new(false),
            cluster: None,
            wire: None,
            disk: None,
        };
        world.set_up(None, None)?;
        Ok(world)
    }

    /// Makes it ready for a trouble. `cluster` is the folder of PostgreSQL's files, where that is of this world alone.
    pub fn prepare(&mut self, trouble: Trouble, cluster: Option<PathBuf>) -> Result<()> {
        self.cluster = cluster;
        match trouble {
            Trouble::Wire => {
                let server = PgConnectOptions::from_str(&self.url())?;
                self.wire = Some(Wire::lay(&self.folder.path().join("wire"), &server)?);
            }
            Trouble::Disk => self.disk = Some(Disk::mount(&self.data())?),
            Trouble::Database | Trouble::Agent | Trouble::Sleep | Trouble::Nodes => {}
        }
        self.set_up(None, None)
    }

    /// Waits until PostgreSQL is back, where it was struck.
    pub fn wait_for_database(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let began = Instant::now();
        loop {
            match runtime.block_on(PgConnection::connect(&self.url())) {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > self.options.patience => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// The process of PostgreSQL, while it runs.
    pub fn postmaster(&self) -> Option<Pid> {
        let file = self.cluster.as_ref()?.join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).ok()?;
        let pid: i32 = text.lines().next()?.trim().parse().ok()?;
        // Of an earlier one it may be anybody's by now.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Pid::from_raw(pid).filter(|_| name.starts_with("postgres"))
    }

    /// The wire to PostgreSQL, where there is one.
    pub fn wire(&self) -> Option<&Wire> {
        self.wire.as_deref()
    }

    /// The disk of the data folder, where it has one.
    pub const fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// The database's address, as daemons are given it.
    fn daemons_url(&self) -> String {
        let Some(wire) = &self.wire else { return self.url() };
        match PgConnectOptions::from_str(&self.url()) {
            Ok(options) => options.socket(wire.folder()).to_url_lossy().to_string(),
            Err(_) => self.url(),
        }
    }

    /// Has lives do without mechanisms, from the one that the options name.
    pub fn take_out(&mut self, without: &[String]) {
        self.without = without.to_vec();
    }

    /// A scenario's life of this number begins: what it is to do without is out of this process, and of daemons.
    pub fn begin(&self, life: usize) {
        let is_without = life >= self.options.without_from;
        self.is_without.store(is_without, Ordering::Release);
        for mechanism in Mechanism::ALL {
            let is_named = self.without.iter().any(|name| name == mechanism.name());
            take_out(mechanism, is_without && is_named);
        }
    }

    /// How it differs.
    pub const fn options(&self) -> Options {
        self.options
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder, for whoever looks for the cause of something; where it is.
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// The runtime's data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The data folder of a node that is not alone.
    pub fn data_of(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("data-{node}"))
    }

    /// The data folders of all nodes that were started here.
    pub fn all_data(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let is_data = |entry: &std::fs::DirEntry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name == "data" || name.starts_with("data-"))
        };
        entries.filter(is_data).map(|entry| entry.path()).collect()
    }

    /// The database's address.
    pub fn url(&self) -> String {
        self.database.url()
    }

    /// What the real daemon printed, all lives after each other.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// Writes the settings, with the model and the forge where there are any.
    pub fn set_up(&self, model: Option<&ModelServer>, forge: Option<&Forge>) -> Result<()> {
        let config = self.config();
        let Options { max_reclaims, lease_s, namespaces, concurrent, .. } = self.options;
        let namespaces = if namespaces { "auto" } else { "off" };
        let mut text = format!(
            "[database]\nurl = \"{}\"\nmax_connections = 4\n\n[system]\nmax_concurrent_tasks = {concurrent}\n\n[scheduler]\npoll_ms = 300\nlease_s = {lease_s}\n\
             max_reclaims = {max_reclaims}\n\n[sandbox]\nnamespaces = \"{namespaces}\"\n\n[log]\nfilter = \"info\"\n\n\
             [git]\nauthor_name = \"Chaos\"\nauthor_email = \"chaos@localhost\"\n",
            self.daemons_url()
        );
        if let Some(model) = model {
            text.push_str(&format!(
                "\n[providers.scripted]\nwire = \"{}\"\nbase_url = \"{}\"\nkey = \"file:{}\"\ncontext_window = 200000\nmax_concurrent = {concurrent}\n",
                Dialect::OpenAiChat,
                model.base_url(Dialect::OpenAiChat),
                config.join("key").display(),
            ));
            let prices = "version = \"test-1\"\n\n[[model]]\nprovider = \"scripted\"\nmodel = \"small-1\"\ninput = 3.0\n\
                          cache_read = 0.3\ncache_write = 3.75\noutput = 15.0\ncontext_window = 200_000\n\
                          max_output_tokens = 8_000\n";
            std::fs::write(config.join("pricing.toml"), prices)?;
        }
        if let Some(forge) = forge {
            text.push_str(&format!(
                "\n[github]\napi_url = \"{}\"\ntoken = \"file:{}\"\n",
                forge.api_url(),
                config.join("key").display(),
            ));
        }
        std::fs::write(config.join("key"), KEY)?;
        std::fs::write(config.join("journeyman.toml"), text)?;
        Ok(())
    }

    /// The program in this world, with nothing of the machine's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let is_without = self.is_without.load(Ordering::Acquire);
        let without = if is_without { self.without.join(",") } else { String::new() };
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .env_remove("DATABASE_URL")
            .env("JOURNEYMAN_DATA", self.data())
            .env("JOURNEYMAN_CONFIG", self.config())
            .env("NO_COLOR", "1")
            .env("JOURNEYMAN_WITHOUT", without)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// The same for a runtime in this process.
    pub fn context(&self) -> Result<Context> {
        let paths = Paths { config: self.config(), data: self.data() };
        let layers = Layers::load(&paths.settings_file(), std::iter::empty())?;
        let settings = layers.settings()?;
        Ok(Context { paths, layers, settings, json: false, program: self.program.clone() })
    }
}
