//! Reading supervision files, mostly wrong ones.

use std::time::Duration;

use crate::{Backoff, Restart, RunningTree, Shutdown, Start, StartError, Strategy, TreeSpec};

const TREE: &str = r#"
[root]
strategy  = "rest_for_one"     # list order is start order
intensity = 3
period    = "60s"
children  = [
  { id = "auditor",   restart = "permanent", shutdown = "10s" },
  { id = "minds",     supervisor = "minds" },
  { id = "scheduler", shutdown = "5s", health = { every = "10s", timeout = "2s", failures = 3 } },
  { id = "agents",    supervisor = "agents" },
  { id = "web",       shutdown = "kill", backoff = { min = "200ms", max = "30s", factor = 2.0, jitter = 0.2, reset_after = "5m" } },
]

[minds]
strategy  = "one_for_one"
intensity = 10
period    = "60s"
children  = [
  { id = "classifier", restart = "transient" },
  { id = "second",     kind = "classifier" },
]

[agents]
strategy     = "dynamic"
child        = { kind = "agent", restart = "temporary", shutdown = "30s" }
max_children = 8
"#;

#[test]
fn a_whole_file_is_read() {
    let tree = TreeSpec::from_toml(TREE).unwrap();
    let root = tree.root();
    assert_eq!(
        (root.strategy, root.intensity, root.period),
        (Strategy::RestForOne, 3, Duration::from_mins(1))
    );
    let shutdowns: Vec<_> = root.children.iter().map(|child| child.shutdown).collect();
    let seconds = |seconds| Shutdown::Within(Duration::from_secs(seconds));
    assert_eq!(
        shutdowns,
        [seconds(10), Shutdown::Unbounded, seconds(5), Shutdown::Unbounded, Shutdown::Kill]
    );
    assert_eq!(root.children[1].start, Start::Supervisor("minds".to_owned()));
    let backoff = Backoff {
        min: Duration::from_millis(200),
        reset_after: Duration::from_mins(5),
        ..Backoff::default()
    };
    assert_eq!(root.children[4].backoff, backoff);
    let minds = &tree.supervisor("minds").unwrap().children;
    assert_eq!(minds[0].restart, Restart::Transient);
    assert_eq!(minds[1].start, Start::Worker("classifier".to_owned()));
    let agents = tree.supervisor("agents").unwrap();
    assert_eq!(
        (agents.max_children, &agents.children[0].start),
        (Some(8), &Start::Worker("agent".to_owned()))
    );
}

/// What is replaced in `TREE`, by what, and how the error then begins.
const WRONG: &str = r#"
shutdown = "10s" => shutdwon = "10s" => root.children[0].shutdwon (line 7): unknown field `shutdwon`
every = "10s" => evry = "10s" => root.children[2].health.evry (line 9): unknown field `evry`
"60s" => 60 => root.period (line 5): invalid type
"10s" } => "10 s" } => root.children[0].shutdown (line 7): `10 s` is no duration
"rest_for_one" => "rest" => root.strategy (line 3): unknown variant `rest`
[root] => [rot] => rot: no other supervisor has this one as a child
id = "minds" => id = "auditor" => root.children[1].id: `auditor` stands twice
id = "auditor" => id = "audi/tor" => root.children[0].id: `audi/tor` is not made of
supervisor = "minds" => supervisor = "mind" => root.children[1].supervisor: there is no table [mind]
supervisor = "minds" => supervisor = "agents" => root.children[3].supervisor: [agents] is already a child of [root]
kind = "agent" => supervisor = "root" => agents.child.supervisor: the root cannot be a child
supervisor = "minds" => kind = "web" => minds: no other supervisor has this one as a child
id = "auditor" => kind = "x" => root.children[0]: needs an `id`
kind = "agent" => id = "agent" => agents.child.id: the children of a dynamic supervisor get
strategy     = "dynamic" => strategy = "one_for_one" => agents.child: only a dynamic
failures = 3 => failures = 0 => root.children[2].health: `every`
max = "30s" => max = "1ms" => root.children[4].backoff.min: is longer than `max`
jitter = 0.2 => jitter = nan => root.children[4].backoff.jitter: must lie
restart = "transient" => restart = "transient", significant = true => minds.children[0].significant: has no
[minds] => [minds => . (line 14):
"#;

#[test]
fn wrong_files_are_refused_by_the_path_of_the_key() {
    for line in WRONG.trim_start().lines() {
        let [from, to, error] = line.splitn(3, " => ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert!(TREE.contains(from), "{from}");
        let message = TreeSpec::from_toml(&TREE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(message.starts_with(error), "{to}\n  said:     {message}\n  expected: {error}");
    }
    let circle = "[root]\nstrategy='one_for_one'\n[a]\nstrategy='one_for_one'\nchildren=[{id='b',supervisor='b'}]\n\
                  [b]\nstrategy='one_for_one'\nchildren=[{id='a',supervisor='a'}]";
    assert_eq!(
        TreeSpec::from_toml(circle).unwrap_err().to_string(),
        "a: this supervisor is its own ancestor"
    );
    assert_eq!(
        TreeSpec::from_toml("").unwrap_err().to_string(),
        "root: the table of the root supervisor is missing"
    );
}

struct Nothing;

#[derive(Debug)]
enum Never {}

impl std::str::FromStr for Never {
    type Err = ();
    fn from_str(_: &str) -> Result<Self, ()> {
        Err(())
    }
}

impl crate::StartChild for Nothing {
    type Kind = Never;
    async fn start(
        &self,
        kind: Never,
        _: crate::ChildContext,
    ) -> Result<crate::Child, ractor::SpawnErr> {
        match kind {}
    }
}

#[tokio::test]
async fn an_unknown_kind_is_refused_before_anything_starts() {
    let error =
        RunningTree::start(TreeSpec::from_toml(TREE).unwrap(), Nothing).await.err().unwrap();
    assert!(matches!(error, StartError::UnknownKind { .. }));
    assert_eq!(error.to_string(), "supervisor [agents]: `agent` is no kind of child");
}
