//! Cargo, Go and make.

use super::manifest::Manifest;
use super::{CheckKind, CheckPlan, Folder, Prepare, check};

/// Cargo, aware of workspaces. clippy only where the codebase configures it.
pub(super) fn cargo(folder: &Folder<'_>, plan: &mut CheckPlan) {
    let Some(manifest) = folder.text("Cargo.toml").map(Manifest::toml) else {
        return;
    };
    let file = folder.path("Cargo.toml");
    if !manifest.has("package") && !manifest.has("workspace") {
        plan.notes.push(format!("{file}: neither a package nor a workspace"));
        return;
    }
    let argv = |words: &[&str]| {
        let mut argv: Vec<String> =
            std::iter::once("cargo").chain(words.iter().copied()).map(str::to_owned).collect();
        if !folder.dir.is_empty() {
            argv.insert(2, format!("--manifest-path={file}"));
        }
        argv
    };
    let scope = if manifest.has("workspace") { &["--workspace"][..] } else { &[] };
    let mut add = |name: &str, kind, flags: &[&str]| {
        let words = [&[name], flags, scope, &["--offline"]].concat();
        plan.checks.push(check(folder.name(&format!("cargo {name}")), kind, argv(&words)));
    };
    add("check", CheckKind::Build, &["--all-targets"]);
    let clippy = manifest.has("lints.clippy") || manifest.has("workspace.lints.clippy");
    if clippy || folder.has("clippy.toml") || folder.has(".clippy.toml") {
        add("clippy", CheckKind::Lint, &["--all-targets"]);
    } else {
        plan.notes.push(format!("{file}: no clippy, since nothing configures it"));
    }
    add("test", CheckKind::Test, &["--no-fail-fast"]);
    let locked = folder.has("Cargo.lock");
    let fetch = if locked { argv(&["fetch", "--locked"]) } else { argv(&["fetch"]) };
    let lock = if locked { "Cargo.lock" } else { "Cargo.toml" };
    if !locked {
        plan.notes
            .push(format!("{file}: no Cargo.lock, so the versions may change from day to day"));
    }
    plan.prepare.push(Prepare {
        argv: fetch,
        lock_files: vec![folder.path(lock)],
        provides: vec![],
    });
    plan.caches.push(folder.path("target"));
}

/// Go: the module's packages are built, vetted and tested.
pub(super) fn go(folder: &Folder<'_>, plan: &mut CheckPlan) {
    let Some(module) = folder.text("go.mod") else {
        return;
    };
    let argv = |words: &[&str]| {
        let place = if folder.dir.is_empty() { vec![] } else { vec!["-C", folder.dir] };
        // The folder follows the command, of which `mod download` is one.
        let (command, flags) = words.split_at(if words[0] == "mod" { 2 } else { 1 });
        [&["go"][..], command, &place, flags]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // A single program would be written into the folder, were its place not given.
    let build = argv(&["build", "-o", "/dev/null", "./..."]);
    plan.checks.push(check(folder.name("go build"), CheckKind::Build, build));
    plan.checks.push(check(folder.name("go vet"), CheckKind::Lint, argv(&["vet", "./..."])));
    // Without -v go prints no names of passed tests.
    plan.checks.push(check(
        folder.name("go test"),
        CheckKind::Test,
        argv(&["test", "-v", "./..."]),
    ));
    if module.lines().any(|line| line.trim_start().starts_with("require")) {
        let lock_files = ["go.mod", "go.sum"].map(|name| folder.path(name)).to_vec();
        plan.prepare.push(Prepare {
            argv: argv(&["mod", "download"]),
            lock_files,
            provides: vec![],
        });
    }
}

/// A Makefile's `test`, else its `check`, where no language told of its own checks.
pub(super) fn make(folder: &Folder<'_>, plan: &mut CheckPlan, found: bool) {
    let names = ["GNUmakefile", "makefile", "Makefile"];
    let Some((file, text)) =
        names.iter().find_map(|name| Some((folder.path(name), folder.text(name)?)))
    else {
        return;
    };
    let Some(target) = ["test", "check"].into_iter().find(|target| has_target(text, target)) else {
        plan.notes.push(format!("{file}: no target named test or check"));
        return;
    };
    if found {
        plan.notes.push(format!(
            "{file}: target {target} left out, since the language's own checks were found"
        ));
        return;
    }
    let mut argv = vec!["make".to_owned()];
    if !folder.dir.is_empty() {
        argv.extend(["-C".to_owned(), folder.dir.to_owned()]);
    }
    argv.push(target.to_owned());
    plan.checks.push(check(folder.name(&format!("make {target}")), CheckKind::Test, argv));
}

fn has_target(makefile: &str, target: &str) -> bool {
    makefile.lines().filter(|line| !line.starts_with(['\t', ' ', '#', '.'])).any(|line| {
        line.split_once(':').is_some_and(|(targets, rest)| {
            !rest.starts_with('=')
                && !rest.starts_with(":=")
                && targets.split_whitespace().any(|word| word == target)
        })
    })
}
