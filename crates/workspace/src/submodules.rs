//! The files of submodules: there for reading and building, never part of a change.

use std::path::Path;

use tokio::fs;

use crate::error::{Doing as _, WorkspaceError};
use crate::git::{Git, ObjectId};
use crate::reap::Owner;
use crate::repository::{Gitlink, gitlinks};

/// Copies the repositories of all submodules of `commit`, nested ones too, from the user's
/// working tree `source` into `modules`.
pub(crate) async fn copy(
    git: &Git,
    commit: &ObjectId,
    source: &Path,
    modules: &Path,
    owner: Owner,
) -> Result<(), WorkspaceError> {
    for link in gitlinks(git, commit).await? {
        let from = source.join(&link.path);
        if !from.join(".git").exists() {
            return Err(WorkspaceError::SubmoduleMissing(from));
        }
        let module = module_dir(modules, &link);
        fs::create_dir_all(&module).await.doing("make", &module)?;
        crate::clone::copy_repository(&from, &module, owner).await?;
        let own = git.beside(&module);
        let name = format!("{}^{{commit}}", link.commit);
        if own.run(["cat-file", "-e", &name]).await.is_err() {
            return Err(WorkspaceError::SubmoduleMissing(from));
        }
        Box::pin(copy(&own, &link.commit, &from, &module.join("modules"), owner)).await?;
    }
    Ok(())
}

/// Writes the files of all submodules of `commit` into the working tree `folder`.
pub(crate) async fn write(
    git: &Git,
    modules: &Path,
    commit: &ObjectId,
    folder: &Path,
) -> Result<(), WorkspaceError> {
    for link in gitlinks(git, commit).await? {
        let module = module_dir(modules, &link);
        let own = git.beside(&module);
        let target = folder.join(&link.path);
        fs::create_dir_all(&target).await.doing("make", &target)?;
        let files = own.clone().files(&target, &module.join("checkout-index"));
        files.run(["read-tree", "--empty"]).await?;
        files.run(["read-tree", "--reset", "-u", link.commit.as_str()]).await?;
        Box::pin(write(&own, &module.join("modules"), &link.commit, &target)).await?;
    }
    Ok(())
}

/// One folder for each commit of a path, named so that no two paths meet.
fn module_dir(modules: &Path, link: &Gitlink) -> std::path::PathBuf {
    modules.join(&link.path).join(".module")
}
