//! Programs that hang, flood, and leave others behind.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use journeyman_domain::ids::RunId;
use journeyman_launcher::{Policy, ResourceLimits, probe};
use journeyman_workspace::process::{
    CancellationToken, Exit, ProcessOutcome, ProcessSpec, Runner, allowed_environment,
};
use journeyman_workspace::reap::{ChildIdentity, Owner, reap, start_time};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_journeyman");

/// With namespaces where they are permitted, and without.
fn modes() -> Vec<bool> {
    if probe(Path::new(PROGRAM)).namespaces() { vec![true, false] } else { vec![false] }
}

fn new_run(number: u32) -> RunId {
    format!("0193a2f0-2222-7abc-8def-{number:08}{:04x}", std::process::id() & 0xffff)
        .parse()
        .unwrap()
}

struct Bench {
    folder: TempDir,
    runner: Runner,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { folder, runner: Runner::new(Path::new(PROGRAM)).unwrap() }
    }

    fn spec(&self, namespaces: bool, run: RunId, script: &str) -> ProcessSpec {
        let policy = Policy {
            namespaces,
            network: false,
            cwd: self.folder.path().into(),
            writable: vec![self.folder.path().into()],
            readable: Vec::new(),
            hidden: Vec::new(),
            temporary: None,
            limits: ResourceLimits::default(),
        };
        let argv = ["bash", "-c", script].map(OsString::from).to_vec();
        let mut spec = ProcessSpec::new(argv, policy, Owner { run, epoch: 1 });
        spec.grace = Duration::from_millis(200);
        spec.env = BTreeMap::from([("PATH".into(), std::env::var_os("PATH").unwrap())]);
        spec
    }

    async fn run(&self, spec: ProcessSpec) -> ProcessOutcome {
        self.runner.run(spec, &CancellationToken::new(), |_| {}, |_| {}).await.unwrap()
    }
}

fn alive(mark: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.starts_with(b"sleep\0") && contains(line, mark.as_bytes())).count()
}

fn contains(line: &[u8], mark: &[u8]) -> bool {
    line.windows(mark.len()).any(|window| window == mark)
}

