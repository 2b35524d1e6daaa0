//! Every failpoint once, both halves, and nothing is lost, done twice, different or left over.

use std::collections::BTreeSet;

use journeyman_chaos::campaign::Campaign;
use journeyman_faults::POINTS;

use super::program;

#[tokio::test(flavor = "multi_thread")]
async fn a_life_ends_at_every_failpoint() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = Campaign {
        program: program(),
        player: super::CHAOS.into(),
        folder: folder.path().to_owned(),
        jobs: 2,
        ..Campaign::default()
    };
    let (tally, missed) = campaign.short().await.unwrap();
    assert!(tally.is_clean(), "{tally}");
    assert_eq!(missed, [""; 0]);
    let halves = |point: &journeyman_faults::Point| {
        ["before", "after"].map(|half| format!("{} {half}", point.name))
    };
    let expected: BTreeSet<String> = POINTS.iter().flat_map(halves).collect();
    assert_eq!(tally.places, expected);
}
