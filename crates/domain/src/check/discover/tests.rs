use super::*;

fn files(entries: &[(&str, &str)]) -> RepositoryFiles {
    let paths: Vec<String> = entries.iter().map(|(path, _)| (*path).to_owned()).collect();
    let known = wanted(&paths);
    let contents = entries.iter().filter(|(path, _)| known.iter().any(|name| name == path));
    RepositoryFiles {
        contents: contents.map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect(),
        paths,
    }
}

/// "prepare: …" and "name: argv" lines.
fn plan(entries: &[(&str, &str)]) -> String {
    let plan = discover(&files(entries));
    let prepare = plan.prepare.iter().map(|one| {
        format!(
            "prepare: {} | {} | {}",
            one.argv.join(" "),
            one.lock_files.join(","),
            one.provides.join(",")
        )
    });
    let checks =
        plan.checks.iter().map(|one| format!("{} {}: {}", one.kind, one.name, one.argv.join(" ")));
    prepare.chain(checks).collect::<Vec<_>>().join("\n")
}

#[test]
fn cargo_packages_and_workspaces() {
    assert_eq!(
        plan(&[("Cargo.toml", "[package]\nname = \"x\""), ("Cargo.lock", ""), ("src/lib.rs", "")]),
        "prepare: cargo fetch --locked | Cargo.lock | \n\
         build cargo check: cargo check --all-targets --offline\n\
         test cargo test: cargo test --no-fail-fast --offline"
    );
    assert_eq!(
        plan(&[
            ("Cargo.toml", "[workspace]\n[workspace.lints.clippy]\npedantic = \"warn\""),
            ("a/Cargo.toml", "[package]")
        ]),
        "prepare: cargo fetch | Cargo.toml | \n\
         build cargo check: cargo check --all-targets --workspace --offline\n\
         lint cargo clippy: cargo clippy --all-targets --workspace --offline\n\
         test cargo test: cargo test --no-fail-fast --workspace --offline"
    );
}

