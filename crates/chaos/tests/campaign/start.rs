//! A daemon whose database goes away while it starts.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use journeyman_chaos::World;
use journeyman_chaos::trouble::Trouble;
use journeyman_chaos::world::Options;
use journeyman_runtime::client::Client;
use journeyman_runtime::socket;
use journeyman_testkit::database;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::{program, watched};

pub(super) fn signal(daemon: &Child, signal: Signal) {
    kill_process(Pid::from_child(daemon), signal).unwrap();
}

/// A daemon with these variables (`NAME=value`) in its environment.
pub(super) fn daemon(world: &World, variables: &[&str]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(world.log()).unwrap();
    let mut command: Command = world.command(&["up"]);
    command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// A daemon that stops itself (SIGSTOP) after a point.
fn daemon_that_stops_after(world: &World, point: &str) -> Child {
    daemon(world, &[&format!("JOURNEYMAN_FAILPOINT={point}:after:1=stop")])
}

/// Whether it is stopped.
pub(super) fn is_stopped(daemon: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id()));
    stat.is_ok_and(|stat| stat.contains(") T "))
}

pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_mins(1), "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_loses_the_database_while_it_starts_tries_until_it_is_back() {
    database::init(program());
    // In turn: before anything of its own is written, between rows, and while its tree starts.
    for point in ["store.migrate", "node.register", "audit.record"] {
        let mut world = World::new(&program(), Options::default()).await.unwrap();
        let _watch = watched(&world);
        world.prepare(Trouble::Wire, None).unwrap();
        let wire = world.wire().unwrap();
        let mut daemon = daemon_that_stops_after(&world, point);
        until("it stops at the point", async || is_stopped(&daemon)).await;
        wire.tear();
        signal(&daemon, Signal::CONT);
        sleep(Duration::from_millis(1_500)).await;
        let said = || std::fs::read_to_string(world.log()).unwrap();
        assert_eq!(daemon.try_wait().unwrap(), None, "{point}: {}", said());
        wire.mend();
        let socket = socket::path(&world.data()).unwrap();
        until("it answers", async || {
            assert_eq!(daemon.try_wait().unwrap(), None, "{point}: {}", said());
            Client::connect(&socket).await.is_some()
        })
        .await;
        signal(&daemon, Signal::TERM);
        let ended = tokio::task::block_in_place(|| daemon.wait()).unwrap();
        assert!(ended.success(), "{point}: {ended}: {}", said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_waits_for_the_database_ends_at_a_signal() {
    database::init(program());
    let mut world = World::new(&program(), Options::default()).await.unwrap();
    let _watch = watched(&world);
    world.prepare(Trouble::Wire, None).unwrap();
    let mut daemon = daemon_that_stops_after(&world, "node.register");
    until("it stops at the point", async || is_stopped(&daemon)).await;
    world.wire().unwrap().tear();
    signal(&daemon, Signal::CONT);
    until("it says that it waits", async || {
        std::fs::read_to_string(world.log()).unwrap().contains("the database went away")
    })
    .await;
    signal(&daemon, Signal::TERM);
    let ended = tokio::task::block_in_place(|| daemon.wait()).unwrap();
    assert!(ended.success(), "{ended}");
}
