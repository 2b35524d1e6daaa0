//! npm, pnpm and yarn: the scripts of package.json.

use serde_json::Value;

use super::{CheckKind, CheckPlan, Folder, Prepare, check};

/// Scripts that are checks, cheap ones first; of those in one row the first that exists.
const SCRIPTS: &[(&[&str], CheckKind)] = &[
    (&["typecheck", "type-check", "check-types", "tsc"], CheckKind::Build),
    (&["lint"], CheckKind::Lint),
    (&["build"], CheckKind::Build),
    (&["test"], CheckKind::Test),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    Npm,
    Pnpm,
    Yarn,
}

impl Manager {
    fn of(folder: &Folder<'_>, package: &Value) -> Self {
        let declared = package.get("packageManager").and_then(Value::as_str).unwrap_or_default();
        if declared.starts_with("pnpm@") || folder.has("pnpm-lock.yaml") {
            Self::Pnpm
        } else if declared.starts_with("yarn@") || folder.has("yarn.lock") {
            Self::Yarn
        } else {
            Self::Npm
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
        }
    }

    /// The file that pins versions, where the folder has it.
    fn lock(self, folder: &Folder<'_>) -> Option<&'static str> {
        let names: &[&'static str] = match self {
            Self::Npm => &["package-lock.json", "npm-shrinkwrap.json"],
            Self::Pnpm => &["pnpm-lock.yaml"],
            Self::Yarn => &["yarn.lock"],
        };
        names.iter().find(|name| folder.has(name)).copied()
    }

    fn install(
        self,
        folder: &Folder<'_>,
        package: &Value,
        locked: bool,
    ) -> &'static [&'static str] {
        let declared = package.get("packageManager").and_then(Value::as_str).unwrap_or_default();
        let modern_yarn = folder.has(".yarnrc.yml")
            || (declared.starts_with("yarn@") && !declared.starts_with("yarn@1"));
        match (self, locked) {
            (Self::Npm, true) => &["npm", "ci", "--no-audit", "--no-fund"],
            (Self::Npm, false) => {
                &["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
            }
            (Self::Pnpm, true) => &["pnpm", "install", "--frozen-lockfile"],
            (Self::Pnpm, false) => &["pnpm", "install", "--no-lockfile"],
            (Self::Yarn, true) if modern_yarn => &["yarn", "install", "--immutable"],
            (Self::Yarn, true) => &["yarn", "install", "--frozen-lockfile"],
            (Self::Yarn, false) if modern_yarn => &["yarn", "install"],
            (Self::Yarn, false) => &["yarn", "install", "--no-lockfile"],
        }
    }
}

/// The checks that package.json names.
pub(super) fn scripts(folder: &Folder<'_>, plan: &mut CheckPlan) {
    let Some(text) = folder.text("package.json") else {
        return;
    };
    let file = folder.path("package.json");
    let package: Value = match serde_json::from_str(text) {
        Ok(package) => package,
        Err(error) => return plan.notes.push(format!("{file}: cannot be read: {error}")),
    };
    let manager = Manager::of(folder, &package);
    let before = plan.checks.len();
    for (names, kind) in SCRIPTS {
        let script = |name: &&str| {
            let command = package.get("scripts")?.get(*name)?.as_str()?;
            Some(((*name).to_owned(), command))
        };
        let Some((name, command)) = names.iter().find_map(script) else {
            if *kind == CheckKind::Test {
                plan.notes.push(format!("{file}: no script named test"));
            }
            continue;
        };
        if command.contains("no test specified") {
            plan.notes.push(format!("{file}: the script test is npm's placeholder"));
            continue;
        }
        // Some runners wait for changes unless they are told that nobody watches.
        let watched: &[&str] = if *kind == CheckKind::Test { &["env", "CI=true"] } else { &[] };
        let argv = folder.argv(&[watched, &[manager.program(), "run", &name]].concat());
        plan.checks.push(check(
            folder.name(&format!("{} run {name}", manager.program())),
            *kind,
            argv,
        ));
    }
    if plan.checks.len() > before {
        prepare(folder, &package, manager, plan);
    }
}

fn prepare(folder: &Folder<'_>, package: &Value, manager: Manager, plan: &mut CheckPlan) {
    let lock = manager.lock(folder);
    let declares = |key: &str| {
        package
            .get(key)
            .is_some_and(|value| !matches!(value.as_object(), Some(map) if map.is_empty()))
    };
    if lock.is_none()
        && !["dependencies", "devDependencies", "workspaces"].into_iter().any(declares)
    {
        return;
    }
    if lock.is_none() {
        let file = folder.path("package.json");
        plan.notes
            .push(format!("{file}: no lock file, so the versions may change from day to day"));
    }
    let mut provides = vec![folder.path("node_modules")];
    if declares("workspaces") || folder.has("pnpm-workspace.yaml") {
        let members = folder.below().filter_map(|path| path.strip_suffix("/package.json"));
        let own = members.filter(|member| !member.split('/').any(|part| part == "node_modules"));
        provides.extend(own.map(|member| folder.path(&format!("{member}/node_modules"))));
    }
    plan.caches.extend(provides.iter().cloned());
    plan.prepare.push(Prepare {
        argv: folder.argv(manager.install(folder, package, lock.is_some())),
        lock_files: vec![folder.path(lock.unwrap_or("package.json"))],
        provides,
    });
}
