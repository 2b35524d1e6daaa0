//! What happens in the tree, as the audit, the metrics and the traces have it.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use journeyman_actors::auditor::{AuditorActor, AuditorArguments, Recorder};
use journeyman_actors::context::Mode;
use journeyman_actors::support::{Envelope, Lives, Mailbox, Message, Spawned};
use journeyman_domain::ids::NodeId;
use journeyman_store::Store;
use journeyman_supervision::{
    Change, Child, ChildContext, ChildPath, RunningTree, StartChild, TreeSpec,
};
use journeyman_testkit::database::TestDatabase;
use journeyman_testkit::otlp::{OtlpReceiver, ReceivedSpan};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::Value;
use sqlx::Executor as _;

use crate::support::{PROGRAM, wait_until};

/// A worker that does nothing but end.
struct Worker {
    context: ChildContext,
}

#[derive(Debug)]
enum Work {
    Panic,
}

impl Message for Work {
    const ACTOR: &'static str = "worker";
    fn kind(&self) -> &'static str {
        "Panic"
    }
}

impl Actor for Worker {
    type Msg = Envelope<Work>;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        envelope
            .open(self.context.generation, |_, work| async {
                match work {
                    Work::Panic => panic!("as asked"),
                }
            })
            .await;
        Ok(())
    }
}

enum Kind {
    Auditor,
    Worker,
}

impl FromStr for Kind {
    type Err = Infallible;
    fn from_str(word: &str) -> Result<Self, Infallible> {
        Ok(if word == "auditor" { Self::Auditor } else { Self::Worker })
    }
}

#[derive(Clone)]
struct Starter {
    store: Store,
    node: NodeId,
    lives: Arc<Lives>,
}

impl StartChild for Starter {
    type Kind = Kind;

    async fn start(&self, kind: Kind, child: ChildContext) -> Spawned<Child> {
        match kind {
            Kind::Auditor => {
                let (store, node, mode) = (self.store.clone(), self.node, Mode::Daemon);
                AuditorActor::start(AuditorArguments { store, node, mode, child }).await
            }
            Kind::Worker => {
                let supervisor = child.supervisor.clone();
                let worker = Worker { context: child };
                let (actor, _) = Actor::spawn_linked(None, worker, (), supervisor).await?;
                Ok(Child::new(actor))
            }
        }
    }

    fn observe(&self, path: &ChildPath, generation: u64, change: &Change) -> Option<String> {
        self.lives.observe(path, generation, change)
    }
}

const TREE: &str = r#"
[root]
strategy  = "one_for_one"
intensity = 100000
children  = [
    { id = "auditor", shutdown = "10s", backoff = { min = "0ms" } },
    { id = "sentinel", kind = "worker", backoff = { min = "0ms" } },
]
"#;

impl Starter {
    fn new(store: &Store) -> Self {
        let node = NodeId::from_uuid(uuid::Uuid::now_v7());
        Self { store: store.clone(), node, lives: Arc::default() }
    }

    async fn tree(&self) -> RunningTree {
        RunningTree::start(TreeSpec::from_toml(TREE).unwrap(), self.clone()).await.unwrap()
    }

    fn recorder(&self, tree: &RunningTree) -> Recorder {
        let (store, ledger) = (self.store.clone(), tree.ledger().clone());
        Recorder { store, node: self.node, mode: Mode::Daemon, ledger }
    }
}

/// Kills what runs at a path, and waits for the next instance.
async fn kill(tree: &RunningTree, path: &str) {
    let before = tree.directory().resolve(path).unwrap();
    before.cell.kill();
    come_back(tree, path, before.generation).await;
}

