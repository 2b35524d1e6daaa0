//! Whether a task may begin, by the states of the tasks that it waits for.
//!
//! The store decides it where the rows are, in the transaction that changed one of them; this is what it
//! must decide, and tests compare the two.

use crate::status::{AfterFailure, Status};

/// What the tasks that a task waits for make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It may begin.
    Ready,
    /// It waits on.
    Waits,
    /// It fails with them.
    Fails,
    /// It is left out.
    Skipped,
}

/// Judges a task by what it waits for.
pub fn readiness(policy: AfterFailure, awaited: &[Status]) -> Readiness {
    let is_lost =
        |status: &Status| matches!(status, Status::Failed | Status::Cancelled | Status::Timeout);
    let any_is_lost = awaited.iter().any(is_lost);
    let any_is_open = awaited.iter().any(|status| match policy {
        AfterFailure::Run => *status != Status::Completed && !is_lost(status),
        AfterFailure::Wait | AfterFailure::Fail | AfterFailure::Skip => {
            *status != Status::Completed
        }
    });
    match policy {
        AfterFailure::Fail if any_is_lost => Readiness::Fails,
        AfterFailure::Skip if any_is_lost => Readiness::Skipped,
        _ if any_is_open => Readiness::Waits,
        AfterFailure::Wait | AfterFailure::Fail | AfterFailure::Skip | AfterFailure::Run => {
            Readiness::Ready
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_before_it_does_what_the_task_wants() {
        use AfterFailure::{Fail, Run, Skip, Wait};
        use Readiness::{Fails, Ready, Skipped, Waits};
        let (done, lost, open) = (Status::Completed, Status::Failed, Status::Parked);
        for (awaited, expected) in [
            (&[][..], [Ready, Ready, Ready, Ready]),
            (&[done, done], [Ready, Ready, Ready, Ready]),
            (&[done, open], [Waits, Waits, Waits, Waits]),
            (&[done, lost], [Waits, Fails, Skipped, Ready]),
            (&[open, lost], [Waits, Fails, Skipped, Waits]),
        ] {
            let found = [Wait, Fail, Skip, Run].map(|policy| readiness(policy, awaited));
            assert_eq!(found, expected, "{awaited:?}");
        }
    }
}
