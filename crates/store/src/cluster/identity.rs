//! As whom the server's programs run, and how they are started.
//!
//! PostgreSQL refuses user id 0. As root its programs run in a user namespace in which root is an
//! ordinary user: the files stay root's, and it works in every folder. Where namespaces are
//! refused, they run under an unprivileged account, which only works where that can enter all
//! parents of the folder.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, geteuid, set_parent_process_death_signal};

use super::error::{ClusterError, at};
use super::keeper;

/// The accounts that are tried, in this order.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// As whom the server's programs run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// As the user who started us.
    Myself,
    /// As root who is an ordinary user in a namespace of its own: the words before a command that
    /// make it so.
    Mapped(Vec<OsString>),
    /// Under another account.
    Account { user: u32, group: u32 },
}

impl Identity {
    /// Chooses for the cluster in `folder`, by trying whether a namespace is granted.
    pub(super) fn choose(
        as_user: &[OsString],
        folder: &Path,
        bin: &Path,
    ) -> Result<Self, ClusterError> {
        if !geteuid().is_root() {
            return Ok(Self::Myself);
        }
        if let Some((first, rest)) = as_user.split_first() {
            let mut probe = Command::new(first);
            let probe = probe
                .args(rest)
                .arg(bin.join("postgres"))
                .arg("--version")
                .stdin(Stdio::null())
                .output();
            if probe.is_ok_and(|output| output.status.success()) {
                return Ok(Self::Mapped(as_user.to_vec()));
            }
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(at(Path::new("/etc/passwd")))?;
        let (name, user, group) =
            ACCOUNTS.iter().find_map(|name| account(&passwd, name)).ok_or_else(|| {
                ClusterError::Root { reason: "there is no account postgres or nobody".to_owned() }
            })?;
        for parent in folder.ancestors().skip(1).chain(bin.ancestors()) {
            let found = fs::metadata(parent).map_err(at(parent))?;
            if !can_enter(found.mode(), found.uid() == user, found.gid() == group) {
                let reason = format!("the account {name} may not enter {}", parent.display());
                return Err(ClusterError::Root { reason });
            }
        }
        Ok(Self::Account { user, group })
    }

    /// Whether files of the server belong to somebody else than us.
    pub(super) fn is_other(&self) -> bool {
        matches!(self, Self::Account { .. })
    }

    /// Gives a file, or a folder with all that is in it, to the one as whom the server runs.
    pub(super) fn own(&self, path: &Path) -> Result<(), ClusterError> {
        let (user, group) = match self {
            Self::Account { user, group } => (*user, Some(*group)),
            Self::Myself | Self::Mapped(_) => (geteuid().as_raw(), None),
        };
        let found = fs::symlink_metadata(path).map_err(at(path))?;
        if found.uid() == user {
            return Ok(());
        }
        if found.is_dir() {
            for entry in fs::read_dir(path).map_err(at(path))? {
                self.own(&entry.map_err(at(path))?.path())?;
            }
        }
        // The folder comes last: as long as it is not given over, an interrupted pass is seen and
        // done again.
        lchown(path, Some(user), group).map_err(at(path))
    }

    /// A command that runs `program` as this identity, with an interrupt when the calling thread
    /// ends. Its input is a pipe that must be kept open as long as it runs.
    ///
    /// Nothing of our environment is handed on but what finds programs and libraries: it may hold
    /// secrets, and PostgreSQL reads settings from it.
    pub(super) fn command(&self, program: &Path) -> Result<Command, ClusterError> {
        // This link leads to us also where an account may not enter our folder, or we were
        // replaced.
        let own_link = Path::new("/proc/self/exe");
        let mut command = Command::new(own_link);
        match self {
            Self::Myself => {}
            Self::Account { user, group } => {
                command.uid(*user).gid(*group);
            }
            Self::Mapped(words) => {
                // To a launcher that is another program, the link would lead to that.
                let own_path = env::current_exe().map_err(at(own_link))?;
                let mut words = words.iter().map(OsString::as_os_str).chain([own_path.as_os_str()]);
                command = Command::new(words.next().unwrap_or(own_link.as_os_str()));
                command.args(words);
            }
        }
        command.args([keeper::SUBCOMMAND, keeper::EXEC]).arg(program).stdin(Stdio::piped());
        clear_environment(&mut command);
        Ok(command)
    }
}

/// Leaves a command only what finds programs and libraries.
pub(super) fn clear_environment(command: &mut Command) {
    command.env_clear();
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// Becomes `program`, which gets an interrupt when our parent ends: the last step of
/// [`Identity::command`], after all changes of identity, because these would take the signal back.
/// Returns only when it failed.
pub(super) fn become_program(program: &OsStr, arguments: &[OsString]) -> ClusterError {
    let prepared = set_parent_process_death_signal(Some(Signal::INT))
        .map_err(io::Error::from)
        .and_then(|()| {
            // A parent that ended before that call closed its end of the pipe.
            let stdin = io::stdin();
            let mut ends = [PollFd::new(&stdin, PollFlags::empty())];
            poll(&mut ends, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
            if ends[0].revents().contains(PollFlags::HUP) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    let error = match prepared {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    };
    ClusterError::File { path: PathBuf::from(program), source: error }
}

/// Finds an account: its name, user id and group id.
fn account<'a>(passwd: &str, name: &'a str) -> Option<(&'a str, u32, u32)> {
    let mut fields = passwd
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let user = fields.nth(1)?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some((name, user, group))
}

/// Whether somebody may enter a folder of this mode.
fn can_enter(mode: u32, is_owner: bool, is_group: bool) -> bool {
    let bit = if is_owner {
        0o100
    } else if is_group {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody2:x:7:7::/:/\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(account(passwd, "nobody"), Some(("nobody", 65534, 65533)));
        assert_eq!(account(passwd, "postgres"), None);
    }

    #[test]
    fn the_owner_s_bit_decides_for_the_owner_alone() {
        assert!(!can_enter(0o011, true, true));
        assert!(!can_enter(0o701, false, true));
        assert!(can_enter(0o711, false, false));
    }
}