async fn come_back(tree: &RunningTree, path: &str, after: u64) {
    while tree.directory().resolve(path).is_none_or(|now| now.generation <= after) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The records of the audit in the order of their positions.
async fn audited(database: &TestDatabase) -> Vec<Value> {
    let mut connection = database.connection().await.unwrap();
    let rows: Vec<(Value,)> = sqlx::query_as(
        "SELECT attributes || jsonb_build_object('trace_id', trace_id) FROM audit_events \
         WHERE kind = 'supervision' AND table_name = 'runtime_nodes' ORDER BY position",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    rows.into_iter().map(|(row,)| row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_in_the_audit_once_and_in_order_whatever_happens_to_auditor_and_database() {
    journeyman_testkit::database::init(PROGRAM);
    let database = TestDatabase::new().await.unwrap();
    let starter = Starter::new(database.store());
    let tree = starter.tree().await;
    kill(&tree, "root/sentinel").await;
    kill(&tree, "root/auditor").await;
    let ledger = tree.ledger().clone();
    wait_until("all is written", || ledger.waiting() == 0);

    let mut connection = database.connection().await.unwrap();
    connection.execute("ALTER TABLE audit_events RENAME TO audit_events_away").await.unwrap();
    // More than any queue of hints holds, and the auditor dies in between.
    for round in 0..500 {
        kill(&tree, "root/sentinel").await;
        if round % 100 == 50 {
            kill(&tree, "root/auditor").await;
        }
    }
    assert!(ledger.waiting() >= 1500, "{}", ledger.waiting());
    connection.execute("ALTER TABLE audit_events_away RENAME TO audit_events").await.unwrap();
    kill(&tree, "root/auditor").await;
    wait_until("all is written", || ledger.waiting() == 0);

    kill(&tree, "root/sentinel").await;
    tree.stop().await;
    let last = audited(&database).await.len();
    let left = starter.recorder(&tree).write_rest().await.unwrap();
    let records = audited(&database).await;
    assert_eq!(last as u64 + left, records.len() as u64);
    let numbers: Vec<_> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    let whole: Vec<_> = (1..=records.len() as u64).collect();
    assert_eq!(numbers, whole);
    let ends = |path: &str, kind: &str| {
        let is_it = |record: &&Value| record["path"] == path && record["change"]["kind"] == kind;
        records.iter().filter(is_it).count()
    };
    assert_eq!((ends("root/sentinel", "exited"), ends("root/sentinel", "stopped")), (503, 1));
    assert_eq!(
        ends("root/auditor", "exited"),
        8,
        "its own ends, by its successors and by the last"
    );
    let tail: Vec<_> = records[last..]
        .iter()
        .map(|record| {
            (record["path"].as_str().unwrap(), record["change"]["kind"].as_str().unwrap())
        })
        .collect();
    let expected = [
        ("root/auditor", "exited"),
        ("root/auditor", "stopped"),
        ("root", "exited"),
        ("root", "stopped"),
    ];
    assert_eq!(tail, expected, "all that an auditor cannot write itself, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_whose_answer_was_lost_is_made_again_and_writes_nothing_twice() {
    use journeyman_store::audit::{OnceEvent, Subject};
    journeyman_testkit::database::init(PROGRAM);
    let database = TestDatabase::new().await.unwrap();
    let audit = database.store().audit();
    let record = uuid::Uuid::now_v7();
    let subject = Subject { actor: "auditor", kind: "supervision", table: "runtime_nodes", record };
    let events: Vec<_> = (1..=3)
        .map(|seq| OnceEvent {
            id: uuid::Uuid::now_v7(),
            at: chrono::Utc::now(),
            attributes: serde_json::json!({ "seq": seq }),
            trace: None,
        })
        .collect();
    let before = audit.newest().await.unwrap();
    let newest = audit.record_once(subject, &events[..2], before).await.unwrap();
    // The same again and one more, three at once.
    let again = || audit.record_once(subject, &events, before);
    let (one, two, three) = tokio::join!(again(), again(), again());
    let later = one.unwrap().max(two.unwrap()).max(three.unwrap());
    assert!(later > newest && newest > before);
    let numbers: Vec<_> =
        audited(&database).await.iter().map(|event| event["seq"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_restart_is_a_span_that_leads_back_to_the_message_whose_handling_failed() {
    journeyman_testkit::database::init(PROGRAM);
    let database = TestDatabase::new().await.unwrap();
    let receiver = OtlpReceiver::start().unwrap();
    let providers = crate::telemetry::providers(&receiver);
    journeyman_telemetry::panic::install();
    let subscriber = tracing::subscriber::set_default(providers.subscriber());
    let starter = Starter::new(database.store());
    let tree = starter.tree().await;
    let worker = Mailbox::<Work>::new(tree.directory().clone(), "root/sentinel", "test");
    assert!(worker.tell(Work::Panic));
    come_back(&tree, "root/sentinel", 1).await;
    tree.stop().await;
    starter.recorder(&tree).write_rest().await.unwrap();
    drop(subscriber);
    let limit = Duration::from_secs(20);
    tokio::task::spawn_blocking(move || assert!(providers.shutdown(limit))).await.unwrap();

    let spans = receiver.spans();
    let find = |name: &str| spans.iter().find(|span| span.name == name).expect(name);
    let (failed, restart) = (find("worker Panic"), find("restart sentinel"));
    assert_eq!(restart.links, [(failed.trace_id.clone(), failed.span_id.clone())]);
    let expected = [
        ("actor", "sentinel"),
        ("actor.generation", "1"),
        ("actor.path", "root/sentinel"),
        ("exit", "failed"),
        ("restart.cause", "root/sentinel"),
        ("restart.delay_ms", "0"),
    ];
    let attributes: Vec<_> =
        restart.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(attributes, expected);
    let records = audited(&database).await;
    let trace = |kind: &str, generation: u64| {
        let is_it = |record: &&Value| {
            record["path"] == "root/sentinel"
                && record["change"]["kind"] == kind
                && record["generation"] == generation
        };
        records.iter().find(is_it).unwrap()["trace_id"].clone()
    };
    assert_eq!(trace("exited", 1), failed.trace_id.as_str());
    assert_eq!(trace("restarting", 1), restart.trace_id.as_str());
    assert_eq!(trace("started", 2), restart.trace_id.as_str());
    for (kind, generation) in [("started", 1), ("exited", 2), ("stopped", 2)] {
        let is_it = |span: &&ReceivedSpan| {
            span.name == format!("{kind} sentinel")
                && span.attributes.get("actor.generation") == Some(&generation.to_string())
        };
        let moment = spans.iter().find(is_it).unwrap_or_else(|| panic!("{kind} {generation}"));
        assert_eq!(trace(kind, generation), moment.trace_id.as_str());
    }
    assert!(records.iter().all(|record| record["trace_id"].is_string()), "{records:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_arrives_twice_ends_a_daemon_in_order_and_all_of_its_life_is_in_the_audit() {
    let home = crate::support::Home::new().await;
    let mut daemon = home.up();
    let pid = daemon.child.id().to_string();
    // Two signals in one call, as from a terminal's group and whoever passes its own on.
    let sent = std::process::Command::new("kill").args(["-TERM", &pid, &pid]).status();
    assert!(sent.unwrap().success());
    let status = tokio::task::spawn_blocking(move || daemon.child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", home.daemon_log());
    let listed = home.run(&["audit", "list", "--json", "--limit", "1000"]).ok().json();
    let mut records: Vec<_> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["context"])
        .filter(|context| context["event"] == "supervision")
        .collect();
    records.sort_by_key(|record| record["seq"].as_u64());
    let numbers: Vec<_> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=records.len() as u64).collect::<Vec<_>>());
    let of = |kind: &str| {
        let is_it = |record: &&&Value| record["change"]["kind"] == kind;
        records.iter().filter(is_it).map(|record| record["path"].as_str().unwrap()).collect()
    };
    let (started, mut stopped): (Vec<_>, Vec<_>) = (of("started"), of("stopped"));
    assert_eq!((started.first(), started.last()), (Some(&"root/auditor"), Some(&"root")));
    stopped.reverse();
    let root = stopped.remove(0);
    // A supervisor has started when its children have, and has stopped when they have.
    let order = |paths: &[&str]| -> Vec<String> {
        paths
            .iter()
            .filter(|path| path.matches('/').count() == 1)
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!((root, order(&stopped)), ("root", order(&started)));
}