async fn until_alive(mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while alive(mark) == 0 {
        assert!(Instant::now() < deadline, "{mark} never started");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_program_runs_with_its_own_environment_and_its_output_in_order() {
    let bench = Bench::new();
    for namespaces in modes() {
        let script =
            "echo out; echo err >&2; echo \"$SECRET$TRACEPARENT\"; read x || echo no; exit 4";
        let mut spec = bench.spec(namespaces, new_run(1), script);
        let own = [("SECRET", "s3cret"), ("LANG", "C")].map(|(k, v)| (k.into(), v.into()));
        spec.env.extend(allowed_environment(own));
        spec.traceparent = Some("00-trace".into());
        spec.output_file = Some(bench.folder.path().join("whole"));
        let mut seen = Vec::new();
        let mut started = None;
        let outcome = bench
            .runner
            .run(
                spec,
                &CancellationToken::new(),
                |identity| started = Some(identity),
                |piece| seen.extend_from_slice(piece),
            )
            .await
            .unwrap();
        let expected = "out\nerr\n00-trace\nno\n";
        assert_eq!((outcome.exit, outcome.output.head.as_str()), (Exit::Code(4), expected));
        assert_eq!((outcome.output.bytes, outcome.output.lines), (20, 4));
        assert_eq!(fs::read(outcome.output.file.unwrap()).unwrap(), expected.as_bytes());
        assert_eq!(seen, expected.as_bytes());
        assert_eq!(started, Some(outcome.identity));
        assert!(outcome.identity.start_time > 0);
    }
}

#[tokio::test]
async fn how_a_program_ended_is_told_apart() {
    let bench = Bench::new();
    for namespaces in modes() {
        let spec = |script: &str| bench.spec(namespaces, new_run(2), script);
        assert_eq!(bench.run(spec("kill -SEGV $$")).await.exit, Exit::Signal(11));
        let mut missing = spec("");
        missing.argv = vec!["no-such-program".into()];
        assert_eq!(bench.run(missing).await.exit, Exit::Code(127));
        let mut nowhere = spec("true");
        nowhere.policy.cwd = bench.folder.path().join("missing");
        assert_eq!(bench.run(nowhere).await.exit, Exit::NotLaunched);
        assert_eq!(bench.run(spec("exit 125")).await.exit, Exit::Code(125));
    }
}

#[tokio::test]
async fn a_flood_is_cut_and_its_ends_are_kept() {
    let bench = Bench::new();
    for namespaces in modes() {
        let script = "trap '' TERM; echo begin; yes flood; echo never";
        let mut spec = bench.spec(namespaces, new_run(3), script);
        spec.output_limit = 1_000_000;
        spec.head_and_tail = 1000;
        spec.output_file = Some(bench.folder.path().join("whole"));
        let outcome = bench.run(spec).await;
        assert_eq!(outcome.exit, Exit::Flooded);
        assert!(outcome.output.head.starts_with("begin\nflood\n"));
        assert_eq!(outcome.output.head.len(), 1000);
        assert_eq!(outcome.output.tail.as_ref().unwrap().len(), 1000);
        let whole = fs::metadata(outcome.output.file.unwrap()).unwrap().len();
        assert_eq!(whole, outcome.output.bytes);
        assert!((1_000_000..1_200_000).contains(&whole), "{whole}");
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_stopped_with_all_that_it_started() {
    let bench = Bench::new();
    let leave = |mark: &str| {
        format!("(setsid bash -c 'sleep {mark} & sleep {mark}' &) ; trap '' TERM; sleep {mark}")
    };
    for (number, namespaces) in modes().into_iter().enumerate() {
        let mark = format!("86398.{number}");
        let mut spec = bench.spec(namespaces, new_run(4), &leave(&mark));
        spec.timeout = Duration::from_millis(300);
        assert_eq!(bench.run(spec).await.exit, Exit::TimedOut);
        assert_eq!(alive(&mark), 0);

        let mut spec = bench.spec(
            namespaces,
            new_run(4),
            "for i in 1 2 3 4; do echo; sleep 0.1; done; sleep 86398",
        );
        spec.idle_timeout = Some(Duration::from_millis(250));
        let outcome = bench.run(spec).await;
        assert_eq!((outcome.exit, outcome.output.lines), (Exit::Idle, 4));

        let mark = format!("86397.{number}");
        let running = bench.runner.start(bench.spec(namespaces, new_run(4), &leave(&mark)));
        let running = running.await.unwrap();
        let cancel = CancellationToken::new();
        let canceller = cancel.clone();
        let waiting = tokio::spawn(async move { running.wait(&cancel, |_| {}).await.unwrap() });
        until_alive(&mark).await;
        canceller.cancel();
        assert_eq!(waiting.await.unwrap().exit, Exit::Cancelled);
        assert_eq!(alive(&mark), 0);
    }
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_stay() {
    let bench = Bench::new();
    for (number, namespaces) in modes().into_iter().enumerate() {
        let mark = format!("86396.{number}");
        // One keeps its environment, one its session; both hold the output open.
        let script = format!("setsid sleep {mark} & env -i sleep {mark} & sleep 0.1; exit 0");
        let outcome = bench.run(bench.spec(namespaces, new_run(5), &script)).await;
        assert_eq!(outcome.exit, Exit::Code(0));
        assert_eq!(alive(&mark), 0);

        let mark = format!("86395.{number}");
        let script = format!("setsid sleep {mark} & sleep {mark}");
        let running = bench.runner.start(bench.spec(namespaces, new_run(5), &script));
        let running = running.await.unwrap();
        until_alive(&mark).await;
        drop(running);
        let deadline = Instant::now() + Duration::from_secs(10);
        while alive(&mark) > 0 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn processes_of_an_earlier_life_are_reaped_and_no_others() {
    // Started by nobody that still knows them: no launcher, no runner.
    let start = |run: RunId, mark: &str| {
        let script = format!("setsid sleep {mark} & setsid sleep {mark} & exec sleep {mark}");
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &script]).env("JOURNEYMAN_RUN_ID", run.to_string());
        command.spawn().unwrap()
    };
    let (run, other_run) = (new_run(6), new_run(7));
    let mut child = start(run, "86394.1");
    let mut other = start(other_run, "86394.2");
    until_alive("86394.1").await;
    until_alive("86394.2").await;
    let pid = child.id().cast_signed();
    let identity =
        ChildIdentity { pid, start_time: start_time(pid).unwrap(), owner: Owner::any(run) };
    // A number that belongs to another process by now.
    let reused =
        ChildIdentity { pid: other.id().cast_signed(), start_time: 1, owner: Owner::any(run) };
    let killed = reap(&[identity, reused], &[]).await.unwrap();
    assert!(killed.contains(&pid) && killed.len() >= 3, "{killed:?}");
    assert_eq!((alive("86394.1"), alive("86394.2")), (0, 3));
    assert_eq!(reap(&[identity], &[]).await.unwrap(), Vec::<i32>::new());
    let killed = reap(&[], &[Owner::any(other_run)]).await.unwrap();
    assert_eq!((killed.len(), alive("86394.2")), (3, 0));
    child.wait().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn who_reaps_late_leaves_the_new_owners_processes_alone() {
    let run = new_run(8);
    let start = |epoch: i64, mark: &str| {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &format!("setsid sleep {mark} & exec sleep {mark}")]);
        command.env("JOURNEYMAN_RUN_ID", run.to_string());
        command.env("JOURNEYMAN_LEASE_EPOCH", epoch.to_string()).spawn().unwrap()
    };
    let (mut old, mut new) = (start(1, "86394.3"), start(2, "86394.4"));
    until_alive("86394.3").await;
    until_alive("86394.4").await;
    assert_eq!(reap(&[], &[Owner { run, epoch: 1 }.earlier()]).await.unwrap(), Vec::<i32>::new());
    assert_eq!(reap(&[], &[Owner { run, epoch: 1 }]).await.unwrap().len(), 2);
    assert_eq!((alive("86394.3"), alive("86394.4")), (0, 2));
    assert_eq!(reap(&[], &[Owner { run, epoch: 3 }.earlier()]).await.unwrap().len(), 2);
    old.wait().unwrap();
    new.wait().unwrap();
}

#[tokio::test]
async fn a_program_is_marked_with_its_run_and_the_epoch_of_its_lease() {
    let bench = Bench::new();
    let run = new_run(9);
    let script = "echo $JOURNEYMAN_RUN_ID $JOURNEYMAN_LEASE_EPOCH";
    let outcome = bench.run(bench.spec(false, run, script)).await;
    assert_eq!(outcome.output.head.trim(), format!("{run} 1"));
}
