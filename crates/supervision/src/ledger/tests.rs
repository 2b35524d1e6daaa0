//! The ledger alone.

use std::time::{Duration, SystemTime};

use super::Ledger;
use crate::{
    path::ChildPath,
    record::{Change, SupervisionRecord},
};

fn add(ledger: &Ledger, count: usize) {
    for _ in 0..count {
        let record = |seq| SupervisionRecord {
            id: uuid::Uuid::now_v7(),
            seq,
            path: ChildPath::root().join("x"),
            generation: 1,
            at: SystemTime::now(),
            change: Change::Started,
            trace: None,
        };
        ledger.append(record, |_| {});
    }
}

fn numbers(records: &[SupervisionRecord]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_written_is_the_next_writers() {
    let ledger = Ledger::default();
    add(&ledger, 3);
    let mut writer = ledger.writer().await;
    let first = writer.next().await;
    assert_eq!(numbers(&first), [1, 2, 3]);
    writer.written(2);
    writer.set_note(7);
    let waits = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.writer().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished(), "one at a time");
    drop(writer);
    let next = waits.await.unwrap();
    assert_eq!((numbers(&next.oldest()), next.note()), (vec![3], Some(7)));
    assert_eq!(next.oldest(), first[2..], "the same record under the same id");
    next.written(3);
    let more = tokio::time::timeout(Duration::from_secs(1), next.next()).await;
    assert!(more.is_err(), "it waits");
    add(&ledger, 1);
    assert_eq!(numbers(&next.next().await), [4]);
}

#[tokio::test]
async fn a_ledger_that_nobody_writes_down_says_what_it_left_out() {
    let ledger = Ledger::keeping(8);
    add(&ledger, 100);
    let records = ledger.writer().await.oldest();
    assert_eq!(numbers(&records), [1, 2, 3, 4, 97, 98, 99, 100]);
    assert_eq!(records[4].change, Change::Omitted { records: 97 - 4 });
}
