//! Where the files of a cluster lie: the only place that knows their names.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::error::{ClusterError, at};
use super::lock;

const PREFIX: &str = "postgres-";

/// `<data>/postgres-<major>`: one cluster.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    major: u32,
}

impl Folder {
    /// The folder of a major version; made where it is missing.
    pub(super) fn make(data_dir: &Path, major: u32) -> Result<Self, ClusterError> {
        let wanted = data_dir.join(format!("{PREFIX}{major}"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&wanted).map_err(at(&wanted))?;
        let folder = Self::at(&wanted)?;
        let owner = fs::metadata(&folder.path).map_err(at(&folder.path))?.uid();
        // Root would make the files its own, and the user could not start the server any more.
        if owner != geteuid().as_raw() {
            return Err(ClusterError::ForeignFolder { path: folder.path, owner });
        }
        Ok(folder)
    }

    /// A folder that is there.
    pub(super) fn at(path: &Path) -> Result<Self, ClusterError> {
        // The server's working folder is compared with this path, so it must not contain links.
        let path = path.canonicalize().map_err(at(path))?;
        let major = path
            .file_name()
            .and_then(|name| major_of(name.to_str()?))
            .ok_or(ClusterError::Arguments)?;
        Ok(Self { path, major })
    }

    /// The folder of the newest version that holds a cluster, or is just being filled with one.
    pub(super) fn newest(data_dir: &Path) -> Result<Option<Self>, ClusterError> {
        let entries = match fs::read_dir(data_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(at(data_dir))?,
        };
        let newest = entries
            .flatten()
            .filter_map(|entry| Some((major_of(entry.file_name().to_str()?)?, entry.path())))
            .filter_map(|(major, path)| Some(Self { path: path.canonicalize().ok()?, major }))
            .filter(|folder| {
                folder.has_data() || lock::is_held(&folder.keeper_lock()).unwrap_or(false)
            })
            .max_by_key(|folder| folder.major);
        Ok(newest)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn major(&self) -> u32 {
        self.major
    }

    /// The server's own folder (`PGDATA`).
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn has_data(&self) -> bool {
        self.data().join("PG_VERSION").exists()
    }

    pub(super) fn users_lock(&self) -> PathBuf {
        self.path.join("users.lock")
    }

    pub(super) fn keeper_lock(&self) -> PathBuf {
        self.path.join("keeper.lock")
    }

    pub(super) fn start_lock(&self) -> PathBuf {
        self.path.join("start.lock")
    }

    /// What the keeper and `initdb` said in their present life.
    pub(super) fn keeper_log(&self) -> PathBuf {
        self.path.join("keeper.log")
    }

    pub(super) fn server_log(&self) -> PathBuf {
        self.path.join("server.log")
    }
}

fn major_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok()
}
