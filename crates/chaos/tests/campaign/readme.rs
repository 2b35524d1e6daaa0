//! The README says what the campaigns came to, as their record has it.

use std::path::Path;

use journeyman_chaos::tally::{JUDGE, Record};

#[test]
fn the_readme_has_the_campaigns_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let record = Record::read(&root.join("docs/campaign.json")).unwrap();
    assert_eq!(record.judge, JUDGE, "a stricter judge begins a record of its own");
    assert!(record.tally.is_clean(), "what a campaign finds is mended, and its record begun anew");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let table = record.tally.to_string();
    assert!(readme.contains(&table), "put this into the README:\n{table}");
}
