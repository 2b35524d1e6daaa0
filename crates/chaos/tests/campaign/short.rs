//! Every failpoint once, both halves, and nothing is lost, done twice, different or left over.

use std::collections::BTreeSet;
use std::process::Command;

use journeyman_chaos::tally::Tally;
use journeyman_faults::{POINTS, Point};
use serde_json::Value;

use super::{CHAOS, program, watched_command};

#[test]
fn a_life_ends_at_every_failpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(CHAOS);
    command.arg("short").arg("--program").arg(program()).arg("--folder").arg(folder.path());
    let _watch = watched_command(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["missed"], serde_json::json!([]), "no life ended at these: {said}");
    let tally: Tally = serde_json::from_value(document["tally"].clone()).unwrap();
    assert!(tally.is_clean(), "{tally}\n{said}");
    let halves = |point: &Point| ["before", "after"].map(|half| format!("{} {half}", point.name));
    let expected: BTreeSet<String> = POINTS.iter().flat_map(halves).collect();
    assert_eq!(tally.places, expected);
    assert!(tally.inside.kills >= u64::try_from(expected.len()).unwrap(), "{tally}");
}
