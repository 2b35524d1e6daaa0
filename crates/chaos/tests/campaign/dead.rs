//! A daemon that ends by itself is a finding, whatever was to end it.

use std::os::unix::fs::PermissionsExt as _;

use journeyman_chaos::judge::EndState;
use journeyman_chaos::life::End;
use journeyman_chaos::record::Recording;
use journeyman_chaos::trouble::Trouble;
use journeyman_chaos::world::Options;
use journeyman_chaos::{Kind, Play, Scenario, World};
use journeyman_faults::Half;
use journeyman_testkit::database;

use super::{program, watched};

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_gives_up_is_no_kill() {
    database::init(program());
    let folder = tempfile::tempdir().unwrap();
    let gives_up = folder.path().join("gives-up");
    std::fs::write(&gives_up, "#!/bin/sh\necho gave up >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&gives_up, std::fs::Permissions::from_mode(0o755)).unwrap();
    let world = World::new(&gives_up, Options::default()).await.unwrap();
    let _watch = watched(&world);
    let play = Play::named("graph").unwrap();
    let recording = Recording { end: EndState::new(), met: Vec::new(), took_ms: 0 };
    let ends =
        [None, Some(End::at("queue.claim", Half::Before, 1)), Some(End::Moment { ms: 60_000 })];
    let troubles = [Trouble::Agent, Trouble::Sleep, Trouble::Nodes].map(Some);
    let lives = ends.into_iter().map(|end| (end, None));
    let lives = lives.chain(troubles.map(|trouble| (None, trouble)));
    for (seed, (end, trouble)) in (0..).zip(lives) {
        let name = play.name.to_owned();
        let scenario = Scenario { seed, kind: Kind::Daemon, play: name, ends: vec![end], trouble };
        let outcome =
            tokio::task::block_in_place(|| scenario.run(&world, play, &recording)).unwrap();
        let lost = &outcome.findings.lost;
        assert!(lost.len() == 1 && lost[0].contains("exit status: 3: gave up"), "{outcome:#?}");
        assert_eq!((outcome.kills, outcome.ended), (0, Vec::new()));
    }
}
