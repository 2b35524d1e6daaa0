//! The run's own clone.

use std::path::{Path, PathBuf};

use journeyman_domain::ids::RunId;
use journeyman_faults::{around, points};
use journeyman_launcher::{Policy, ResourceLimits};
use serde::{Deserialize, Serialize};
use tokio::fs;

use crate::checkout::{fill, init, remove_folder};
use crate::error::{Doing as _, WorkspaceError};
use crate::git::{Git, ObjectId};
use crate::locks;
use crate::reap::Owner;
use crate::repository::gitlinks;
use crate::snapshot::Snapshot;
use crate::sound::is_real_folder;
use crate::submodules;

/// Written last: a folder without it was not completed.
const MANIFEST: &str = "workspace.json";

/// Byte for byte: no line ending, keyword, filter or encoding is ever converted, whatever the
/// repository's (or the agent's) `.gitattributes` say.
const ATTRIBUTES: &str = "* -text -eol -ident -filter -working-tree-encoding\n";

/// The files are taken as they are, and no name is refused that Linux can have.
const CONFIGURATION: &str = "[core]\n\tfileMode = true\n\tsymlinks = true\n\tautocrlf = false\n\
    \tprotectNTFS = false\n\tprotectHFS = false\n";

/// A run's own clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    folder: PathBuf,
    owner: Owner,
    manifest: Manifest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    base: ObjectId,
    base_tree: ObjectId,
    submodules: Vec<PathBuf>,
}

impl Workspace {
    /// The agent's files.
    pub fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// What appears as `/tmp` to the agent.
    pub fn temporary(&self) -> PathBuf {
        self.folder.join("temporary")
    }

    /// Our own repository; the agent can read it.
    pub fn git_dir(&self) -> PathBuf {
        self.folder.join("git")
    }

    /// The folder of it all.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The run that it belongs to.
    pub fn run(&self) -> RunId {
        self.owner.run
    }

