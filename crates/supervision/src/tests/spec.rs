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

/// Whether a schema accepts a file; none where the text is no TOML.
fn accepts(schema: &serde_json::Value, text: &str) -> Option<bool> {
    let document = serde_json::to_value(text.parse::<toml::Table>().ok()?).unwrap();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", schema.clone()).unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    Some(schemas.validate(&document, index).is_ok())
}

/// The errors of `WRONG` that concern several tables or values at once.
const ONLY_THE_LOADER: [&str; 5] = [
    "root.children[1].id: `auditor` stands twice",
    "root.children[1].supervisor: there is no table [mind]",
    "root.children[3].supervisor: [agents] is already a child of [root]",
    "minds: no other supervisor has this one as a child",
    "root.children[4].backoff.min: is longer than `max`",
];

#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    let schema = crate::schema(&["agent", "auditor", "classifier", "scheduler", "web", "x"]);
    assert_eq!(accepts(&schema, TREE), Some(true));
    for line in WRONG.trim_start().lines() {
        let [from, to, error] = line.splitn(3, " => ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let accepted = accepts(&schema, &TREE.replacen(from, to, 1));
        let expected = (!error.starts_with(". ")).then(|| ONLY_THE_LOADER.contains(&error));
        assert_eq!(accepted, expected, "{to}: {error}");
    }
    for (from, to) in [
        ("id = \"auditor\"", "id = \"auditeur\""),
        ("kind = \"agent\"", "kind = \"agente\""),
        ("kind = \"agent\"", "kind = \"agent\", supervisor = \"minds\""),
        ("kind = \"agent\", ", ""),
        ("max_children = 8", "max_children = -1"),
        ("max_children = 8", "children = [{ id = \"web\" }]"),
        ("intensity = 3", "intensity = \"3\""),
        ("period    = \"60s\"", "period = \"0s\""),
        ("strategy  = \"one_for_one\"", ""),
        ("factor = 2.0", "factor = 0.5"),
    ] {
        let wrong = TREE.replacen(from, to, 1);
        assert_ne!(wrong, TREE, "{from}");
        assert_eq!(accepts(&schema, &wrong), Some(false), "{to}");
    }
    let rest = "[root]\nstrategy = 'one_for_one'\nauto_shutdown = 'any_significant'\n\
                children = [{ id = 'web', significant = true, restart = 'transient' }]";
    assert_eq!(accepts(&schema, rest), Some(true));
    assert_eq!(accepts(&schema, &rest.replace("transient", "permanent")), Some(false));
}

#[test]
fn the_shipped_file_is_as_its_schema_says() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
    let read = |name: &str| std::fs::read_to_string(format!("{config}/{name}")).unwrap();
    let schema = serde_json::from_str(&read("schema/supervisor.schema.json")).unwrap();
    let shipped = read("supervisor.toml");
    assert!(shipped.starts_with("#:schema schema/supervisor.schema.json\n"));
    assert_eq!(accepts(&schema, &shipped), Some(true));
    let wrong = shipped.replacen("kind = \"auditor\"", "kind = \"auditeur\"", 1);
    assert_eq!(accepts(&schema, &wrong), Some(false));
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
