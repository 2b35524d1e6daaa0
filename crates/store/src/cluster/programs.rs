//! Finds PostgreSQL's server programs on this machine.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::ClusterError;
use super::folder::Folder;

/// The oldest major version that the schema is tested with.
pub(super) const OLDEST: u32 = 15;

/// Where packages put them: `<parent>/<prefix><version>/<below>`. Debian, RPM, Alpine, Homebrew.
const PACKAGED: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
];

/// Server programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    /// The folder that holds `postgres` and `initdb`.
    pub(super) bin: PathBuf,
    pub(super) major: u32,
}

/// Finds the programs: those of the version that made `existing`, where there is a cluster already.
pub(super) fn find(
    setting: Option<&Path>,
    data_dir: &Path,
    existing: Option<&Folder>,
) -> Result<Programs, ClusterError> {
    let existing = existing.filter(|folder| folder.has_data());
    let suits = |found: &Programs| existing.is_none_or(|folder| folder.major() == found.major);
    let found = match setting {
        Some(bin) => Some(Programs::at(bin)?).filter(suits),
        None => candidates(data_dir).find_map(|bin| Programs::at(&bin).ok().filter(suits)),
    };
    match (found, existing) {
        (Some(found), _) => Ok(found),
        (None, Some(folder)) => Err(ClusterError::MajorMissing {
            folder: folder.path().to_owned(),
            major: folder.major(),
        }),
        (None, None) => Err(ClusterError::ProgramsMissing),
    }
}

impl Programs {
    /// The programs in a folder.
    pub(super) fn at(bin: &Path) -> Result<Self, ClusterError> {
        let unusable = |source| ClusterError::ProgramsUnusable { bin: bin.to_owned(), source };
        let version = Command::new(bin.join("postgres"))
            .arg("--version")
            .output()
            .map_err(|e| unusable(Some(e)))?;
        let major =
            major_in(&String::from_utf8_lossy(&version.stdout)).filter(|major| *major >= OLDEST);
        match major {
            Some(major) if bin.join("initdb").is_file() => Ok(Self { bin: bin.to_owned(), major }),
            _ => Err(unusable(None)),
        }
    }
}

/// Reads `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `… 18beta1`.
fn major_in(version: &str) -> Option<u32> {
    let number = version.split("(PostgreSQL) ").nth(1)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// All folders that may hold the programs, the preferred ones first; each looked for only when it
/// is asked for.
fn candidates(data_dir: &Path) -> impl Iterator<Item = PathBuf> {
    let pg_config = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        let mut bytes = output.stdout;
        bytes.truncate(bytes.trim_ascii_end().len());
        Some(PathBuf::from(OsString::from_vec(bytes)))
    };
    let in_path = || {
        env::var_os("PATH")
            .map(|path| env::split_paths(&path).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let own = data_dir.join("programs/postgres");
    let installed = PACKAGED
        .iter()
        .flat_map(|(parent, prefix, below)| newest_first(Path::new(parent), prefix, below));
    std::iter::once_with(pg_config)
        .flatten()
        .chain(installed)
        .chain(std::iter::once_with(in_path).flatten())
        .chain(std::iter::once_with(move || newest_first(&own, "", "bin")).flatten())
        .filter(|bin| bin.join("postgres").is_file())
}

/// `<parent>/<prefix><version>/<below>` for all versions, the highest first.
pub(super) fn newest_first(parent: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let entries: io::Result<Vec<_>> = fs::read_dir(parent).and_then(Iterator::collect);
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .unwrap_or_default()
        .into_iter()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?;
            let numbers =
                version.split(['.', '-']).map_while(|part| part.parse().ok()).collect::<Vec<u32>>();
            (!numbers.is_empty()).then(|| (numbers, entry.path().join(below)))
        })
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_vendor_s_words() {
        assert_eq!(major_in("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major_in("postgres (PostgreSQL) 19devel\n"), Some(19));
        assert_eq!(major_in("bash: no such program"), None);
    }

    #[test]
    fn the_highest_version_comes_first_by_number_not_by_letter() {
        let parent = env::temp_dir().join(format!("journeyman-programs-{}", std::process::id()));
        for name in ["9.6", "15", "100", "16.3-1", "main"] {
            fs::create_dir_all(parent.join(name)).unwrap();
        }
        let found = newest_first(&parent, "", "bin");
        fs::remove_dir_all(&parent).unwrap();
        assert_eq!(found, ["100", "16.3-1", "15", "9.6"].map(|name| parent.join(name).join("bin")));
    }
}
