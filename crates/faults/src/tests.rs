//! What is armed happens there and then, and nowhere else.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

#[test]
fn points_have_names_of_their_own() {
    let names: BTreeSet<_> = POINTS.iter().map(|point| point.name).collect();
    assert_eq!(names.len(), POINTS.len());
    assert!(names.iter().all(|name| !name.contains([':', '=', ',', ' '])));
}

/// One test for all: what is armed is the process's.
#[tokio::test]
async fn a_cut_lets_nothing_pass_until_it_is_over() {
    let done = AtomicU32::new(0);
    let count = || async { done.fetch_add(1, Ordering::Relaxed) };
    let (tell, told) = mpsc::channel();
    let cut = |half, nth| {
        let tell = tell.clone();
        let cut: Box<dyn FnOnce() + Send> = Box::new(move || tell.send(()).unwrap());
        Arm { point: points::CLAIM.name.into(), half, nth, action: Action::Cut, cut: Some(cut) }
    };
    let briefly = Duration::from_millis(20);

    // The second time, before the work.
    arm(vec![cut(Half::Before, 2)]);
    around(points::CLAIM, count()).await;
    around(points::FINISH, count()).await;
    assert!(tokio::time::timeout(briefly, around(points::CLAIM, count())).await.is_err());
    told.try_recv().unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 2);
    // Nothing else passes, either.
    assert!(tokio::time::timeout(briefly, around(points::FINISH, count())).await.is_err());
    assert_eq!(done.load(Ordering::Relaxed), 2);

    // After the work: it is done, and nobody learns of it.
    arm(vec![cut(Half::After, 1)]);
    assert!(tokio::time::timeout(briefly, around(points::CLAIM, count())).await.is_err());
    assert_eq!(done.load(Ordering::Relaxed), 3);
    told.try_recv().unwrap();

    arm(Vec::new());
    around(points::CLAIM, count()).await;
    assert_eq!(hits().len(), 2);
    disarm();
    around(points::CLAIM, count()).await;
    assert_eq!((done.load(Ordering::Relaxed), hits().len()), (5, 0));

    assert!(!is_out(Mechanism::Fence));
    take_out(Mechanism::Fence, true);
    assert!(is_out(Mechanism::Fence) && !is_out(Mechanism::Audit));
    take_out(Mechanism::Fence, false);
    assert!(!is_out(Mechanism::Fence));
}
