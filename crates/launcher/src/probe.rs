//! What this machine permits, found out by trying.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::error::LaunchError;
use crate::namespaces::{self, Appear};
use crate::policy::{Policy, ResourceLimits};
use crate::{COMMAND, landlocked};

/// What this machine permits to this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a finding of its own")]
pub struct Capabilities {
    /// A user namespace can be made; the others need it.
    pub user_namespace: bool,
    /// A mount namespace can be made.
    pub mount_namespace: bool,
    /// A network namespace can be made and its loopback brought up.
    pub net_namespace: bool,
    /// The whole sandbox, with its own process numbers and `/proc`, was made and ran a program.
    pub pid_namespace: bool,
    /// The version of Landlock that is in force; 0 where there is none.
    pub landlock_abi: u32,
}

impl Capabilities {
    /// Whether [`Policy::namespaces`] can be true.
    pub fn namespaces(&self) -> bool {
        self.user_namespace && self.mount_namespace && self.net_namespace && self.pid_namespace
    }

    /// Whether writes can be confined at all.
    pub fn confined(&self) -> bool {
        self.namespaces() || self.landlock_abi > 0
    }
}

/// Tries each capability in a process of its own; `program` is the one that has the command
/// [`COMMAND`]. Takes some ten milliseconds and blocks.
pub fn probe(program: &Path) -> Capabilities {
    let tried = |kind: &str| launch(program, &["--probe".into(), kind.into()]);
    let landlock = tried("landlock").unwrap_or_default();
    Capabilities {
        user_namespace: tried("user") == Some(0),
        mount_namespace: tried("mount") == Some(0),
        net_namespace: tried("net") == Some(0),
        pid_namespace: whole_sandbox(program) == Some(0),
        landlock_abi: u32::try_from(landlock).unwrap_or_default(),
    }
}

/// Runs the launcher quietly; its exit status.
fn launch(program: &Path, arguments: &[OsString]) -> Option<i32> {
    let mut command = Command::new(program);
    command.arg(COMMAND).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().ok()?.code()
}

/// Runs the program itself in a whole sandbox, where it only has to see that it is there.
fn whole_sandbox(program: &Path) -> Option<i32> {
    let program = program.canonicalize().ok()?;
    let policy = Policy {
        namespaces: true,
        network: false,
        cwd: PathBuf::from("/"),
        writable: Vec::new(),
        readable: vec![program.clone()],
        hidden: Vec::new(),
        temporary: None,
        limits: ResourceLimits::default(),
    };
    let policy = serde_json::to_string(&policy).ok()?;
    let inner = [program.as_os_str(), OsStr::new(COMMAND), "--probe".as_ref(), "inside".as_ref()];
    let mut arguments: Vec<OsString> = vec!["--policy".into(), policy.into(), "--".into()];
    arguments.extend(inner.map(OsStr::to_os_string));
    launch(program.as_path(), &arguments)
}

/// Tries one capability in this process; the exit status is 0 (for Landlock, its version).
pub(crate) fn try_one(kind: &OsStr) -> Result<i32, LaunchError> {
    let user = UnshareFlags::NEWUSER;
    match kind.to_str() {
        Some("user") => namespaces::enter(user, Appear::Unchanged)?,
        Some("mount") => namespaces::enter(user | UnshareFlags::NEWNS, Appear::Unchanged)?,
        Some("net") => {
            namespaces::enter(user | UnshareFlags::NEWNET, Appear::Unchanged)?;
            namespaces::loopback_up()?;
        }
        Some("inside") => {
            // Process 1 is the launcher's second stage, and started us.
            let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
            return Ok(i32::from(parent.is_none_or(|number| number.get() != 1)));
        }
        Some("landlock") => return landlocked::version().map(u32::cast_signed),
        _ => {
            return Err(LaunchError::Usage(format!("no such probe: '{}'", kind.display())));
        }
    }
    Ok(0)
}