    /// The state at the start, as the first snapshot's predecessor.
    pub fn base(&self) -> Snapshot {
        Snapshot {
            tree: self.manifest.base_tree.clone(),
            commit: self.manifest.base.clone(),
            changed: false,
            pack: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// The sandbox's policy for a program that may change the workspace and nothing else.
    pub fn policy(&self, namespaces: bool, network: bool) -> Policy {
        Policy {
            namespaces,
            network,
            cwd: self.tree(),
            writable: vec![self.tree()],
            readable: vec![self.git_dir()],
            hidden: Vec::new(),
            temporary: Some(self.temporary()),
            limits: ResourceLimits::default(),
        }
    }

    pub(crate) fn modules_dir(&self) -> PathBuf {
        self.git_dir().join("modules")
    }

    pub(crate) fn submodules(&self) -> &[PathBuf] {
        &self.manifest.submodules
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Our repository by itself.
    pub(crate) fn repository(&self) -> Git {
        Git::on(&self.git_dir()).of(self.owner)
    }

    /// Our repository, looking at the agent's files.
    pub(crate) fn git(&self) -> Git {
        // Our index is not hashed at each write: it can be made anew from any snapshot.
        self.repository().files(&self.tree(), &self.index()).configured("index.skipHash", "true")
    }
}

/// Where the files of a workspace in `folder` will be; the folder is made.
///
/// # Errors
/// The system's.
pub async fn tree_in(folder: &Path) -> Result<PathBuf, WorkspaceError> {
    fs::create_dir_all(folder).await.doing("make", folder)?;
    let folder = fs::canonicalize(folder).await.doing("find", folder)?;
    Ok(folder.join("tree"))
}

/// Makes the workspace of the owner's run in `folder`, from the commit `base` of the user's repository.
///
/// It shares nothing that the user's repository could lose: its objects are hard-linked where
/// the file system allows, else copied, and only into our own repository. Remotes are removed.
/// A complete workspace of the same base is opened, its temporary folder emptied; anything else in
/// the folder is removed. No process of the run may be at work meanwhile.
///
/// # Errors
/// [`WorkspaceError::SubmoduleMissing`], git's and the system's.
pub async fn create(
    repository: &Path,
    base: &ObjectId,
    owner: Owner,
    folder: &Path,
) -> Result<Workspace, WorkspaceError> {
    if let Ok(workspace) = open(owner, folder).await
        && workspace.manifest.base == *base
    {
        // Of an earlier life; what its programs left there is no state that a run may rely on.
        locks::clear(&workspace.git_dir()).await?;
        empty(&workspace.temporary()).await?;
        return Ok(workspace);
    }
    remove_folder(folder).await?;
    fs::create_dir_all(folder).await.doing("make", folder)?;
    let folder = fs::canonicalize(folder).await.doing("find", folder)?;
    let git_dir = folder.join("git");
    fs::create_dir(folder.join("temporary")).await.doing("make", &folder)?;
    fs::create_dir(&git_dir).await.doing("make", &git_dir)?;
    let tree = folder.join("tree");
    // A run's start waits for these: what can go on at once does.
    tokio::try_join!(copy_repository(repository, &git_dir, owner), init(base, &tree, owner))?;
    exclude_litter(&git_dir, "").await?;
    let git = Git::on(&git_dir).of(owner);
    let name = format!("{base}^{{commit}}^{{tree}}");
    let (base_tree, links, filled) = tokio::join!(
        git.object(["rev-parse", "--verify", &name]),
        gitlinks(&git, base),
        fill(&git_dir, base, &tree, owner),
    );
    let Ok(base_tree) = base_tree else {
        return Err(WorkspaceError::NoSuchRevision {
            revision: base.to_string(),
            repository: repository.into(),
        });
    };
    filled?;
    let submodules: Vec<_> = links?.into_iter().map(|link| link.path).collect();
    let manifest = Manifest { base: base.clone(), base_tree, submodules };
    let workspace = Workspace { folder, owner, manifest };
    if !workspace.submodules().is_empty() {
        let modules = workspace.modules_dir();
        submodules::copy(&git, base, repository, &modules, owner).await?;
        submodules::write(&git, &modules, base, &tree).await?;
    }
    let index = workspace.index();
    fs::copy(workspace.tree().join(".git/index"), &index).await.doing("write", &index)?;
    let manifest = serde_json::to_vec(&workspace.manifest).map_err(std::io::Error::other);
    let path = workspace.folder.join(MANIFEST);
    let manifest = manifest.doing("write", &path)?;
    fs::write(&path, manifest).await.doing("write", &path)?;
    Ok(workspace)
}

/// What tools leave behind wherever they run. It is never a part of a change, also where the
/// repository's own `.gitignore` lacks it; tracked files of such names are not concerned.
const LITTER: &str = "__pycache__/\n*.py[co]\n.pytest_cache/\n.mypy_cache/\n.ruff_cache/\n\
    .venv/\n.venv\n.tox/\nnode_modules/\nnode_modules\n.DS_Store\n";

async fn exclude_litter(git_dir: &Path, also: &str) -> Result<(), WorkspaceError> {
    let info = git_dir.join("info");
    fs::create_dir_all(&info).await.doing("make", &info)?;
    let path = info.join("exclude");
    fs::write(&path, format!("{LITTER}{also}")).await.doing("write", &path)
}

/// Keeps these paths out of snapshots, whatever stands there: a repository's own rule mostly ends
/// with a slash, and so does not concern a link to a folder. Tracked files are not concerned.
///
/// # Errors
/// The system's.
pub async fn exclude(workspace: &Workspace, names: &[String]) -> Result<(), WorkspaceError> {
    let mut rules = String::new();
    for name in names {
        rules.push('/');
        for character in name.chars() {
            if matches!(character, '\\' | '*' | '?' | '[' | ' ') {
                rules.push('\\');
            }
            // No rule can hold a line's end; any one character is near enough.
            rules.push(if character == '\n' { '?' } else { character });
        }
        rules.push('\n');
    }
    exclude_litter(&workspace.git_dir(), &rules).await
}

/// Makes the folder an empty one, whatever is there.
///
/// # Errors
/// The system's.
pub async fn empty(folder: &Path) -> Result<(), WorkspaceError> {
    remove_folder(folder).await?;
    fs::create_dir(folder).await.doing("make", folder)
}

/// Opens a workspace that was made before.
///
/// # Errors
/// [`WorkspaceError::Incomplete`].
pub async fn open(owner: Owner, folder: &Path) -> Result<Workspace, WorkspaceError> {
    let incomplete = || WorkspaceError::Incomplete(folder.into());
    // A link that somebody put there may lead to files of the user's, which a restore would remove.
    for part in ["", "tree", "git", "temporary"] {
        if !is_real_folder(&folder.join(part)).await {
            return Err(incomplete());
        }
    }
    let folder_found = fs::canonicalize(folder).await.map_err(|_| incomplete())?;
    let manifest = fs::read(folder_found.join(MANIFEST)).await.map_err(|_| incomplete())?;
    let manifest = serde_json::from_slice(&manifest).map_err(|_| incomplete())?;
    Ok(Workspace { folder: folder_found, owner, manifest })
}

/// Removes the folder of a workspace, complete or not; none is no error.
///
/// # Errors
/// The system's.
pub async fn discard(folder: &Path) -> Result<(), WorkspaceError> {
    // First, so that a half-removed folder is never opened again.
    let manifest = folder.join(MANIFEST);
    match around(points::DISCARD, fs::remove_file(&manifest)).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing("remove", &manifest)?;
        }
        Ok(()) | Err(_) => {}
    }
    remove_folder(folder).await
}

/// Adds to the configuration of a new repository, and takes out the remote that a clone has. What
/// stands last counts. A file needs no process of git, of which a run's start has few to spare.
pub(crate) async fn configure(file: &Path, text: &str) -> Result<(), WorkspaceError> {
    let found = fs::read(file).await.doing("read", file)?;
    let mut kept = Vec::with_capacity(found.len() + text.len());
    let mut is_remote = false;
    // As git writes it: a section's name at the start of a line, no value over several.
    for line in found.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"[") {
            is_remote = line.starts_with(b"[remote ");
        }
        if !is_remote {
            kept.extend_from_slice(line);
        }
    }
    kept.extend_from_slice(text.as_bytes());
    fs::write(file, kept).await.doing("write", file)
}

