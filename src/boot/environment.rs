//! The environment that children get, and what of the user's own they reach: an allow-list of this
//! process's variables, the caches of package managers, never a socket of an agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Variables of tool chains that checks need to find their tools and caches.
const TOOLS: [&str; 14] = [
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "GOPATH",
    "GOROOT",
    "GOMODCACHE",
    "GOPROXY",
    "JAVA_HOME",
    "NVM_DIR",
    "VOLTA_HOME",
    "PYENV_ROOT",
    "UV_CACHE_DIR",
    "npm_config_cache",
    "PIP_INDEX_URL",
];

/// What children get.
pub(super) fn allowed() -> BTreeMap<String, String> {
    let base = journeyman_workspace::process::allowed_environment(std::env::vars_os());
    let tools = TOOLS.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
    base.into_iter()
        .chain(tools)
        .filter_map(|(name, value)| {
            Some((name.into_string().ok()?, without_user(&value.into_string().ok()?)))
        })
        .collect()
}

/// Addresses without the user and the token before the host; `GOPROXY` has several of them.
fn without_user(value: &str) -> String {
    let address = |part: &str| {
        let Some((scheme, rest)) = part.split_once("://") else { return part.to_owned() };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // A token may itself have an `@`.
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        format!("{scheme}://{host}{path}")
    };
    value.split_inclusive([',', '|']).map(address).collect()
}

/// Where the agents and buses of the user listen, by the variables that say so: whole folders, but
/// for those in which there is more than sockets.
pub(super) fn sockets(home: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let home = real(home);
    let is_own = |folder: &Path| {
        let folder = real(folder);
        folder.parent().is_some_and(|above| above != Path::new("/")) && !home.starts_with(folder)
    };
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| is_own(path));
    let agent = variable("SSH_AUTH_SOCK").map(PathBuf::from).map(|socket| match socket.parent() {
        Some(folder) if is_own(folder) => folder.to_owned(),
        Some(_) | None => socket,
    });
    let others = ["DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST"].iter().filter_map(|name| {
        let value = variable(name)?.into_string().ok()?;
        let path = value.strip_prefix("unix:path=").or_else(|| value.strip_prefix("unix://"))?;
        Some(PathBuf::from(path.split(',').next()?))
    });
    let all = runtime.into_iter().chain(agent).chain(others);
    all.filter(|path| path.is_absolute()).collect()
}

/// The caches of one package manager, and of nothing from which a program is run or that configures
/// one: a command that fetches may write them, and what it writes there stays.
struct Cache {
    program: &'static str,
    /// The variable that names the folder of all, and where it is in the home otherwise.
    home: (&'static str, &'static str),
    folders: &'static [&'static str],
    files: &'static [&'static str],
}

const CACHES: [Cache; 9] = [
    Cache {
        program: "cargo",
        home: ("CARGO_HOME", ".cargo"),
        folders: &["registry", "git"],
        files: &[".package-cache", ".package-cache-mutate"],
    },
    Cache { program: "go", home: ("GOPATH", "go"), folders: &["pkg/mod", "pkg/sumdb"], files: &[] },
    Cache { program: "go", home: ("GOMODCACHE", "go/pkg/mod"), folders: &[""], files: &[] },
    Cache {
        program: "npm",
        home: ("npm_config_cache", ".npm"),
        folders: &["_cacache"],
        files: &[],
    },
    Cache {
        program: "pnpm",
        home: ("", ""),
        folders: &[".local/share/pnpm/store", ".cache/pnpm"],
        files: &[],
    },
    Cache {
        program: "yarn",
        home: ("", ""),
        folders: &[".cache/yarn", ".yarn/berry/cache"],
        files: &[],
    },
    Cache { program: "python3", home: ("", ".cache/pip"), folders: &[""], files: &[] },
    Cache { program: "uv", home: ("UV_CACHE_DIR", ".cache/uv"), folders: &[""], files: &[] },
    Cache {
        program: "poetry",
        home: ("", ".cache/pypoetry"),
        folders: &["cache", "artifacts"],
        files: &[],
    },
];

/// What commands that fetch dependencies may write; made where the package manager is installed.
pub(super) fn caches() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs: Vec<_> = std::env::split_paths(&path).collect();
    let is_there =
        |cache: &&Cache| programs.iter().any(|folder| folder.join(cache.program).is_file());
    CACHES
        .iter()
        .filter(is_there)
        .flat_map(|cache| cache.paths(&home, |name| std::env::var_os(name)))
        .collect()
}

impl Cache {
    /// Those of its paths that exist or could be made.
    fn paths(&self, home: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
        // GOPATH may name several folders, of which the first one counts.
        let set = variable(self.home.0).filter(|value| !value.is_empty());
        let set = set.and_then(|value| std::env::split_paths(&value).next());
        let whole = set.unwrap_or_else(|| home.join(self.home.1));
        if !whole.is_absolute() {
            return Vec::new();
        }
        let folders = self.folders.iter().map(|name| whole.join(name));
        let folders: Vec<_> = folders.filter(|path| fs::create_dir_all(path).is_ok()).collect();
        let file = |path: &PathBuf| {
            fs::File::options().create(true).append(true).open(path).is_ok_and(|_| path.is_file())
        };
        folders
            .into_iter()
            .chain(self.files.iter().map(|name| whole.join(name)).filter(file))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_reaches_a_child() {
        for (given, expected) in [
            ("https://user:p@ss@pypi.example/simple", "https://pypi.example/simple"),
            ("https://pypi.example/a@b", "https://pypi.example/a@b"),
            (
                "https://t@one.example,https://two.example|direct",
                "https://one.example,https://two.example|direct",
            ),
            ("/usr/bin:/bin", "/usr/bin:/bin"),
        ] {
            assert_eq!(without_user(given), expected);
        }
    }

    #[test]
    fn the_sockets_of_agents_are_named() {
        let variables = BTreeMap::from([
            ("XDG_RUNTIME_DIR", "/run/elsewhere"),
            ("SSH_AUTH_SOCK", "/opt/agents/ssh"),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/home/bus,guid=1"),
            ("DOCKER_HOST", "unix:///var/run/docker.sock"),
        ]);
        let found = sockets(Path::new("/home/me"), |name| variables.get(name).map(OsString::from));
        let expected = ["/run/elsewhere", "/opt/agents", "/home/bus", "/var/run/docker.sock"];
        assert_eq!(found, expected.map(PathBuf::from));
        // What else is in these folders is needed.
        let variables =
            BTreeMap::from([("XDG_RUNTIME_DIR", "/home"), ("SSH_AUTH_SOCK", "/home/me/s")]);
        let found = sockets(Path::new("/home/me"), |name| variables.get(name).map(OsString::from));
        assert_eq!(found, [PathBuf::from("/home/me/s")]);
    }

    #[test]
    fn nothing_that_is_run_can_be_written() {
        let home = tempfile::tempdir().unwrap();
        let cargo = home.path().join("tools");
        let of = |program: &str| {
            let caches = CACHES.iter().filter(|cache| cache.program == program);
            let variable = |name: &str| (name == "CARGO_HOME").then(|| cargo.clone().into());
            caches.flat_map(|cache| cache.paths(home.path(), variable)).collect::<Vec<_>>()
        };
        let names = ["registry", "git", ".package-cache", ".package-cache-mutate"];
        assert_eq!(of("cargo"), names.map(|name| cargo.join(name)));
        assert!(cargo.join(".package-cache").is_file() && cargo.join("git").is_dir());
        let npm = home.path().join(".npm/_cacache");
        assert_eq!(of("npm"), [npm]);
    }
}
