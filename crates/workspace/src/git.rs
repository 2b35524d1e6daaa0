//! Runs git in an environment of our own.
//!
//! No hook, no question, no lock that is not needed; no configuration of user or machine but for what the user
//! asks for by name.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use journeyman_domain::ids::NodeId;
use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::reap::{NODE_VARIABLE, Owner};

/// Longer than any clone that makes sense on one machine.
const TIMEOUT: Duration = Duration::from_mins(30);

/// Stronger than whatever a repository's own configuration says.
const CONFIGURATION: [(&str, &str); 8] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.quotePath", "false"),
    ("commit.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    // Who names a repository trusts it, whoever owns its files.
    ("safe.directory", "*"),
];

/// What is passed on from our own environment.
const PASSED_ON: [&str; 2] = ["PATH", "TMPDIR"];
/// The same, where the user's own configuration counts.
const OF_USER: [&str; 2] = ["HOME", "XDG_CONFIG_HOME"];
/// The same, where a remote is spoken to: what the user's helpers for credentials, keys and proxies need.
/// None of it reaches an agent's child.
const OF_REMOTES: [&str; 17] = [
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Why a git command failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The program is missing or cannot be started.
    #[error("cannot start git; is it installed?")]
    NotStarted(#[source] std::io::Error),
    /// The program said no.
    #[error("git {command} failed ({status}): {message}")]
    Failed {
        /// The subcommand.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote to stderr, trimmed.
        message: String,
    },
    /// It took too long and was stopped.
    #[error("git {0} did not end in time")]
    TimedOut(String),
    /// It answered something that we do not understand.
    #[error("git {command} answered '{answer}'")]
    Answer {
        /// The subcommand.
        command: String,
        /// What it wrote to stdout.
        answer: String,
    },
}

/// The hash of a git object, in lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(String);

/// A text that is no hash of a git object.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no git object id")]
pub struct InvalidObjectId(String);

impl ObjectId {
    /// The digits: 40 of them, or 64 in a repository with SHA-256.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the hash, as `git init --object-format` takes it.
    pub(crate) fn format(&self) -> &'static str {
        if self.0.len() == 64 { "sha256" } else { "sha1" }
    }
}

impl FromStr for ObjectId {
    type Err = InvalidObjectId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hexadecimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hexadecimal && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidObjectId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ObjectId {
    type Error = InvalidObjectId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({})", self.0)
    }
}

/// Git, set up for one place.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
    user_configuration: bool,
    speaks_to_remotes: bool,
    limit: Duration,
    owner: Option<Owner>,
    /// What counts beside [`CONFIGURATION`].
    configuration: Vec<(&'static str, &'static str)>,
}

