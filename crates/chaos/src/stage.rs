//! One scenario's part of its world: a prefix for its titles, a repository, a model.

use std::path::PathBuf;

use anyhow::Result;
use journeyman_testkit::forge::Forge;
use journeyman_testkit::git;
use journeyman_testkit::model::ModelServer;
use journeyman_testkit::remote::GitRemote;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::play::{FAULTS, Play};
use crate::world::{KEY, World};

/// Where a play is played.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The world.
    pub world: &'a World,
    /// What its tasks' titles begin with.
    pub prefix: String,
    /// The user's repository.
    pub repository: PathBuf,
    /// The model that its agents ask.
    pub model: Option<ModelServer>,
    /// The forge that pull requests are opened on, and the remote that branches are pushed to.
    pub forge: Option<(Forge, GitRemote)>,
}

impl<'a> Stage<'a> {
    /// Sets it for a play, under a name.
    pub fn set(world: &'a World, play: &Play, name: &str) -> Result<Self> {
        let repository = world.folder().join(name);
        std::fs::create_dir_all(&repository)?;
        for (path, text) in play.files {
            std::fs::write(repository.join(path), text)?;
        }
        git(&repository, &["init", "-q", "-b", "main"])?;
        git(&repository, &["add", "-A"])?;
        git(&repository, &["commit", "-q", "-m", "first"])?;
        let model = play.script.map(|script| ModelServer::start(script())).transpose()?;
        let mut forge = None;
        if play.forge {
            let remote = world.folder().join(format!("{name}-remote"));
            let remote = GitRemote::new(&remote, &repository, "git@127.0.0.1:acme/notes.git")?;
            let at = Forge::start(KEY)?;
            for fault in FAULTS {
                at.fail_next(fault);
            }
            remote.lose_answer_to(2)?;
            forge = Some((at, remote));
        }
        world.set_up(model.as_ref(), forge.as_ref().map(|(forge, _)| forge))?;
        Ok(Self { world, prefix: format!("{name}-"), repository, model, forge })
    }

    /// What the arguments of every process say that its programs leave behind (`{left}` in a play's texts).
    pub fn mark(&self) -> String {
        format!("{}-left-behind", self.repository.display())
    }

    /// The title of one of its tasks.
    pub fn title(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A text with the scenario's names in it: `{prefix}`, `{repo}`, `{left}`.
    pub fn fill(&self, text: &str) -> String {
        let repo = self.repository.display().to_string();
        let text = text.replace("{prefix}", &self.prefix).replace("{repo}", &repo);
        text.replace("{left}", &self.mark())
    }

    /// Whether something is true of the database.
    pub async fn holds(&self, connection: &mut PgConnection, sql: &str) -> Result<bool> {
        let sql = AssertSqlSafe(self.fill(sql));
        let found: Option<bool> = sqlx::query_scalar(sql).fetch_one(connection).await?;
        Ok(found.unwrap_or(false))
    }

    /// The id of the first failure of one of its tasks.
    pub async fn error(&self, connection: &mut PgConnection, name: &str) -> Result<String> {
        let query = sqlx::query_scalar(
            "SELECT e.id::text FROM error_reports e JOIN tasks t ON t.id = e.task_id WHERE t.title = $1 ORDER BY e.id LIMIT 1",
        );
        Ok(query.bind(self.title(name)).fetch_one(connection).await?)
    }

    /// The id of one of its tasks.
    pub async fn task(&self, connection: &mut PgConnection, name: &str) -> Result<String> {
        let query = sqlx::query_scalar("SELECT id::text FROM tasks WHERE title = $1");
        Ok(query.bind(self.title(name)).fetch_one(connection).await?)
    }
}
