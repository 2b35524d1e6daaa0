//! The states of a run that was recorded: rebuilt from the base commit and the packs alone, also when the run's own
//! folder is long gone. Only looked at; nothing here changes the user's repository.

use std::path::{Path, PathBuf};

use journeyman_domain::ids::RunId;
use tokio::fs;

use crate::checkout::remove_folder;
use crate::clone::{has_commit, keep_bytes};
use crate::error::{Doing as _, WorkspaceError};
use crate::git::{Git, ObjectId};
use crate::snapshot::{StoredSnapshot, diff_of, import_into};

/// A run's recorded states, in a folder of their own that borrows the objects of the user's repository.
#[derive(Debug)]
pub struct Recorded {
    git_dir: PathBuf,
}

impl Recorded {
    /// Rebuilds them in the new folder `folder`; `snapshots` are the oldest first.
    ///
    /// # Errors
    /// [`WorkspaceError::NoSuchRevision`] where the repository has the base no more; git's, as where a pack
    /// does not follow the ones before.
    pub async fn rebuild(
        repository: &Path,
        base: &ObjectId,
        run: RunId,
        snapshots: &[StoredSnapshot],
        folder: &Path,
    ) -> Result<Self, WorkspaceError> {
        has_commit(repository, base).await?;
        fs::create_dir_all(folder).await.doing("make", folder)?;
        let git_dir = fs::canonicalize(folder).await.doing("find", folder)?;
        let format = format!("--object-format={}", base.format());
        let within = Git::within(&git_dir);
        within.run(["init", "--quiet", "--bare", "--template=", &format]).await?;
        keep_bytes(&git_dir).await?;
        let objects = Git::within(repository)
            .line(["rev-parse", "--path-format=absolute", "--git-path", "objects"])
            .await?;
        let info = git_dir.join("objects/info");
        fs::create_dir_all(&info).await.doing("make", &info)?;
        let alternates = info.join("alternates");
        fs::write(&alternates, format!("{objects}\n")).await.doing("write", &alternates)?;
        import_into(&Git::on(&git_dir), run, snapshots).await?;
        Ok(Self { git_dir })
    }

    /// The difference between two of them, as [`crate::diff`] gives it.
    ///
    /// # Errors
    /// Git's.
    pub async fn diff(&self, from: &ObjectId, to: &ObjectId) -> Result<Vec<u8>, WorkspaceError> {
        diff_of(&Git::on(&self.git_dir), from, to).await
    }

    /// Writes the files of one into a new folder: all of them, with their modes, and nothing else. A submodule is an
    /// empty folder. The tree that it is.
    ///
    /// # Errors
    /// [`WorkspaceError::NotEmpty`] where something is there; git's and the system's.
    pub async fn write(&self, commit: &ObjectId, to: &Path) -> Result<ObjectId, WorkspaceError> {
        match fs::create_dir(to).await {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => is_free(to).await?,
            made => made.doing("make", to)?,
        }
        let to = fs::canonicalize(to).await.doing("find", to)?;
        let git = Git::on(&self.git_dir).files(&to, &self.git_dir.join("index"));
        git.run(["read-tree", "--reset", "-u", commit.as_str()]).await?;
        Ok(git.object(["write-tree"]).await?)
    }

    /// Removes the folder.
    ///
    /// # Errors
    /// The system's.
    pub async fn remove(self) -> Result<(), WorkspaceError> {
        remove_folder(&self.git_dir).await
    }
}

/// Whether a folder may be filled: it is one itself, and empty.
async fn is_free(folder: &Path) -> Result<(), WorkspaceError> {
    let taken = || WorkspaceError::NotEmpty(folder.into());
    let found = fs::symlink_metadata(folder).await.doing("look at", folder)?;
    if !found.is_dir() {
        return Err(taken());
    }
    let mut entries = fs::read_dir(folder).await.doing("look through", folder)?;
    match entries.next_entry().await.doing("look through", folder)? {
        Some(_) => Err(taken()),
        None => Ok(()),
    }
}