#[test]
fn one_level_down_only_where_the_root_has_nothing() {
    let nested = [
        ("rust/Cargo.toml", "[package]"),
        ("rust/Cargo.lock", ""),
        ("node_modules/x/package.json", "{}"),
        (".x/go.mod", ""),
    ];
    assert_eq!(
        plan(&nested),
        "prepare: cargo fetch --manifest-path=rust/Cargo.toml --locked | rust/Cargo.lock | \n\
         build cargo check (rust): cargo check --manifest-path=rust/Cargo.toml --all-targets --offline\n\
         test cargo test (rust): cargo test --manifest-path=rust/Cargo.toml --no-fail-fast --offline"
    );
    let below =
        [("Makefile", "check:\n\ttrue\n"), ("web/package.json", r#"{"scripts":{"test":"jest"}}"#)];
    assert_eq!(plan(&below), "test make check: make check");
}

#[test]
fn package_scripts() {
    assert_eq!(
        plan(&[
            (
                "package.json",
                r#"{"scripts":{"test":"vitest","build":"tsc","lint":"eslint ."},"devDependencies":{"a":"1"},"workspaces":["p/*"]}"#
            ),
            ("package-lock.json", ""),
            ("p/a/package.json", "{}"),
        ]),
        "prepare: npm ci --no-audit --no-fund | package-lock.json | node_modules,p/a/node_modules\n\
         lint npm run lint: npm run lint\nbuild npm run build: npm run build\ntest npm run test: env CI=true npm run test"
    );
    let placeholder = r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#;
    let found = discover(&files(&[("package.json", placeholder)]));
    assert_eq!(found.checks, []);
    assert!(
        found.notes[0].contains("placeholder") && found.notes[1].contains("--check"),
        "{:?}",
        found.notes
    );
    let broken = discover(&files(&[("package.json", "{")]));
    assert!(broken.notes[0].starts_with("package.json: cannot be read: "), "{:?}", broken.notes);
    assert_eq!(
        plan(&[
            ("web/package.json", r#"{"packageManager":"yarn@4.1.0","scripts":{"test":"jest"}}"#),
            ("web/yarn.lock", "")
        ]),
        "prepare: sh -c cd -- \"$0\" && exec \"$@\" web yarn install --immutable | web/yarn.lock | web/node_modules\n\
         test yarn run test (web): sh -c cd -- \"$0\" && exec \"$@\" web env CI=true yarn run test"
    );
}

#[test]
fn python_projects() {
    let modern = "[project]\ndependencies = [\"numpy>=1\"]\n[dependency-groups]\ndev = [\"pytest\", \"ruff\"]\n[tool.ruff]\n";
    assert_eq!(
        plan(&[
            ("pyproject.toml", modern),
            ("uv.lock", ""),
            ("src/x/__init__.py", ""),
            ("tests/test_x.py", "")
        ]),
        "prepare: uv sync --locked --no-install-project --group dev | uv.lock,pyproject.toml | .venv\n\
         lint ruff check: .venv/bin/python -m ruff check --no-cache .\n\
         test pytest: env PYTHONPATH=src .venv/bin/python -m pytest -v -rfEp"
    );
    assert_eq!(
        plan(&[("pyproject.toml", modern), ("x.py", "")]).lines().next(),
        Some(
            "prepare: sh -c python3 -m venv .venv && exec .venv/bin/python -m pip install --quiet \
             --disable-pip-version-check \"$@\" pip numpy>=1 pytest ruff | pyproject.toml | .venv"
        )
    );
    assert_eq!(
        plan(&[("setup.py", ""), ("tests/test_x.py", "")]),
        "test unittest: python3 -m unittest discover -v -s tests"
    );
    assert_eq!(
        plan(&[("tests/test_x.py", ""), ("tests/__init__.py", "")]),
        "test unittest: python3 -m unittest discover -v -s ."
    );
    assert_eq!(
        plan(&[("tox.ini", "[pytest]\n"), ("x.py", "")]),
        "test pytest: python3 -m pytest -v -rfEp"
    );
}

#[test]
fn go_and_make() {
    assert_eq!(
        plan(&[("go.mod", "module x\nrequire a v1\n"), ("Makefile", "test: x\n")]),
        "prepare: go mod download | go.mod,go.sum | \n\
         build go build: go build -o /dev/null ./...\nlint go vet: go vet ./...\ntest go test: go test -v ./..."
    );
    assert_eq!(
        plan(&[("Makefile", "test := 1\n.PHONY: test\nall check: x\n")]),
        "test make check: make check"
    );
    let nested = discover(&files(&[("api/go.mod", "require a v1\n")]));
    assert_eq!(nested.prepare[0].argv, ["go", "mod", "download", "-C", "api"]);
    assert_eq!(nested.checks[1].argv, ["go", "vet", "-C", "api", "./..."]);
    assert_eq!(plan(&[("README.md", "")]), "");
}

#[test]
fn test_paths_of_all_languages() {
    for path in [
        "tests/it.rs",
        "src/a/tests.rs",
        "a/test_x.py",
        "pkg/x_test.go",
        "src/a.test.tsx",
        "src/__tests__/a.js",
        "conftest.py",
    ] {
        assert!(is_test_path(path), "{path}");
    }
    for path in [
        "src/lib.rs",
        "src/testing.rs",
        "latest.py",
        "contest.go",
        "src/attest.ts",
        "src/protest.js",
    ] {
        assert!(!is_test_path(path), "{path}");
    }
}

#[test]
fn custom_checks_have_names_of_their_own() {
    let commands = ["true".into(), " true ".into(), String::new(), "a\nb".into()];
    let checks = custom(&commands, str::to_owned);
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["true", "true (2)", "a"]);
    assert_eq!(checks[2].argv, ["sh", "-c", "a\nb"]);
}
