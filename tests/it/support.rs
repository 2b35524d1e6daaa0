//! What tests of the whole program share: a home of its own, a database of its own, a repository.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use journeyman_store::Store;
use journeyman_testkit::database::TestDatabase;
use journeyman_testkit::overdue::{Watch, watch};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_journeyman");

/// Several times what the longest test takes on a machine under load.
const LIMIT: Duration = Duration::from_mins(8);

/// A user's home on this machine: settings, data, and a migrated database.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    database: TestDatabase,
    _watch: Watch,
}

impl Home {
    pub(crate) async fn new() -> Self {
        journeyman_testkit::database::init(PROGRAM);
        let folder = tempfile::Builder::new().prefix("home").tempdir().unwrap();
        let mark = folder.path().to_str().unwrap();
        let watch = watch(mark, LIMIT);
        Self { database: TestDatabase::new().await.unwrap(), folder, _watch: watch }
    }

    pub(crate) fn store(&self) -> &Store {
        self.database.store()
    }

    pub(crate) fn database_url(&self) -> String {
        self.database.url()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program with these arguments, in this home, with nothing of the machine's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .env("JOURNEYMAN_DATA", self.data())
            .env("JOURNEYMAN_CONFIG", self.folder.path().join("config"))
            .env("DATABASE_URL", self.database.url())
            .env("NO_COLOR", "1")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    /// Starts a daemon and waits until it answers.
    pub(crate) fn up(&self) -> Daemon {
        self.up_with(|_| {})
    }

    /// The same, its command changed first.
    pub(crate) fn up_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        self.up_on(&self.data(), "daemon.log", change)
    }

    /// One more node: a daemon of another data folder on the same database.
    pub(crate) fn up_beside(&self, name: &str, change: impl FnOnce(&mut Command)) -> Daemon {
        self.up_on(&self.folder.path().join(name), &format!("{name}.log"), change)
    }

    fn up_on(&self, data: &Path, log: &str, change: impl FnOnce(&mut Command)) -> Daemon {
        let mut command = self.command(&["up"]);
        command.env("JOURNEYMAN_DATA", data);
        change(&mut command);
        let log = self.folder.path().join(log);
        let file = std::fs::File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let daemon = Daemon { child: command.spawn().unwrap() };
        let answers = came_about(|| {
            let mut asked = self.command(&["tree", "--json"]);
            Ran::from(asked.env("JOURNEYMAN_DATA", data).output().unwrap()).code == 0
        });
        assert!(answers, "the daemon does not answer: {:?}", std::fs::read_to_string(log));
        daemon
    }

    /// What the daemon printed.
    pub(crate) fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("daemon.log")).unwrap_or_default()
    }

    /// A repository with one commit of these files.
    pub(crate) fn repository(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.folder.path().join(name);
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(&folder).unwrap();
        git(&folder, &["init", "-q", "-b", "main"]);
        git(&folder, &["add", "-A"]);
        git(&folder, &["commit", "-q", "--allow-empty", "-m", "first"]);
        folder
    }

    /// The document of a task.
    pub(crate) fn task(&self, id: &str) -> Value {
        self.run(&["task", "show", id, "--json"]).json()
    }
}

/// A daemon; killed when the test ends.
pub(crate) struct Daemon {
    pub(crate) child: Child,
}

impl Daemon {
    /// SIGKILL, and gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn stop(&mut self) -> i32 {
        signal(self.child.id(), "TERM");
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
            let began = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && began.elapsed().as_secs() < 20 {
                std::thread::sleep(Duration::from_millis(20));
            }
            // It may be gone by now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Standard output as one document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, of a command that ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// Runs git with an identity of its own and no settings of the machine.
#[track_caller]
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    journeyman_testkit::git(folder, arguments).unwrap()
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.unwrap().success(), "kill -{name} {pid}");
}

/// Waits for something that must come about; a minute is for a machine under load.
#[track_caller]
pub(crate) fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(came_about(done), "it did not come about: {what}");
}

fn came_about(mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > Duration::from_mins(1) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}
