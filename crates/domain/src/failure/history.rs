//! How often in a row something failed, from the reports that are rows.

use std::collections::BTreeMap;

/// A failure that was reported. Several may be of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The attempt at the task, from 1.
    pub attempt: u32,
    /// The round of its run, from 1.
    pub round: u32,
    /// Its category.
    pub category: String,
    /// Equal for equal failures.
    pub fingerprint: String,
}

/// In how many rounds in a row something of the category, and something with the very fingerprint,
/// failed; `now` is among them and the newest. A round that failed otherwise ends the row, whereas
/// one without a report never was: a round begins only where the one before it failed.
pub fn in_a_row(reported: &[Reported], now: &Reported) -> (u32, u32) {
    let mut rounds: BTreeMap<(u32, u32), Vec<&Reported>> = BTreeMap::new();
    for report in reported.iter().chain([now]) {
        rounds.entry((report.attempt, report.round)).or_default().push(report);
    }
    let row = |like: &dyn Fn(&Reported) -> bool| {
        let up_to_now = rounds.range(..=(now.attempt, now.round)).rev();
        let row = up_to_now.take_while(|(_, failed)| failed.iter().any(|report| like(report)));
        u32::try_from(row.count()).unwrap_or(u32::MAX)
    };
    (
        row(&|report| report.category == now.category),
        row(&|report| report.fingerprint == now.fingerprint),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(attempt: u32, round: u32, category: &str, fingerprint: &str) -> Reported {
        let (category, fingerprint) = (category.to_owned(), fingerprint.to_owned());
        Reported { attempt, round, category, fingerprint }
    }

    #[test]
    fn only_the_newest_rounds_without_a_gap_count() {
        let now = report(2, 2, "test", "a");
        assert_eq!(in_a_row(&[], &now), (1, 1));
        // Its own row, written before a crash, is no second failure, nor is another check's.
        assert_eq!(in_a_row(&[now.clone(), report(2, 2, "lint", "l")], &now), (1, 1));
        let past = [
            report(2, 1, "lint", "l"),
            report(2, 1, "test", "a"),
            report(1, 3, "test", "b"),
            report(1, 2, "test", "a"),
            report(1, 1, "build", "c"),
            report(0, 1, "test", "a"),
        ];
        assert_eq!(in_a_row(&past, &now), (4, 2));
        // The order of the rows says nothing.
        let turned: Vec<_> = past.iter().rev().cloned().collect();
        assert_eq!(in_a_row(&turned, &now), (4, 2));
    }
}
