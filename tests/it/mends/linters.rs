//! Packages of other languages, where their linters are installed.

use journeyman_domain::check::CheckKind;

use super::harness::{check, has, mend};

const MODULE: &str = "import os\nimport sys, json\n\n\ndef f(x):\n    \"\"\"ü𝕏\"\"\"; import re\n    return f\"ab\" + json.dumps(x)\n";

#[test]
fn ruff_mends_what_is_safe() {
    if !has("ruff", &["--version"]) {
        return;
    }
    let test = "from pkg.m import f\n\n\ndef test_f():\n    x = 1\n    assert f(\n        x\n    ) == f\"ab1\"\n";
    let config =
        "[project]\nname = \"p\"\nversion = \"0\"\n\n[tool.ruff.lint]\nignore = [\"E4\", \"E7\"]\n";
    let files = [("pyproject.toml", config), ("pkg/m.py", MODULE), ("tests/test_m.py", test)];
    let outcome = mend(&files, vec![]);
    assert_eq!(outcome.calls[0].title, "read pyproject.toml");
    assert_eq!(
        outcome.text("pkg/m.py"),
        "import json\n\n\ndef f(x):\n    \"\"\"ü𝕏\"\"\"; \n    return \"ab\" + json.dumps(x)\n"
    );
    let left = "left:\ntests/test_m.py:8: F541: f-string without any placeholders";
    assert!(outcome.stuck().ends_with(left), "what a test expects stays: {}", outcome.stuck());
    assert_eq!(outcome.changed(), ["pkg/m.py"]);
}

#[test]
fn ruff_is_the_codebases_own_choice() {
    let outcome =
        mend(&[("pyproject.toml", "[project]\nname = \"p\"\n"), ("m.py", MODULE)], vec![]);
    assert_eq!(outcome.finished(), "nothing was mended; there is no check to run");
    assert_eq!(outcome.titles(), ["read pyproject.toml"]);
}

#[test]
fn a_missing_tool_is_said_and_stops_nothing() {
    let ruff = check("no-such-folder/ruff check .", CheckKind::Lint);
    let outcome = mend(&[("m.py", MODULE)], vec![ruff]);
    let reason = outcome.stuck();
    assert!(
        reason.contains("ruff could not be started: ") && outcome.changed().is_empty(),
        "{reason}"
    );
}

#[test]
fn eslint_mends_what_it_can() {
    let Some(modules) = std::env::var_os("ESLINT_NODE_MODULES") else {
        eprintln!("skipped: ESLINT_NODE_MODULES names no folder with eslint");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    let config = "export default [{ rules: { 'prefer-const': 'error', 'no-var': 'error', 'no-extra-boolean-cast': 'warn' } }];\n";
    std::fs::write(folder.path().join("eslint.config.mjs"), config).unwrap();
    std::fs::write(folder.path().join("x.js"), "// ü𝕏\nlet a = 1;\nvar b = 2;\nif (!!a) { b; }\n")
        .unwrap();
    let outcome = super::harness::mend_folder(folder.path(), vec![]);
    outcome.finished();
    assert_eq!(outcome.text("x.js"), "// ü𝕏\nconst a = 1;\nconst b = 2;\nif (a) { b; }\n");
}
