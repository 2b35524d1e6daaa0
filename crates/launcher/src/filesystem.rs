//! The file system as the sandboxed program sees it.
//!
//! All of the machine's file system, read-only, but for the policy's folders; a `/tmp`, a `/proc`
//! and a `/dev` of its own; hidden paths covered. It must run in a fresh mount namespace, as
//! process 1 of a fresh PID namespace.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount,
};

use crate::error::{LaunchError, Step as _};
use crate::policy::Policy;

mod mountinfo;

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Parts of `/proc` through which root (by the number alone, without any capability) could
/// change the machine.
const MACHINE: [&str; 5] =
    ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];

/// Sets the file system up for `policy`.
pub(crate) fn confine(policy: &Policy) -> Result<(), LaunchError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step("keep mounts private")?;
    let mut view = View::default();
    // Opened before anything covers them.
    let mut exposed = Vec::new();
    for path in &policy.writable {
        exposed.push(Exposed::open(path, true).step(format!("open {}", path.display()))?);
    }
    for path in &policy.readable {
        match Exposed::open(path, false) {
            Ok(found) => exposed.push(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).step(format!("open {}", path.display())),
        }
    }
    exposed.sort_by(|one, other| one.path.cmp(&other.path));
    view.cover_temporary(policy.temporary.as_deref())?;
    for path in &policy.hidden {
        view.hide(path)?;
    }
    for part in &exposed {
        view.expose(part)?;
    }
    view.make_devices()?;
    view.make_processes()?;
    view.make_read_only()
}

/// Opens a path without reading it, to mount it elsewhere later.
fn open_path(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH.union(OFlags::CLOEXEC).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The name under which an open file can be mounted though its path is covered.
fn handle_name(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A path that stays what it is.
struct Exposed {
    path: PathBuf,
    handle: File,
    folder: bool,
    writable: bool,
}

impl Exposed {
    fn open(path: &Path, writable: bool) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let handle = open_path(&path)?;
        let folder = handle.metadata()?.is_dir();
        Ok(Self { path, handle, folder, writable })
    }
}

/// What has been decided so far: the mount points that are writable or not, of which the nearest
/// above a mount counts, and those that are covered by something of ours.
#[derive(Default)]
struct View {
    decided: Vec<(PathBuf, bool)>,
    covered: Vec<PathBuf>,
}

impl View {
    fn cover_temporary(&mut self, folder: Option<&Path>) -> Result<(), LaunchError> {
        let source = folder.map(open_path).transpose().step("open the temporary folder")?;
        for name in ["/tmp", "/var/tmp"] {
            let Ok(target) = fs::canonicalize(name) else {
                continue;
            };
            if self.covered.contains(&target) {
                continue; // one is a link to the other
            }
            match &source {
                Some(source) => mount_bind(handle_name(source), &target),
                None => mount("tmpfs", &target, "tmpfs", QUIET, c"mode=1777"),
            }
            .step(format!("mount a private {name}"))?;
            self.decided.push((target.clone(), true));
            self.covered.push(target);
        }
        Ok(())
    }

    fn hide(&mut self, path: &Path) -> Result<(), LaunchError> {
        // What cannot be reached needs no hiding.
        let Ok(path) = fs::canonicalize(path) else {
            return Ok(());
        };
        if path.is_dir() {
            mount("tmpfs", &path, "tmpfs", QUIET, c"mode=755,size=64k")
        } else {
            mount_bind("/dev/null", &path)
        }
        .step(format!("hide {}", path.display()))?;
        self.decided.push((path.clone(), false));
        self.covered.push(path);
        Ok(())
    }

    fn expose(&mut self, part: &Exposed) -> Result<(), LaunchError> {
        let path = &part.path;
        let is_covered = self.covered.iter().any(|cover| path.starts_with(cover));
        if is_covered {
            mount_point(path, part.folder).step(format!("make {}", path.display()))?;
        } else if !part.writable {
            return Ok(());
        }
        mount_bind_recursive(handle_name(&part.handle), path)
            .step(format!("mount {}", path.display()))?;
        self.decided.push((path.clone(), part.writable));
        Ok(())
    }

    /// A `/dev` with the harmless devices only: root outside could open a disk by its mode.
    fn make_devices(&mut self) -> Result<(), LaunchError> {
        let step = "make /dev";
        let devices = ["null", "zero", "full", "random", "urandom", "tty"];
        let opened = devices
            .map(|name| (name, open_path(&Path::new("/dev").join(name))))
            .map(|(name, file)| file.map(|file| (name, file)));
        mount("tmpfs", "/dev", "tmpfs", MountFlags::NOSUID, c"mode=755").step(step)?;
        for device in opened {
            let Ok((name, file)) = device else { continue };
            let target = Path::new("/dev").join(name);
            File::create(&target).step(step)?;
            mount_bind(handle_name(&file), &target).step(step)?;
            self.decided.push((target, true));
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            symlink(target, Path::new("/dev").join(name)).step(step)?;
        }
        fs::create_dir("/dev/pts").step(step)?;
        let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("devpts", "/dev/pts", "devpts", quiet, c"newinstance,ptmxmode=0666,mode=620")
            .step("mount /dev/pts")?;
        fs::create_dir("/dev/shm").step(step)?;
        mount("tmpfs", "/dev/shm", "tmpfs", QUIET, c"mode=1777").step("mount /dev/shm")?;
        self.decided.push(("/dev".into(), false));
        self.decided.push(("/dev/pts".into(), true));
        self.decided.push(("/dev/shm".into(), true));
        Ok(())
    }

    fn make_processes(&mut self) -> Result<(), LaunchError> {
        mount("proc", "/proc", "proc", QUIET | MountFlags::NOEXEC, None).step("mount /proc")?;
        self.decided.push(("/proc".into(), true));
        for path in MACHINE {
            if Path::new(path).exists() {
                mount_bind(path, path).step(format!("protect {path}"))?;
                self.decided.push((path.into(), false));
            }
        }
        Ok(())
    }

    fn is_writable(&self, mount_point: &Path) -> bool {
        self.decided
            .iter()
            .filter(|(path, _)| mount_point.starts_with(path))
            .max_by_key(|(path, _)| path.as_os_str().len())
            .is_some_and(|(_, writable)| *writable)
    }

    fn make_read_only(&self) -> Result<(), LaunchError> {
        let table = fs::read("/proc/self/mountinfo").step("read the mounts")?;
        for (path, flags) in mountinfo::parse(&table) {
            if self.is_writable(&path) {
                continue;
            }
            let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
            match mount_remount(&path, flags, "") {
                // A mount that is covered by a later one can be reached by nobody.
                Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
                // Not ours to see, so not ours to write to either.
                Err(rustix::io::Errno::ACCESS) if fs::symlink_metadata(&path).is_err() => {}
                Err(error) => {
                    return Err(error).step(format!("make {} read-only", path.display()));
                }
            }
        }
        Ok(())
    }
}

/// Makes the place on which something is mounted.
fn mount_point(path: &Path, folder: bool) -> io::Result<()> {
    if folder {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().create(true).append(true).open(path).map(drop)
}
