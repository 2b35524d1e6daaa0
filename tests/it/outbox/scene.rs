//! What these tests share: a repository with a remote, a forge beside it, and a task that goes there.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use journeyman_domain::outbox::EffectState;
use journeyman_store::Outgoing;
use journeyman_testkit::forge::Forge;
use journeyman_testkit::remote::GitRemote;
use serde_json::Value;

use crate::recovery::scene::{CHECK, QUICK, add, is_over, notes, wait};
use crate::support::{Daemon, Home, Ran, wait_until};

/// What the forge lets in; of no shape that would be known.
pub(super) const TOKEN: &str = "a-word-of-nobodys-tongue-4711";
/// How long something may take on a machine under load.
pub(super) const LONG: Duration = Duration::from_mins(1);

/// A user with a repository on a forge.
pub(super) struct Scene {
    pub(super) home: Home,
    pub(super) forge: Forge,
    pub(super) remote: GitRemote,
    pub(super) repository: PathBuf,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let home = Home::new().await;
        let forge = Forge::start(TOKEN).unwrap();
        let repository = notes(&home, "notes");
        let folder = home.folder.path().join("remote");
        let address = "git@127.0.0.1:acme/notes.git";
        let remote = GitRemote::new(&folder, &repository, address).unwrap();
        Self { home, forge, remote, repository }
    }

    /// Sets a command up as this user has it.
    pub(super) fn set_up(&self, command: &mut Command) {
        command.env("GITHUB_TOKEN", TOKEN);
        command.env("JOURNEYMAN__GITHUB__API_URL", self.forge.api_url());
    }

    /// `run --deliver pr` of a quick task.
    pub(super) fn run(&self, more: &[&str]) -> Ran {
        let repository = self.repository.to_str().unwrap();
        let fixed = ["run", "--repo", repository, "--deliver", "pr", "--check", CHECK];
        let mut command = self.home.command(&[&fixed[..], more].concat());
        self.set_up(&mut command);
        Ran::from(command.output().unwrap())
    }

    /// The same, with its document.
    pub(super) fn run_json(&self, more: &[&str]) -> (i32, Value) {
        let ran = self.run(&[&["--json", "--command", QUICK], more, &["Write two"]].concat());
        let document = ran.json();
        (ran.code, document)
    }

    pub(super) fn up(&self) -> Daemon {
        self.home.up_with(|command| self.set_up(command))
    }

    /// Adds a task that is delivered as a pull request.
    pub(super) fn add(&self, program: &str) -> String {
        let options = ["--deliver", "pr", "--command", program, "--check", CHECK, "Write two"];
        add(&self.home, &self.repository, &options)
    }

    pub(super) fn effects(&self, task: &str) -> Vec<Outgoing> {
        wait(self.home.store().outbox().of_task(task.parse().unwrap())).unwrap()
    }

    /// Waits until the branch and its pull request are there, and the task is over.
    pub(super) fn wait_for_done(&self, task: &str) -> Vec<Outgoing> {
        wait_until("everything is sent", || {
            let effects = self.effects(task);
            effects.len() == 2 && effects.iter().all(|effect| effect.state == EffectState::Done)
        });
        wait_until("the task is over", || is_over(&self.home, task));
        self.effects(task)
    }

    /// The branch of a task that is delivered.
    pub(super) fn branch(&self, task: &str) -> String {
        crate::recovery::scene::row(&self.home, task).branch.unwrap()
    }

    /// The branch that a task will be delivered on.
    pub(super) fn branch_to_be(task: &str) -> String {
        let task: journeyman_domain::ids::TaskId = task.parse().unwrap();
        format!("journeyman/{}-write-two", task.short())
    }

    /// One branch that was made once, one pull request that was asked for once.
    #[track_caller]
    pub(super) fn assert_sent_once(&self, task: &str) {
        let branch = self.branch(task);
        assert_eq!(self.remote.changes(&branch), 1, "{branch}");
        let row = crate::recovery::scene::row(&self.home, task);
        assert_eq!(self.remote.branch(&branch), row.head_commit);
        let pulls = self.forge.pulls();
        let of_branch: Vec<_> = pulls.iter().filter(|pull| pull.head == branch).collect();
        assert_eq!(of_branch.len(), 1, "{pulls:?}");
        assert_eq!(self.forge.violations(), [""; 0]);
    }
}
