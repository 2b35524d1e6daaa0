//! What can be typed: the commands and their options, and nothing that does anything.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An autonomous software-development runtime for one person.
#[derive(Debug, Parser)]
#[command(name = "journeyman", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// One JSON document, or JSON lines for streams.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do one task from end to end and show each step.
    Run(Run),
    /// Run the daemon: scheduler, agents, API. Ends in order on SIGTERM or Ctrl-C.
    Up,
    /// Tasks: add, watch, steer, and take their results.
    #[command(subcommand)]
    Task(Task),
    /// The repositories that are known.
    #[command(subcommand)]
    Codebase(Codebase),
    /// The agents that work.
    #[command(subcommand)]
    Agent(Agent),
    /// What failed, and what kind of failure it is.
    #[command(subcommand)]
    Errors(Errors),
    /// Settings, typed and validated.
    #[command(subcommand)]
    Config(Config),
    /// The database; the private cluster when none is configured.
    #[command(subcommand)]
    Db(Db),
    /// The record of every change.
    #[command(subcommand)]
    Audit(Audit),
    /// The live supervision tree.
    Tree,
    /// How the runtime, its learning and its integrations fare.
    Health,
    /// What was done lately, and what the models cost; or what the queue holds.
    Stats {
        /// What else than that.
        #[command(subcommand)]
        of: Option<Stats>,
        /// How many days are looked back.
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Tasks that the clock adds.
    #[command(subcommand)]
    Schedule(Schedule),
    /// Let the daemon finish what it has and begin nothing more; waits until nothing runs.
    Drain {
        /// Let it begin work again.
        #[arg(long, conflicts_with = "no_wait")]
        off: bool,
        /// Return at once.
        #[arg(long)]
        no_wait: bool,
    },
    /// What this machine and configuration can do, each with its mend.
    Doctor,
    /// Install what this machine lacks, after saying what.
    Setup,
    /// Shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// A man page on standard output.
    #[command(hide = true)]
    Man,
}

/// What a task is; `run` and `task add` share it.
#[derive(Debug, Clone, Default, Args)]
pub struct TaskOptions {
    /// The repository's folder.
    #[arg(long, value_name = "PATH")]
    pub repo: Option<PathBuf>,
    /// The agent, by name or id.
    #[arg(long)]
    pub agent: Option<String>,
    /// How the agent acts: native (our loop on a model), mechanic or command.
    #[arg(long)]
    pub driver: Option<String>,
    /// The model, as provider/model.
    #[arg(long)]
    pub model: Option<String>,
    /// US dollars that the model may cost, all attempts together; at the end of it the task waits for you.
    #[arg(long, value_name = "USD")]
    pub budget: Option<f64>,
    /// The program of the driver `command`, as one shell-like line; {prompt} and {workspace} are
    /// replaced inside its arguments.
    #[arg(long, value_name = "LINE")]
    pub command: Option<String>,
    /// A check that the change must pass, instead of those that are found. May be repeated.
    #[arg(long = "check", value_name = "CMD")]
    pub checks: Vec<String>,
    /// Seconds of wall time.
    #[arg(long, value_name = "SECONDS")]
    pub time: Option<u64>,
    /// The commit, branch or tag to start from; the current one if absent.
    #[arg(long, value_name = "REF")]
    pub base: Option<String>,
    /// Complete the task also when no check can judge it.
    #[arg(long)]
    pub allow_unverified: bool,
    /// What becomes of the change.
    #[arg(long, value_enum, default_value_t)]
    pub deliver: Deliver,
    /// Files that the task works on, as a pattern such as src/parser or **/*.md: no other task with files that
    /// could be the same runs meanwhile. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub files: Vec<String>,
}

/// What becomes of a verified change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Deliver {
    /// A commit on a branch of its own in the repository.
    #[default]
    Branch,
    /// The same, pushed to the repository's remote, with a pull request there.
    Pr,
    /// A patch file in the data folder.
    Patch,
    /// Nothing; `task diff` shows it.
    None,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// What to do.
    pub prompt: String,
    /// The task's options.
    #[command(flatten)]
    pub options: TaskOptions,
    /// Hand the task over and return at once; needs a running daemon.
    #[arg(long)]
    pub no_wait: bool,
}

