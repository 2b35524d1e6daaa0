//! What these tests share: tasks in their second round, so that a journal with snapshots and outputs lies behind
//! them, each standing at a gate.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::recovery::scene::{add_command, processes, row, run_of, steps, wait, wait_at_gate};
use crate::support::{Home, git, wait_until};

/// Round 1 makes what a tree can hold, prints much, and is found wanting. Round 2 looks at the agent's own
/// repository, appends a line, and ends when somebody opens the gate.
pub(super) const PROGRAM: &str = "sh -c 'if [ $JOURNEYMAN_ROUND = 1 ]; then \
    mkdir -p deep; echo half > half; echo x > deep/run.sh; chmod +x deep/run.sh; ln -s ../note.txt deep/link; \
    rm gone.txt; echo $JOURNEYMAN_RUN_ID; head -c 100000 /dev/zero | tr \"\\0\" x; else \
    git status --porcelain > /dev/null && git log -1 --format=%s > subject.txt; echo two >> note.txt; \
    until [ -e gate ]; do sleep 0.02; done; fi'";
pub(super) const CHECK: &str = "grep -q two note.txt";

/// The kinds of the journal of such a task at its gate.
const KINDS: [&str; 8] = [
    "started",
    "tool_intent",
    "tool_result",
    "claimed_done",
    "base_checked",
    "verification",
    "round_started",
    "tool_intent",
];

/// A repository with all kinds of entries.
pub(super) fn repository(home: &Home, name: &str) -> PathBuf {
    let files = [
        ("note.txt", "one\n"),
        ("gone.txt", "gone\n"),
        ("sub/kept.txt", "kept\n"),
        (".gitignore", "/gate\n"),
    ];
    home.repository(name, &files)
}

/// A task at its gate.
pub(super) struct Standing {
    pub(super) task: String,
    pub(super) run: String,
    /// The run's folder.
    pub(super) folder: PathBuf,
}

impl Standing {
    /// Adds tasks, and waits until each stands at its gate.
    pub(super) fn many<const N: usize>(home: &Home, repository: &Path) -> [Self; N] {
        let tasks = [(); N].map(|()| add_command(home, repository, PROGRAM, CHECK));
        tasks.map(|task| Self::of(home, task))
    }

    /// One that stands there, or will.
    pub(super) fn of(home: &Home, task: String) -> Self {
        wait_until("the task is in its second round", || {
            let kinds: Vec<_> = steps(home, &task).into_iter().map(|step| step.kind).collect();
            kinds == KINDS
        });
        let tree = wait_at_gate(home, &home.data(), &task);
        let run = run_of(home, &task).to_string();
        Self { task, run, folder: tree.parent().unwrap().to_owned() }
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Waits for the next life's program, and lets it go on, until the task is done.
    pub(super) fn finish(&self, home: &Home) {
        let gate = self.tree().join("gate");
        wait_until("the task is over", || {
            let note = std::fs::read_to_string(self.tree().join("note.txt"));
            if note.is_ok_and(|note| note == "one\ntwo\n") {
                // The folder may be removed just now.
                let _ = std::fs::write(&gate, "");
            }
            crate::recovery::scene::is_over(home, &self.task)
        });
    }

    /// Waits until the task is parked; its sentence. Nothing of it is alive, tried again or added to.
    #[track_caller]
    pub(super) fn parked(&self, home: &Home) -> String {
        wait_until("the task is over", || crate::recovery::scene::is_over(home, &self.task));
        let shown = home.task(&self.task);
        let log = home.daemon_log();
        assert_eq!((&shown["status"], &shown["attempts"]), (&json!("parked"), &json!(1)), "{log}");
        let error = shown["error"].as_str().unwrap().to_owned();
        assert!(error.contains(&self.run), "{error}");
        assert_eq!(shown["because"], Value::from(format!("parked: {error}")));
        let said = home.run(&["task", "show", &self.task]).ok().stdout;
        assert!(said.contains(&format!("parked: {error}")), "{said}");
        let lines = log.lines().filter(|line| line.contains(&self.run));
        let lines: Vec<_> = lines.filter(|line| line.contains("a task is parked")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        let run = run_of(home, &self.task);
        wait_until("nothing of it is alive", || processes(run).is_empty());
        assert_eq!(row(home, &self.task).branch, None);
        error
    }
}

/// The tree that a task has delivered.
pub(super) fn delivered(home: &Home, repository: &Path, task: &str) -> String {
    let branch = row(home, task).branch.unwrap();
    git(repository, &["rev-parse", &format!("{branch}^{{tree}}")])
}

/// A connection that no trigger stops: somebody with all rights, who does what must not be done.
pub(crate) fn by_hand(home: &Home) -> PgConnection {
    let mut connection = wait(PgConnection::connect(&home.database_url())).unwrap();
    wait(connection.execute("SET session_replication_role = replica")).unwrap();
    connection
}

/// Changes exactly one row.
#[track_caller]
pub(super) fn change(connection: &mut PgConnection, statement: &str) {
    let done = wait(connection.execute(AssertSqlSafe(statement.to_owned()))).unwrap();
    assert_eq!(done.rows_affected(), 1, "{statement}");
}
