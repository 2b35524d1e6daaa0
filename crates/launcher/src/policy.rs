//! What a sandboxed program may do.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::error::{LaunchError, Step as _};

/// What a sandboxed program may do. Everything else of the file system is read-only to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whether namespaces are used; without them there is no private `/tmp`, nothing hidden, the
    /// network stays open, and only Landlock (where the kernel has it) confines writes.
    pub namespaces: bool,
    /// Whether the program has the machine's network; without it there is a loopback only.
    pub network: bool,
    /// The folder in which the program starts.
    pub cwd: PathBuf,
    /// Existing folders (or files) that it may change.
    pub writable: Vec<PathBuf>,
    /// Paths that stay visible though they lie under `/tmp` or under a hidden path; those that
    /// do not exist are passed over.
    #[serde(default)]
    pub readable: Vec<PathBuf>,
    /// Folders that appear empty and files that read as empty; those that do not exist are
    /// passed over.
    #[serde(default)]
    pub hidden: Vec<PathBuf>,
    /// An existing folder that appears as `/tmp` and `/var/tmp`; `None` gives one in memory.
    #[serde(default)]
    pub temporary: Option<PathBuf>,
    /// Limits of each process in the sandbox.
    #[serde(default)]
    pub limits: ResourceLimits,
}

/// Limits that the kernel enforces on each process; `None` leaves the caller's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceLimits {
    /// Seconds of processor time.
    pub cpu_seconds: Option<u64>,
    /// Bytes of address space.
    pub address_space_bytes: Option<u64>,
    /// Bytes of a file that it writes.
    pub file_bytes: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Processes and threads of this user in the sandbox.
    pub processes: Option<u64>,
}

impl ResourceLimits {
    /// Applies the limits to this process and so to all that it starts. Core dumps are always
    /// off: they may hold secrets and land in the workspace.
    pub(crate) fn apply(&self) -> Result<(), LaunchError> {
        let limits = [
            (Resource::Core, Some(0)),
            (Resource::Cpu, self.cpu_seconds),
            (Resource::As, self.address_space_bytes),
            (Resource::Fsize, self.file_bytes),
            (Resource::Nofile, self.open_files),
            (Resource::Nproc, self.processes),
        ];
        for (resource, value) in limits {
            let Some(value) = value else { continue };
            // A limit can only be lowered by an ordinary user; a lower one that is there stays.
            let hard = rustix::process::getrlimit(resource).maximum;
            let value = hard.map_or(value, |hard| hard.min(value));
            setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
                .step(format!("limit {resource:?}"))?;
        }
        Ok(())
    }
}

/// Where the secrets of a user usually lie, and the sockets that give away the machine: what a
/// policy hides unless the user says otherwise.
pub fn hidden_by_default(home: &Path) -> Vec<PathBuf> {
    const IN_HOME: [&str; 18] = [
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".kube",
        ".docker",
        ".netrc",
        ".pgpass",
        ".npmrc",
        ".pypirc",
        ".git-credentials",
        ".cargo/credentials.toml",
        ".config/gh",
        ".config/git/credentials",
        ".config/gcloud",
        ".local/share/keyrings",
        ".password-store",
        ".bash_history",
    ];
    // A socket can be connected to through a read-only mount, so whole folders of them are hidden:
    // below `/run/user` are the buses, keyrings and agents of all who are logged in.
    const ON_MACHINE: [&str; 7] = [
        "/run/user",
        "/run/docker.sock",
        "/run/containerd",
        "/run/podman",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
        "/etc/shadow",
    ];
    let in_home = IN_HOME.iter().map(|name| home.join(name));
    in_home.chain(ON_MACHINE.iter().map(PathBuf::from)).collect()
}
