//! A home whose agents ask a scripted model, and repositories with a failing test.

use std::path::{Path, PathBuf};

use journeyman_domain::model::Wire;
use journeyman_testkit::model::{ModelServer, Reply, Script};
use serde_json::{Value, json};

use crate::support::{Home, Ran, git};

/// The key that the scripted model wants; it must show up nowhere.
pub(super) const KEY: &str = "sk-scripted-0123456789abcdef";

/// A home, and the model that its agents ask.
pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(super) server: ModelServer,
}

impl Scene {
    pub(crate) async fn new(wire: Wire, script: Script) -> Self {
        Self::with(wire, script, "").await
    }

    /// The same with further lines of `[providers.scripted]`.
    pub(super) async fn with(wire: Wire, script: Script, lines: &str) -> Self {
        let home = Home::new().await;
        let server = ModelServer::start(script.key(KEY)).unwrap();
        let config = home.folder.path().join("config");
        std::fs::create_dir_all(&config).unwrap();
        let settings = format!(
            "[model]\ndefault = \"scripted/small-1\"\n\n[providers.scripted]\nwire = \"{wire}\"\n\
             base_url = \"{}\"\nkey = \"file:{}\"\ncontext_window = 200000\n{lines}\n",
            server.base_url(wire),
            config.join("key").display(),
        );
        std::fs::write(config.join("journeyman.toml"), settings).unwrap();
        std::fs::write(config.join("key"), format!("{KEY}\n")).unwrap();
        let prices = "version = \"test-1\"\n\n[[model]]\nprovider = \"scripted\"\nmodel = \"small-1\"\n\
                      input = 3.0\ncache_read = 0.3\ncache_write = 3.75\noutput = 15.0\n\
                      context_window = 200_000\nmax_output_tokens = 8_000\n";
        std::fs::write(config.join("pricing.toml"), prices).unwrap();
        Self { home, server }
    }

    /// Adds settings of other sections.
    pub(super) fn settings(&self, lines: &str) {
        let file = self.home.folder.path().join("config/journeyman.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{lines}\n{text}")).unwrap();
    }

    pub(super) fn run(&self, repository: &Path, more: &[&str]) -> Ran {
        let path = repository.to_str().unwrap();
        let arguments = ["run", "--json", "--repo", path, "Make the test pass"];
        self.home.run(&[&arguments[..], more].concat())
    }

    /// Every model answer was asked for once, and the server saw nothing wrong.
    #[track_caller]
    pub(super) fn nothing_paid_twice(&self) {
        assert_eq!(self.server.violations(), [""; 0]);
        for (turn, times) in self.server.all_answered() {
            assert_eq!(times, 1, "{turn:?}");
        }
    }
}

/// A repository whose only test fails, the edit that mends it, and one that does not.
pub(super) struct Broken {
    pub(super) repository: PathBuf,
    pub(super) file: &'static str,
    pub(super) old: &'static str,
    pub(super) wrong: &'static str,
    pub(super) right: &'static str,
    /// The command that its own tests are run with.
    pub(super) test: &'static [&'static str],
}

pub(super) fn rust(home: &Home) -> Broken {
    let repository = home.repository(
        "doubled",
        &[
            ("Cargo.toml", "[package]\nname = \"doubled\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n"),
            ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"doubled\"\nversion = \"0.1.0\"\n"),
            (".gitignore", "/target\n"),
            ("src/lib.rs", "//! Doubles.\n\n/// Twice as much.\npub fn double(number: i64) -> i64 {\n    number + 2\n}\n"),
            ("tests/doubles.rs", "#[test]\nfn doubles() {\n    assert_eq!(doubled::double(21), 42);\n}\n"),
        ],
    );
    Broken {
        repository,
        file: "src/lib.rs",
        old: "number + 2",
        wrong: "number * 3",
        right: "number * 2",
        test: &["cargo", "test", "--offline"],
    }
}

pub(super) fn python(home: &Home) -> Broken {
    let repository = home.repository(
        "doubled-py",
        &[
            ("doubled.py", "\"\"\"Doubles.\"\"\"\n\n\ndef double(number):\n    return number + 2\n"),
            (
                "test_doubled.py",
                "import unittest\n\nfrom doubled import double\n\n\nclass Doubles(unittest.TestCase):\n    \
                 def test_doubles(self):\n        self.assertEqual(double(21), 42)\n\n\n\
                 if __name__ == \"__main__\":\n    unittest.main()\n",
            ),
            (".journeyman.toml", "checks = [\"python3 -m unittest -v\"]\n"),
        ],
    );
    Broken {
        repository,
        file: "doubled.py",
        old: "number + 2",
        wrong: "number * 3",
        right: "number * 2",
        test: &["python3", "-m", "unittest"],
    }
}