/// `task …`.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Add a task, or many from a file of JSON lines.
    Add(Box<Add>),
    /// The tasks, newest first.
    List {
        /// Only those in this state.
        #[arg(long)]
        status: Option<String>,
        /// Only those that wait for this: dependency, approval, input, budget, rate_limit, retry_at,
        /// provider or lock.
        #[arg(long, value_name = "WHAT")]
        waiting_for: Option<String>,
        /// Only those of this codebase.
        #[arg(long)]
        codebase: Option<String>,
        /// Only sub-tasks of this one.
        #[arg(long, value_name = "TASK")]
        parent: Option<String>,
        /// Only those of this priority.
        #[arg(long)]
        priority: Option<String>,
        /// Only those that want this agent.
        #[arg(long)]
        agent: Option<String>,
        /// How many at the most.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Go on where an earlier list ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// One task with all that is known of it.
    Show(Id),
    /// Follow a task until it ends.
    Watch(Id),
    /// Stop it; what was done stays.
    Cancel(Id),
    /// Try a failed or parked task again.
    Retry(Id),
    /// Send what failed of its delivery again: the push, the pull request.
    Resend(Id),
    /// Hold it.
    Pause(Id),
    /// Let one go on that is held, or that waits for a budget, a provider or a limit.
    Resume {
        /// The task.
        task: String,
        /// US dollars that its model may cost from now on, what it has cost included.
        #[arg(long, value_name = "USD")]
        budget: Option<f64>,
        /// Seconds of wall time from now on, what it has taken included.
        #[arg(long, value_name = "SECONDS")]
        time: Option<u64>,
    },
    /// Consent to an unverified change.
    Approve(Id),
    /// Answer a task's question.
    Answer {
        /// The task.
        task: String,
        /// The answer.
        text: String,
    },
    /// The journal of a task.
    Logs {
        /// The task.
        task: String,
        /// With the whole output of each step.
        #[arg(long)]
        full: bool,
    },
    /// What a task changed: all of it, or in a step.
    Diff {
        /// The task.
        task: String,
        /// Only what changed up to this step, as `task logs` numbers them.
        #[arg(long, value_name = "N")]
        step: Option<i32>,
        /// Since this step; 0 is the base. Usually the one before.
        #[arg(long, value_name = "M", requires = "step")]
        from: Option<i32>,
        /// Of this attempt, where it is not the last.
        #[arg(long, value_name = "N", requires = "step")]
        attempt: Option<i32>,
    },
    /// Write the files as they were after a step into a new folder.
    Restore {
        /// The task.
        task: String,
        /// The step, as `task logs` numbers them; 0 is the base.
        #[arg(long, value_name = "N")]
        step: i32,
        /// The folder; it must not exist, or be empty.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// Of this attempt, where it is not the last.
        #[arg(long, value_name = "N")]
        attempt: Option<i32>,
    },
    /// Bring a task's change into your working tree.
    Apply(Id),
    /// What a task waits for, and what waits for it, as trees.
    Deps(Id),
}

/// `task add`.
#[derive(Debug, Args)]
pub struct Add {
    /// What to do.
    #[arg(required_unless_present = "file")]
    pub prompt: Option<String>,
    /// The task's options.
    #[command(flatten)]
    pub options: TaskOptions,
    /// Start only after this task is completed. May be repeated.
    #[arg(long, value_name = "TASK")]
    pub after: Vec<String>,
    /// wait, fail, skip or run: what becomes of it when a task that it waits for does not complete.
    #[arg(long, value_name = "WHAT")]
    pub on_failure: Option<String>,
    /// Add it as a part of this task, which then waits for it.
    #[arg(long, value_name = "TASK")]
    pub parent: Option<String>,
    /// low, normal, high, urgent or critical.
    #[arg(long)]
    pub priority: Option<String>,
    /// Due by this time (RFC 3339); among equals the earlier one goes first.
    #[arg(long, value_name = "TIME")]
    pub due: Option<String>,
    /// Refuse when an unfinished task has this key.
    #[arg(long, value_name = "KEY")]
    pub unique: Option<String>,
    /// Many tasks, one JSON object a line; all are added, or none. `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
}

/// A task's id: whole, a unique first or last part, or `latest`.
#[derive(Debug, Args)]
pub struct Id {
    /// The id, a unique first or last part of it, or `latest`.
    pub task: String,
}

/// `stats …`.
#[derive(Debug, Subcommand)]
pub enum Stats {
    /// What is ready, what waits and for what, what runs, and the pace of the last hour.
    Queue,
}

/// `schedule …`.
#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// Add a task whenever a time of a cron line comes.
    Add(Box<AddSchedule>),
    /// The schedules.
    List,
    /// One schedule.
    Show {
        /// Its name.
        name: String,
    },
    /// Let it rest; the times meanwhile do not count as missed.
    Pause {
        /// Its name.
        name: String,
    },
    /// Let it go on.
    Resume {
        /// Its name.
        name: String,
    },
    /// Take it away; its tasks stay.
    Remove {
        /// Its name.
        name: String,
    },
}

