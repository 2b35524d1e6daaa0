//! Runs programs in the sandbox and cuts them where they exceed a limit.
//!
//! Nothing that a program starts outlives it: with namespaces by their nature, without them by a
//! search for the variable that marks its descendants.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use journeyman_launcher::{COMMAND, EXIT_NOT_LAUNCHED, Policy};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{Instant as Deadline, sleep_until};
pub use tokio_util::sync::CancellationToken;

mod output;
mod spawner;

use output::Capture;
pub use output::Output;
use spawner::Spawner;

use crate::error::{Doing as _, WorkspaceError};
use crate::reap::{ChildIdentity, Owner, Wanted, blocking, end, kill_wanted, start_time_of_child};

/// Marks the descendants of one program.
const PROCESS_VARIABLE: &str = "JOURNEYMAN_PROCESS";

/// How long output is awaited that something else may still hold open.
const DRAIN: Duration = Duration::from_secs(2);

/// A program to run.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// The whole environment, but for what marks the run; see [`allowed_environment`].
    pub env: BTreeMap<OsString, OsString>,
    /// What it may do, and where it starts.
    pub policy: Policy,
    /// Whose it is.
    pub owner: Owner,
    /// The trace that it belongs to, as `TRACEPARENT`.
    pub traceparent: Option<String>,
    /// Until it is stopped.
    pub timeout: Duration,
    /// Without output until it is stopped.
    pub idle_timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL where it is stopped.
    pub grace: Duration,
    /// Bytes of output until it is stopped.
    pub output_limit: u64,
    /// Bytes of output that are kept in memory, at its start and at its end each.
    pub head_and_tail: usize,
    /// Where the whole output goes.
    pub output_file: Option<PathBuf>,
}

