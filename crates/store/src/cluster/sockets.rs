//! The folder of the server's Unix socket: short, private, and ours.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};

use super::error::{ClusterError, at};
use super::identity::Identity;

/// Only names the socket's file: the server has no TCP.
pub(super) const PORT: u16 = 5432;
/// Length of `sun_path` without its end.
pub(super) const PATH_BYTES_MAX: usize = 107;

/// Makes the folder for the sockets of the cluster in `folder`.
///
/// `runtime` is the user's runtime folder (`XDG_RUNTIME_DIR`). It is passed over for one below
/// `/tmp` where it is too long, not ours, or cannot be entered by the account that the server runs
/// under.
pub(super) fn prepare(
    runtime: Option<&Path>,
    folder: &Path,
    identity: &Identity,
) -> Result<PathBuf, ClusterError> {
    let own_id = geteuid().as_raw();
    let name = Sha256::digest(folder.as_os_str().as_bytes()).iter().take(8).fold(
        String::new(),
        |mut name, byte| {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
            name
        },
    );
    let preferred = runtime
        .filter(|runtime| {
            !identity.is_other() && fs::metadata(runtime).is_ok_and(|found| found.uid() == own_id)
        })
        .map(|runtime| runtime.join("journeyman"))
        .filter(|base| fits(&base.join(&name)));
    if let Some(base) = preferred
        && private_folder(&base, own_id, 0o700).is_ok()
    {
        return leaf(&base.join(&name), identity);
    }
    let base = PathBuf::from(format!("/tmp/journeyman-{own_id}"));
    private_folder(&base, own_id, if identity.is_other() { 0o711 } else { 0o700 })?;
    let path = base.join(&name);
    if !fits(&path) {
        return Err(ClusterError::SocketPathTooLong { path });
    }
    leaf(&path, identity)
}

/// The files that the server leaves in its folder when it is killed.
pub(super) fn remove_leftovers(sockets: &Path) -> Result<(), ClusterError> {
    for name in [format!(".s.PGSQL.{PORT}"), format!(".s.PGSQL.{PORT}.lock")] {
        let path = sockets.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn fits(sockets: &Path) -> bool {
    sockets.join(format!(".s.PGSQL.{PORT}")).as_os_str().len() <= PATH_BYTES_MAX
}

/// A cluster's own folder. It lies in one that only we can write to, so nobody else can have made
/// it.
fn leaf(path: &Path, identity: &Identity) -> Result<PathBuf, ClusterError> {
    if !path.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(path).map_err(at(path))?;
    }
    identity.own(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(at(path))?;
    Ok(path.to_owned())
}

/// Makes a folder of ours, and refuses a link or a folder that somebody else laid there before us.
fn private_folder(path: &Path, own_id: u32, mode: u32) -> Result<(), ClusterError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(path)(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(at(path))?;
    if !found.is_dir() {
        return Err(at(path)(io::ErrorKind::NotADirectory.into()));
    }
    if found.uid() != own_id {
        return Err(ClusterError::ForeignFolder { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("jm-sockets-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        path
    }

    #[test]
    fn a_runtime_folder_whose_path_is_too_long_is_passed_over() {
        let runtime = scratch(&"long".repeat(20));
        let found =
            prepare(Some(&runtime), Path::new("/x/postgres-15"), &Identity::Myself).unwrap();
        fs::remove_dir_all(&runtime).unwrap();
        assert!(found.starts_with("/tmp") && fits(&found), "{found:?}");
        fs::remove_dir(found).unwrap();
    }

    #[test]
    fn two_clusters_have_two_folders_and_each_is_private() {
        let runtime = scratch("two");
        let [one, two] = ["/x/postgres-15", "/y/postgres-15"]
            .map(|p| prepare(Some(&runtime), Path::new(p), &Identity::Myself).unwrap());
        assert_ne!(one, two);
        fs::set_permissions(&one, fs::Permissions::from_mode(0o755)).unwrap();
        prepare(Some(&runtime), Path::new("/x/postgres-15"), &Identity::Myself).unwrap();
        assert_eq!(fs::metadata(&one).unwrap().mode() & 0o777, 0o700);
        fs::remove_dir_all(runtime).unwrap();
    }

    #[test]
    fn a_link_or_a_folder_of_somebody_else_is_refused() {
        let parent = scratch("foreign");
        std::os::unix::fs::symlink("/", parent.join("link")).unwrap();
        assert!(matches!(
            private_folder(&parent.join("link"), geteuid().as_raw(), 0o700),
            Err(ClusterError::File { .. })
        ));
        let stranger = geteuid().as_raw() + 1;
        let found = private_folder(&parent, stranger, 0o700);
        fs::remove_dir_all(&parent).unwrap();
        assert!(matches!(found, Err(ClusterError::ForeignFolder { .. })), "{found:?}");
    }
}
