//! A command's way to the runtime: the daemon where one runs, else the same API in this process.

use journeyman_domain::failure::sentence;

use std::path::PathBuf;

use crate::boot::{self, Mode, Running};
use crate::client::Client;
use crate::config::paths::Paths;
use crate::config::{Layers, Settings};
use crate::failure::{Exit, Failure};
use crate::socket;

/// What every command is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where files are.
    pub paths: Paths,
    /// Settings with their origins.
    pub layers: Layers,
    /// Settings.
    pub settings: Settings,
    /// Whether JSON is printed.
    pub json: bool,
    /// The program whose hidden commands start children and keep the private cluster: our own.
    pub program: PathBuf,
}

impl Context {
    /// Reads the settings; nothing is created.
    pub fn load(json: bool) -> Result<Self, Failure> {
        let wrong = |error: crate::config::ConfigError| {
            Failure::new(Exit::Usage, "config", sentence(&error))
        };
        let paths = Paths::find().map_err(wrong)?;
        // Others may have variables that are no text; such names are none of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        let layers = Layers::load(&paths.settings_file(), variables).map_err(wrong)?;
        let settings = layers.settings().map_err(wrong)?;
        let program = std::env::current_exe().map_err(Failure::from_error)?;
        Ok(Self { paths, layers, settings, json, program })
    }

    /// A running daemon of this data folder.
    pub async fn daemon(&self) -> Option<Client> {
        Client::connect(&self.socket()?).await
    }

    /// The socket of this data folder's daemon.
    pub fn socket(&self) -> Option<PathBuf> {
        socket::path(&self.paths.data).ok()
    }
}

/// A way to the runtime, for the length of one command.
pub struct Session {
    /// Where requests go.
    pub client: Client,
    running: Option<Running>,
}

impl Session {
    /// The daemon, else a runtime in this process that works on nothing.
    pub async fn open(context: &Context) -> Result<Self, Failure> {
        Self::start(context, Mode::Observer).await
    }

    /// The daemon, else a runtime in this process that works on the first task that is added.
    pub async fn for_one_task(context: &Context) -> Result<Self, Failure> {
        Self::start(context, Mode::Foreground).await
    }

    /// Over a client that is there.
    pub const fn remote(client: Client) -> Self {
        Self { client, running: None }
    }

    async fn start(context: &Context, mode: Mode) -> Result<Self, Failure> {
        if let Some(client) = context.daemon().await {
            return Ok(Self::remote(client));
        }
        let running = boot::start(context, mode).await?;
        Ok(Self { client: Client::Process(running.api()), running: Some(running) })
    }

    /// Whether the runtime is in this process.
    pub const fn is_local(&self) -> bool {
        self.running.is_some()
    }

    /// Ends it in order.
    pub async fn close(self) {
        if let Some(running) = self.running {
            running.stop().await;
        }
    }
}