/// `schedule add`.
#[derive(Debug, Args)]
pub struct AddSchedule {
    /// Its name.
    pub name: String,
    /// What to do each time.
    pub prompt: String,
    /// Its times: minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly.
    #[arg(long, value_name = "LINE")]
    pub cron: String,
    /// Where those are the time of day, such as Europe/Berlin; UTC if absent.
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// skip, once or all: what becomes of times that passed while no runtime ran. `once` if absent.
    #[arg(long, value_name = "WHAT")]
    pub missed: Option<String>,
    /// skip or allow: what becomes of a time while its last task has not ended. `skip` if absent.
    #[arg(long, value_name = "WHAT")]
    pub overlap: Option<String>,
    /// low, normal, high, urgent or critical.
    #[arg(long)]
    pub priority: Option<String>,
    /// The options of its tasks.
    #[command(flatten)]
    pub options: TaskOptions,
}

/// `codebase …`.
#[derive(Debug, Subcommand)]
pub enum Codebase {
    /// Register a repository.
    Add {
        /// Its folder.
        path: PathBuf,
        /// Its name; the folder's if absent.
        #[arg(long)]
        name: Option<String>,
    },
    /// The registered ones.
    List,
    /// Change one: how many of its tasks may run at once.
    Set {
        /// Its name, its path or its id.
        codebase: String,
        /// Runs at once, over all nodes; 0: no limit.
        #[arg(long)]
        max_concurrent: u32,
    },
}

/// `agent …`.
#[derive(Debug, Subcommand)]
pub enum Agent {
    /// The agents.
    List,
    /// One agent.
    Show {
        /// Its name or id.
        agent: String,
    },
    /// Check that an agent's driver and its model answer; asks the model for a few tokens.
    Test {
        /// Its name or id.
        agent: String,
        /// Another model than its own, as provider/model.
        #[arg(long)]
        model: Option<String>,
    },
    /// Change an agent: driver=mechanic, model=provider/model, active=false, network=true, command="prog {prompt}",
    /// description="…", max_concurrent=2 (0: no limit).
    Set {
        /// Its name or id.
        agent: String,
        /// What to change.
        #[arg(required = true, value_name = "KEY=VALUE")]
        changes: Vec<String>,
    },
}

/// `errors …`.
#[derive(Debug, Subcommand)]
pub enum Errors {
    /// The reports, newest first.
    List {
        /// Only those of this task.
        #[arg(long)]
        task: Option<String>,
        /// How many at the most.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One report.
    Show {
        /// Its id or a unique part of it.
        error: String,
    },
    /// Say what became of a failure.
    Resolve {
        /// Its id or a unique part of it.
        error: String,
        /// open, investigating, resolved, closed or wont_fix.
        #[arg(long = "as", value_name = "STATE", default_value = "resolved")]
        status: String,
        /// By what.
        #[arg(long)]
        note: Option<String>,
    },
    /// Classify a log on standard input.
    Classify,
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Every setting.
    List {
        /// Also say where each value comes from.
        #[arg(long)]
        origin: bool,
    },
    /// One setting.
    Get {
        /// Its key, such as run.rounds.
        key: String,
    },
    /// Change one setting in your file, or in the database.
    Set {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// In the table system_configuration.
        #[arg(long)]
        system: bool,
    },
    /// Where the files are.
    Path,
}

/// `db …`.
#[derive(Debug, Subcommand)]
pub enum Db {
    /// The URL of the database.
    Url,
    /// Start the private cluster and keep it until Ctrl-C.
    Start,
    /// Stop the private cluster.
    Stop,
    /// A psql on it.
    Shell {
        /// Arguments for psql.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Bring the schema up to this program's version.
    Migrate,
    /// Write the whole database into a file.
    Backup {
        /// The file.
        file: PathBuf,
    },
    /// Replace the database by what a backup holds.
    Restore {
        /// The file.
        file: PathBuf,
        /// Yes, what is there now may go.
        #[arg(long)]
        yes: bool,
    },
}

/// `audit …`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// The newest entries.
    List {
        /// Only those of this table.
        #[arg(long)]
        table: Option<String>,
        /// Only those of this row.
        #[arg(long, value_name = "ID")]
        record: Option<String>,
        /// How many at the most.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One entry.
    Show {
        /// Its id.
        id: String,
    },
    /// Walk the chain of hashes.
    Verify,
}