/// Kills the group of a git that is not waited for any more, with the helpers that it has started.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended in this moment.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Git {
    /// Git as if called in `folder`, finding the repository by itself.
    pub(crate) fn within(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            environment: Vec::new(),
            user_configuration: false,
            speaks_to_remotes: false,
            limit: TIMEOUT,
            owner: None,
            configuration: Vec::new(),
        }
    }

    /// Git on exactly this repository, wherever its files are.
    pub(crate) fn on(git_dir: &Path) -> Self {
        Self::within(git_dir).with("GIT_DIR", git_dir)
    }

    /// Adds to the environment.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().into()));
        self
    }

    /// Marked as a process of a run's.
    pub(crate) fn of(mut self, owner: Owner) -> Self {
        for (name, value) in owner.variables() {
            self = self.with(name, value);
        }
        self.owner = Some(owner);
        self
    }

    /// The same owner's git on another repository.
    pub(crate) fn beside(&self, git_dir: &Path) -> Self {
        let other = Self::on(git_dir);
        match self.owner {
            Some(owner) => other.of(owner),
            None => other,
        }
    }

    /// With one more key of the configuration, stronger than the repository's own.
    pub(crate) fn configured(mut self, key: &'static str, value: &'static str) -> Self {
        self.configuration.push((key, value));
        self
    }

    /// What it writes is on the disk when it ends: a power cut must not take back what rows say is there.
    pub(crate) fn durable(self) -> Self {
        self.configured("core.fsync", "objects,reference").configured("core.fsyncMethod", "batch")
    }

    /// The files that an `on` repository looks at, and the index that describes them.
    pub(crate) fn files(mut self, tree: &Path, index: &Path) -> Self {
        self.folder = tree.into();
        self.with("GIT_WORK_TREE", tree).with("GIT_INDEX_FILE", index)
    }

    /// Reads the user's own configuration too: for what the user asks for in their own clone.
    pub(crate) fn with_user_configuration(mut self) -> Self {
        self.user_configuration = true;
        self
    }

    /// Speaks to a remote as the user would, with their configuration and helpers; never with a question, and
    /// no longer than this. Where its node is killed meanwhile, the next one finds it by the node's mark.
    pub(crate) fn with_remotes(mut self, node: NodeId, limit: Duration) -> Self {
        (self.user_configuration, self.speaks_to_remotes, self.limit) = (true, true, limit);
        // A terminal is not asked anyway; these would ask in a window.
        self.with(NODE_VARIABLE, node.to_string())
            .with("GIT_ASKPASS", "")
            .with("SSH_ASKPASS", "false")
            .with("SSH_ASKPASS_REQUIRE", "force")
    }

    /// Runs a subcommand; its stdout.
    pub(crate) async fn run<I>(&self, arguments: I) -> Result<Vec<u8>, GitError>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.run_with(arguments, Vec::new()).await
    }

    /// Runs a subcommand whose answer is one line of text.
    pub(crate) async fn line<I>(&self, arguments: I) -> Result<String, GitError>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let answer = self.run(arguments).await?;
        Ok(String::from_utf8_lossy(&answer).trim_end_matches('\n').to_owned())
    }

    /// Runs a subcommand whose answer is an object.
    pub(crate) async fn object<I>(&self, arguments: I) -> Result<ObjectId, GitError>
    where
        I: IntoIterator<Item: AsRef<OsStr>> + Clone,
    {
        let answer = self.line(arguments.clone()).await?;
        answer.parse().map_err(|_| GitError::Answer { command: name(arguments), answer })
    }

    /// Runs a subcommand with `input` on its stdin; its stdout.
    pub(crate) async fn run_with<I>(
        &self,
        arguments: I,
        input: Vec<u8>,
    ) -> Result<Vec<u8>, GitError>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let arguments: Vec<OsString> =
            arguments.into_iter().map(|argument| argument.as_ref().into()).collect();
        around(points::GIT, self.run_to_end(arguments, input)).await
    }

    async fn run_to_end(
        &self,
        arguments: Vec<OsString>,
        input: Vec<u8>,
    ) -> Result<Vec<u8>, GitError> {
        let mut child = self.command(&arguments).spawn().map_err(GitError::NotStarted)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let mut group = Group(pid.and_then(rustix::process::Pid::from_raw));
        let stdin = child.stdin.take();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A git that ends early says why by its status.
                let _ = stdin.write_all(&input).await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(self.limit, both)
            .await
            .map_err(|_| GitError::TimedOut(name(&arguments)))?
            .map_err(GitError::NotStarted)?;
        group.0 = None;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let mut message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // Git does not always say it.
        let full = "No space left on device";
        if is_full(&self.folder) && !message.contains(full) {
            message = format!("{message}: {full}");
        }
        Err(GitError::Failed { command: name(&arguments), status: output.status, message })
    }

    fn command(&self, arguments: &[OsString]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(&self.folder).env_clear();
        // A group of its own: the terminal's Ctrl-C must not stop it half-way.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(passed_on);
        if self.user_configuration {
            let passed_on = OF_USER.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
            command.envs(passed_on);
        } else {
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
            command.env("GIT_ATTR_NOSYSTEM", "1");
        }
        if self.speaks_to_remotes {
            let passed_on = OF_REMOTES.iter();
            command.envs(passed_on.filter_map(|name| Some((name, std::env::var_os(name)?))));
        }
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_EDITOR", "true");
        let configuration: Vec<_> = CONFIGURATION.iter().chain(&self.configuration).collect();
        command.env("GIT_CONFIG_COUNT", configuration.len().to_string());
        for (number, (key, value)) in configuration.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Where git is. By its full path it is started without a copy of this process's page tables, which a search through a
/// `PATH` that was set for it needs.
fn program() -> &'static OsStr {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let found = FOUND.get().or_else(|| {
        let path = std::env::var_os("PATH")?;
        let mut places = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
        let found =
            places.find_map(|folder| Some(folder.join("git")).filter(|git| git.is_file()))?;
        Some(FOUND.get_or_init(|| found))
    });
    // It may be installed later.
    found.map_or(OsStr::new("git"), |found| found.as_os_str())
}

/// Whether the disk of a folder has no room for any file.
fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < 4096)
}

fn name<I>(arguments: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let first = arguments.into_iter().next();
    first.map(|first| first.as_ref().to_string_lossy().into_owned()).unwrap_or_default()
}