pub(super) fn typescript(home: &Home) -> Broken {
    let repository = home.repository(
        "doubled-ts",
        &[
            ("package.json", "{\n  \"name\": \"doubled\",\n  \"version\": \"0.1.0\",\n  \"type\": \"module\",\n  \"scripts\": { \"test\": \"node --test\" }\n}\n"),
            ("doubled.ts", "export function double(number: number): number {\n  return number + 2;\n}\n"),
            (
                "doubled.test.ts",
                "import assert from \"node:assert\";\nimport test from \"node:test\";\n\
                 import { double } from \"./doubled.ts\";\n\n\
                 test(\"doubles\", () => {\n  assert.equal(double(21), 42);\n});\n",
            ),
        ],
    );
    Broken {
        repository,
        file: "doubled.ts",
        old: "number + 2",
        wrong: "number * 3",
        right: "number * 2",
        test: &["node", "--test"],
    }
}

pub(super) fn go(home: &Home) -> Broken {
    let repository = home.repository(
        "doubled-go",
        &[
            ("go.mod", "module doubled\n\ngo 1.18\n"),
            ("doubled.go", "// Package doubled doubles.\npackage doubled\n\n// Double is twice as much.\nfunc Double(number int) int {\n\treturn number + 2\n}\n"),
            (
                "doubled_test.go",
                "package doubled\n\nimport \"testing\"\n\nfunc TestDoubles(t *testing.T) {\n\tif got := Double(21); got != 42 {\n\t\tt.Fatalf(\"21 doubles to %d\", got)\n\t}\n}\n",
            ),
        ],
    );
    Broken {
        repository,
        file: "doubled.go",
        old: "number + 2",
        wrong: "number * 3",
        right: "number * 2",
        test: &["go", "test", "./..."],
    }
}

impl Broken {
    /// A model that looks, edits wrongly, says done; then, with the evidence, edits rightly.
    pub(super) fn mended_at_the_second_try(&self) -> Script {
        Script::turns([
            Reply::call("read", &json!({ "path": self.file }))
                .then_call("read", &json!({ "path": "." }))
                .reasoning("I should look first."),
            self.edit(self.old, self.wrong),
            Reply::text("It should pass now."),
            self.edit(self.wrong, self.right),
            Reply::text("Mended: it multiplies by two."),
        ])
    }

    /// A model that edits rightly at once.
    pub(super) fn mended_at_once(&self) -> Script {
        Script::turns([self.edit(self.old, self.right), Reply::text("Mended.")])
    }

    pub(super) fn edit(&self, old: &str, new: &str) -> Reply {
        Reply::call("edit", &json!({ "path": self.file, "old": old, "new": new }))
    }

    /// The delivered branch passes the repository's own tests, and nothing else is changed.
    #[track_caller]
    pub(super) fn is_mended(&self, home: &Home, task: &Value) {
        let branch = task["branch"].as_str().unwrap_or_else(|| panic!("{task}"));
        let range = format!("main..{branch}");
        assert_eq!(git(&self.repository, &["diff", "--name-only", &range]), self.file);
        let name = self.repository.file_name().unwrap().to_str().unwrap();
        let checkout = home.folder.path().join(format!("checkout-{name}"));
        let (from, to) = (self.repository.to_str().unwrap(), checkout.to_str().unwrap());
        git(home.folder.path(), &["clone", "-q", "-b", branch, from, to]);
        let tested = std::process::Command::new(self.test[0])
            .args(&self.test[1..])
            .current_dir(&checkout)
            .env_remove("CARGO_TARGET_DIR")
            .output()
            .unwrap();
        assert!(tested.status.success(), "{tested:?}");
        assert_eq!(git(&self.repository, &["status", "--porcelain"]), "");
        assert_eq!(git(&self.repository, &["branch", "--show-current"]), "main");
    }
}

/// A repository with a text and a check on it: quick.
pub(super) fn note(home: &Home) -> Broken {
    let repository = home.repository(
        "note",
        &[("note.txt", "one\n"), (".journeyman.toml", "checks = [\"grep -qx two note.txt\"]\n")],
    );
    Broken {
        repository,
        file: "note.txt",
        old: "one",
        wrong: "three",
        right: "two",
        test: &["grep", "-qx", "two", "note.txt"],
    }
}
