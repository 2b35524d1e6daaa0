//! The environment that children get: an allow-list of this process's own.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Folders that commands which fetch dependencies may write.
pub(super) fn caches() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let in_home = |names: &[&str]| -> Vec<PathBuf> {
        home.iter().flat_map(|home| names.iter().map(|name| home.join(name))).collect()
    };
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let mut folders: Vec<_> =
        ["CARGO_HOME", "GOPATH", "GOMODCACHE", "UV_CACHE_DIR", "npm_config_cache"]
            .iter()
            .filter_map(|name| set(name))
            .collect();
    folders.extend(in_home(&[".cargo", ".npm", ".cache", "go", ".local/share/pnpm"]));
    folders.retain(|folder| folder.is_dir());
    folders
}