/// Makes the existing, empty folder `target` a bare copy of the repository, which needs nothing
/// of its source any more.
pub(crate) async fn copy_repository(
    source: &Path,
    target: &Path,
    owner: Owner,
) -> Result<(), WorkspaceError> {
    // The source is served by a git of its own, which takes its trust from a file only.
    let trust = target.with_extension("trust");
    fs::write(&trust, "[safe]\n\tdirectory = *\n").await.doing("write", &trust)?;
    let git = Git::within(target).with("GIT_CONFIG_GLOBAL", &trust).of(owner);
    let source = source.as_os_str();
    // Objects that the source itself borrows are copied (`--dissociate`).
    let options = ["clone", "--quiet", "--bare", "--dissociate", "--template=", "--"];
    let local = options.iter().map(AsRef::as_ref).chain([source, ".".as_ref()]);
    git.run(local).await?;
    fs::remove_file(&trust).await.doing("remove", &trust)?;
    keep_bytes(target).await
}

/// Has a bare repository of ours write and read files as they are.
pub(crate) async fn keep_bytes(git_dir: &Path) -> Result<(), WorkspaceError> {
    configure(&git_dir.join("config"), CONFIGURATION).await?;
    let info = git_dir.join("info");
    fs::create_dir_all(&info).await.doing("make", &info)?;
    fs::write(info.join("attributes"), ATTRIBUTES).await.doing("write", &info)
}

/// Looks whether the repository has the commit.
pub(crate) async fn has_commit(repository: &Path, base: &ObjectId) -> Result<(), WorkspaceError> {
    let name = format!("{base}^{{tree}}");
    match Git::within(repository).run(["cat-file", "-e", &name]).await {
        Ok(_) => Ok(()),
        Err(_) => Err(WorkspaceError::NoSuchRevision {
            revision: base.to_string(),
            repository: repository.into(),
        }),
    }
}