impl ProcessSpec {
    /// A program with an empty environment and the usual limits: ten minutes, three
    /// seconds to stop, 64 MiB of output,
    /// of which 64 KiB are kept at each end.
    pub fn new(argv: Vec<OsString>, policy: Policy, owner: Owner) -> Self {
        Self {
            argv,
            env: BTreeMap::new(),
            policy,
            owner,
            traceparent: None,
            timeout: Duration::from_mins(10),
            idle_timeout: None,
            grace: Duration::from_secs(3),
            output_limit: 64 * 1024 * 1024,
            head_and_tail: 64 * 1024,
            output_file: None,
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Stopped by its time limit.
    TimedOut,
    /// Stopped since it was silent for too long.
    Idle,
    /// Stopped since it wrote too much.
    Flooded,
    /// Stopped by the caller.
    Cancelled,
    /// Never started: the sandbox could not be made. The output says why.
    NotLaunched,
}

/// What came of a program.
#[derive(Clone, Debug)]
pub struct ProcessOutcome {
    /// How it ended.
    pub exit: Exit,
    /// Stdout and stderr in the order of writing.
    pub output: Output,
    /// From start to end.
    pub duration: Duration,
    /// The process that was started.
    pub identity: ChildIdentity,
}

/// Starts programs in the sandbox. A clone is the same runner.
///
/// When the last clone is dropped, all programs that it started are killed.
#[derive(Clone, Debug)]
pub struct Runner {
    launcher: PathBuf,
    spawner: Spawner,
}

impl Runner {
    /// A runner whose launcher is `launcher`, the program that has the command `sandbox-exec`.
    /// Must be called within the tokio runtime that shall wait for the programs.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(launcher: &Path) -> Result<Self, WorkspaceError> {
        let spawner = Spawner::start().doing("start a thread for", launcher)?;
        Ok(Self { launcher: launcher.into(), spawner })
    }

    /// Starts a program; [`Running::wait`] must follow, or it is killed.
    ///
    /// # Errors
    /// When the launcher or the output's file cannot be used; a program that does not exist is
    /// an outcome with code 127.
    pub async fn start(&self, spec: ProcessSpec) -> Result<Running, WorkspaceError> {
        let (reader, writer) = std::io::pipe().doing("make a pipe for", &self.launcher)?;
        let marker = Spawner::next_marker();
        let command = self.command(&spec, &marker, writer).doing("start", &self.launcher)?;
        let started = Instant::now();
        let child = self.spawner.spawn(command).await.doing("start", &self.launcher)?;
        let pid = child.id().map(u32::cast_signed).unwrap_or_default();
        let identity = ChildIdentity {
            pid,
            start_time: start_time_of_child(pid).unwrap_or_default(),
            owner: spec.owner,
        };
        let output = pipe::Receiver::from_owned_fd(reader.into())
            .doing("read the output of", &self.launcher)?;
        let capture = Capture::new(spec.head_and_tail, spec.output_file.as_deref()).await?;
        let marker = format!("{PROCESS_VARIABLE}={marker}");
        Ok(Running { child, identity, output, capture, marker, spec, started, ended: false })
    }

    /// Starts a program and waits for it: [`Runner::start`] and [`Running::wait`] in one.
    ///
    /// # Errors
    /// As these two.
    pub async fn run(
        &self,
        spec: ProcessSpec,
        cancel: &CancellationToken,
        on_start: impl FnOnce(ChildIdentity),
        on_output: impl FnMut(&[u8]),
    ) -> Result<ProcessOutcome, WorkspaceError> {
        let running = self.start(spec).await?;
        on_start(running.identity());
        running.wait(cancel, on_output).await
    }

    fn command(
        &self,
        spec: &ProcessSpec,
        marker: &str,
        output: std::io::PipeWriter,
    ) -> std::io::Result<Command> {
        let policy = serde_json::to_string(&spec.policy)?;
        let mut command = Command::new(&self.launcher);
        command.args([COMMAND, "--parent", &std::process::id().to_string()]);
        command.args(["--die-with-parent", "KILL", "--policy", &policy, "--"]).args(&spec.argv);
        command.env_clear().envs(&spec.env);
        command.envs(spec.owner.variables()).env(PROCESS_VARIABLE, marker);
        if let Some(traceparent) = &spec.traceparent {
            command.env("TRACEPARENT", traceparent);
        }
        // One pipe for both, so that their order is kept.
        command.stdout(output.try_clone()?).stderr(output);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}

/// A program that was started. Dropping it kills the program and its descendants.
#[derive(Debug)]
pub struct Running {
    child: Child,
    identity: ChildIdentity,
    output: pipe::Receiver,
    capture: Capture,
    marker: String,
    spec: ProcessSpec,
    started: Instant,
    ended: bool,
}

impl Running {
    /// What [`crate::reap::reap`] needs if this runtime dies: to be written down before waiting.
    pub fn identity(&self) -> ChildIdentity {
        self.identity
    }

    /// Waits until the program and all its descendants are gone. `on_output` sees each piece of
    /// output as it comes; a limit or `cancel` stops it, with SIGTERM first.
    ///
    /// # Errors
    /// The system's; the program is killed then.
    pub async fn wait(
        mut self,
        cancel: &CancellationToken,
        mut on_output: impl FnMut(&[u8]),
    ) -> Result<ProcessOutcome, WorkspaceError> {
        let (stopped, status) = self.follow(cancel, &mut on_output).await?;
        end(&[], &self.wanted()).await?;
        self.ended = true;
        let output = std::mem::take(&mut self.capture).finish().await?;
        let exit = stopped.unwrap_or_else(|| {
            use std::os::unix::process::ExitStatusExt as _;
            match (status.code(), status.signal()) {
                // The launcher and every shell report a signal so.
                (Some(code @ 129..=192), _) => Exit::Signal(code - 128),
                (Some(EXIT_NOT_LAUNCHED), _) if output.head.starts_with(COMMAND) => {
                    Exit::NotLaunched
                }
                (Some(code), _) => Exit::Code(code),
                (None, signal) => Exit::Signal(signal.unwrap_or_default()),
            }
        });
        let duration = self.started.elapsed();
        Ok(ProcessOutcome { exit, output, duration, identity: self.identity })
    }

    /// Reads the output until the program is gone; why it was stopped, and its status.
    async fn follow(
        &mut self,
        cancel: &CancellationToken,
        on_output: &mut impl FnMut(&[u8]),
    ) -> Result<(Option<Exit>, std::process::ExitStatus), WorkspaceError> {
        let far = Deadline::now() + Duration::from_hours(24 * 365);
        let mut buffer = vec![0; 64 * 1024];
        let mut stopped = None;
        let mut status = None;
        let mut open = true;
        let mut at_idle = pin!(sleep_until(idle_deadline(&self.spec, far)));
        let at_limit = Deadline::from_std(self.started) + self.spec.timeout;
        let mut at_end = pin!(sleep_until(far));
        loop {
            let going = status.is_none() && stopped.is_none();
            let mut stop = None;
            tokio::select! {
                ended = self.child.wait(), if status.is_none() => {
                    status = Some(ended.doing("wait for", &self.spec.policy.cwd)?);
                    // What it left behind would hold the output open.
                    let wanted = self.wanted();
                    blocking(move || kill_wanted(&wanted)).await;
                    at_end.as_mut().reset(Deadline::now() + DRAIN);
                }
                read = self.output.read(&mut buffer), if open => {
                    let length = read.doing("read output in", &self.spec.policy.cwd)?;
                    open = length > 0;
                    at_idle.as_mut().reset(idle_deadline(&self.spec, far));
                    if stopped != Some(Exit::Flooded) {
                        on_output(&buffer[..length]);
                        self.capture.add(&buffer[..length]).await?;
                    }
                    if self.capture.bytes() > self.spec.output_limit {
                        stop = Some(Exit::Flooded);
                    }
                }
                () = sleep_until(at_limit), if going => stop = Some(Exit::TimedOut),
                () = &mut at_idle, if going => stop = Some(Exit::Idle),
                () = cancel.cancelled(), if going => stop = Some(Exit::Cancelled),
                () = &mut at_end => if status.is_some() {
                    open = false;
                } else {
                    self.signal(Signal::KILL);
                    at_end.as_mut().reset(far);
                },
            }
            if let (Some(reason), true) = (stop, going) {
                stopped = Some(reason);
                self.signal(Signal::TERM);
                at_end.as_mut().reset(Deadline::now() + self.spec.grace);
            }
            if let (Some(status), false) = (status, open) {
                return Ok((stopped, status));
            }
        }
    }

    /// What the program may have left behind: by its environment, or, where it cleared that, by
    /// its session.
    fn wanted(&self) -> Wanted {
        Wanted {
            owners: Vec::new(),
            marker: Some(self.marker.clone()),
            session: Some(self.identity.pid),
        }
    }

    /// Signals the launcher, which passes it on. Its number is not used again before it is
    /// waited for.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may just have ended.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(Signal::KILL);
            kill_wanted(&self.wanted());
        }
    }
}

fn idle_deadline(spec: &ProcessSpec, far: Deadline) -> Deadline {
    spec.idle_timeout.map_or(far, |timeout| Deadline::now() + timeout)
}

/// Of `variables`, those that programs need and that hold no secret: paths, language, time zone,
/// tool chains.
pub fn allowed_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    const NAMES: [&str; 20] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NODE_EXTRA_CA_CERTS",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN",
        "GOPATH",
        "GOROOT",
        "JAVA_HOME",
        "VIRTUAL_ENV",
    ];
    let allowed = |name: &OsString| name.to_str().is_some_and(|name| NAMES.contains(&name));
    variables.into_iter().filter(|(name, _)| allowed(name)).collect()
}
