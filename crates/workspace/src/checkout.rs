//! Writing a commit's files into a folder of their own.

use std::path::Path;

use tokio::fs;

use crate::clone::{Workspace, configure};
use crate::error::{Doing as _, WorkspaceError};
use crate::git::{Git, ObjectId};
use crate::reap::Owner;
use crate::submodules;

/// Of a repository that programs of the agent may commit to.
const CONFIGURATION: &str =
    "[user]\n\tname = Journeyman\n\temail = journeyman@localhost\n[gc]\n\tauto = 0\n";

/// Writes the files of `commit` (a snapshot's, or the base) into the new folder `folder`: what a
/// verification looks at. Nothing ignored, no cache, byte for byte what the commit holds, with a
/// `.git` of its own whose head is the commit. What is in the folder already is removed.
///
/// # Errors
/// Git's and the system's.
pub async fn checkout(
    workspace: &Workspace,
    commit: &ObjectId,
    folder: &Path,
) -> Result<(), WorkspaceError> {
    remove_folder(folder).await?;
    // It borrows the objects of our repository, which is never pruned, and cannot be written to from the sandbox.
    init(commit, folder, workspace.owner()).await?;
    fill(&workspace.git_dir(), commit, folder, workspace.owner()).await?;
    submodules::write(&workspace.repository(), &workspace.modules_dir(), commit, folder).await
}

/// Makes `folder` with an empty repository, for commits like this one.
pub(crate) async fn init(
    commit: &ObjectId,
    folder: &Path,
    owner: Owner,
) -> Result<(), WorkspaceError> {
    fs::create_dir_all(folder).await.doing("make", folder)?;
    let format = format!("--object-format={}", commit.format());
    let git = Git::within(folder).of(owner);
    git.run(["init", "--quiet", "--template=", "--initial-branch=main", &format]).await?;
    Ok(())
}

/// Has the empty repository in `folder` borrow the objects of `git_dir`, and writes the files.
pub(crate) async fn fill(
    git_dir: &Path,
    commit: &ObjectId,
    folder: &Path,
    owner: Owner,
) -> Result<(), WorkspaceError> {
    borrow(git_dir, commit, folder).await?;
    let git = Git::on(git_dir).of(owner).files(folder, &folder.join(".git/index"));
    git.run(["read-tree", "--reset", "-u", commit.as_str()]).await?;
    Ok(())
}

/// Makes the folder's own repository, with the branches and tags of ours and a detached head.
pub(crate) async fn make_repository(
    git_dir: &Path,
    commit: &ObjectId,
    folder: &Path,
    owner: Owner,
) -> Result<(), WorkspaceError> {
    init(commit, folder, owner).await?;
    borrow(git_dir, commit, folder).await
}

async fn borrow(git_dir: &Path, commit: &ObjectId, folder: &Path) -> Result<(), WorkspaceError> {
    let dot_git = folder.join(".git");
    let write = async |name: &str, text: Vec<u8>| {
        let path = dot_git.join(name);
        fs::write(&path, text).await.doing("write", &path)
    };
    let mut objects = git_dir.join("objects").into_os_string().into_encoded_bytes();
    objects.push(b'\n');
    let info = dot_git.join("objects/info");
    fs::create_dir_all(&info).await.doing("make", &info)?;
    write("objects/info/alternates", objects).await?;
    write("HEAD", format!("{commit}\n").into_bytes()).await?;
    let info = dot_git.join("info");
    fs::create_dir_all(&info).await.doing("make", &info)?;
    for name in ["packed-refs", "shallow", "info/exclude"] {
        if let Ok(text) = fs::read(git_dir.join(name)).await {
            write(name, text).await?;
        }
    }
    configure(&dot_git.join("config"), CONFIGURATION).await
}

/// Removes a folder with all that is in it, also where a program took our rights away from a
/// folder of ours; one that does not exist is fine.
pub(crate) async fn remove_folder(folder: &Path) -> Result<(), WorkspaceError> {
    let owned = folder.to_owned();
    let removed = tokio::task::spawn_blocking(move || {
        match std::fs::remove_dir_all(&owned) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
                return Err(error);
            }
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
        unlock(&owned);
        std::fs::remove_dir_all(&owned)
    });
    removed.await.map_err(std::io::Error::other).and_then(|result| result).doing("remove", folder)
}

/// Gives us back the right to change every folder below.
pub(crate) fn unlock(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    // What fails here shows in the operation that is tried again afterwards.
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unlock(&entry.path());
        }
    }
}
