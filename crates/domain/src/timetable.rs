//! When a schedule adds its task: the times of a cron line in a time zone.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::status::Missed;

/// How late a time may be and still count as kept, not as missed: the clock is looked at every few seconds, and a
/// restart takes some more.
const GRACE: TimeDelta = TimeDelta::minutes(1);
/// Minutes that a clock change may leave out: a zone that crosses the date line leaves out a day.
const GAP: i64 = 24 * 60 + 1;
/// Tasks that missed times add at once.
const MOST: usize = 100;

/// What is wrong with a schedule's times.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TimetableError {
    /// No cron line.
    #[error(
        "'{line}' is no cron line ({reason}); one is minute, hour, day of month, month, day of week, such as 0 3 * * 1-5"
    )]
    Line {
        /// What was given.
        line: String,
        /// What its parser says.
        reason: String,
    },
    /// No time zone.
    #[error("'{0}' is no time zone; one looks like Europe/Berlin")]
    Zone(String),
    /// It has no time that will come.
    #[error("the cron line '{0}' names no time that ever comes")]
    Never(String),
}

/// The times of a cron line in a time zone.
#[derive(Clone, Debug)]
pub struct Timetable {
    line: String,
    cron: Cron,
    zone: Tz,
    /// Its hours are every one, or every so many: it beats through a clock change. Others are times of the day.
    beats: bool,
}

/// What is due of a timetable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The times that a task is added for.
    pub times: Vec<DateTime<Utc>>,
    /// How many times passed without one.
    pub left_out: usize,
    /// The next time.
    pub next: DateTime<Utc>,
}

impl Timetable {
    /// Reads a line of five fields (or `@daily` and the like) and an IANA name of a zone. `now` shows whether
    /// any of its times will come.
    pub fn parse(line: &str, zone: &str, now: DateTime<Utc>) -> Result<Self, TimetableError> {
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(line).map_err(|error| TimetableError::Line {
            line: line.to_owned(),
            reason: error.to_string().trim_end_matches('.').to_owned(),
        })?;
        let zone = zone.parse().map_err(|_| TimetableError::Zone(zone.to_owned()))?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        let beats =
            fields.get(1).is_some_and(|hours| hours.starts_with('*')) || line.trim() == "@hourly";
        let table = Self { line: line.to_owned(), cron, zone, beats };
        table.after(now)?;
        Ok(table)
    }

    /// The first time after this one. Where a clock change leaves a time of the day out, it is right after the gap;
    /// where it repeats one, the first of the two.
    pub fn after(&self, time: DateTime<Utc>) -> Result<DateTime<Utc>, TimetableError> {
        let never = || TimetableError::Never(self.line.clone());
        let local = time.with_timezone(&self.zone);
        if self.beats {
            let next = self.cron.find_next_occurrence(&local, false).map_err(|_| never())?;
            return Some(next.to_utc()).filter(|next| *next > time).ok_or_else(never);
        }
        // What the clock on the wall shows, looked at as if it were never changed.
        let mut shown = local.naive_local().and_utc();
        // The hour that is there twice has some that have passed.
        for _ in 0..GAP {
            shown = self.cron.find_next_occurrence(&shown, false).map_err(|_| never())?;
            match self.real(shown.naive_utc()) {
                Some(next) if next > time => return Ok(next),
                Some(_) => {}
                None => return Err(never()),
            }
        }
        Err(never())
    }

    /// When a clock on the wall shows this.
    fn real(&self, shown: NaiveDateTime) -> Option<DateTime<Utc>> {
        (0..GAP).find_map(|minutes| {
            match self.zone.from_local_datetime(&(shown + TimeDelta::minutes(minutes))) {
                LocalResult::Single(real) | LocalResult::Ambiguous(real, _) => Some(real.to_utc()),
                LocalResult::None => None,
            }
        })
    }

    /// What is due now, where the first time that was not dealt with is `next`.
    pub fn due(
        &self,
        next: DateTime<Utc>,
        now: DateTime<Utc>,
        missed: Missed,
    ) -> Result<Due, TimetableError> {
        let mut passed = Vec::new();
        let mut left_out = 0;
        let mut next = next;
        while next <= now {
            // Only the last ones can count, however long nobody looked.
            if passed.len() == MOST {
                passed.remove(0);
                left_out += 1;
            }
            passed.push(next);
            next = self.after(next)?;
        }
        let kept = |time: &DateTime<Utc>| now - *time <= GRACE;
        let first = match missed {
            Missed::All => 0,
            Missed::Once => passed.len().saturating_sub(1),
            Missed::Skip => passed.iter().position(kept).unwrap_or(passed.len()),
        };
        left_out += first;
        Ok(Due { times: passed.split_off(first), left_out, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn table(line: &str, zone: &str) -> Timetable {
        Timetable::parse(line, zone, at("2026-01-01T00:00:00Z")).unwrap()
    }

    #[test]
    fn times_are_those_of_the_zone_and_clock_changes_lose_none() {
        let berlin = table("30 2 * * *", "Europe/Berlin");
        assert_eq!(berlin.after(at("2026-01-01T00:00:00Z")), Ok(at("2026-01-01T01:30:00Z")));
        // On 29 March 2026 the clock goes from 2 to 3: there is no half past two.
        let changed = berlin.after(at("2026-03-28T12:00:00Z")).unwrap();
        assert_eq!(changed, at("2026-03-29T01:00:00Z"));
        assert_eq!(berlin.after(changed), Ok(at("2026-03-30T00:30:00Z")));
        // On 25 October it is there twice.
        let first = berlin.after(at("2026-10-24T12:00:00Z")).unwrap();
        assert_eq!(first, at("2026-10-25T00:30:00Z"));
        assert_eq!(berlin.after(first), Ok(at("2026-10-26T01:30:00Z")));
    }

    #[test]
    fn several_times_of_a_day_are_kept_through_clock_changes_and_a_beat_goes_on() {
        let days = table("0,30 2,14 * * *", "Europe/Berlin");
        let from = |table: &Timetable, start: &str, count: usize| {
            let mut times = vec![at(start)];
            for _ in 0..count {
                times.push(table.after(times[times.len() - 1]).unwrap());
            }
            times[1..].iter().map(|time| time.format("%dT%H:%M").to_string()).collect::<Vec<_>>()
        };
        // Both times of the hour that is left out come once, right after it.
        let spring = from(&days, "2026-03-28T14:00:00Z", 3);
        assert_eq!(spring, ["29T01:00", "29T12:00", "29T12:30"]);
        let autumn = from(&days, "2026-10-24T14:00:00Z", 4);
        assert_eq!(autumn, ["25T00:00", "25T00:30", "25T13:00", "25T13:30"]);
        let second = days.after(at("2026-10-25T01:10:00Z")).unwrap();
        assert_eq!(second, at("2026-10-25T13:00:00Z"), "half past two was there already");
        let beat = from(&table("30 * * * *", "Europe/Berlin"), "2026-10-24T23:40:00Z", 3);
        assert_eq!(beat, ["25T00:30", "25T01:30", "25T02:30"]);
    }

    #[test]
    fn missed_times_are_left_out_or_made_up_for() {
        let hourly = table("0 * * * *", "UTC");
        let (next, now) = (at("2026-01-01T01:00:00Z"), at("2026-01-01T03:30:00Z"));
        let due = |missed| hourly.due(next, now, missed).unwrap();
        let times = ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z"];
        let next = at("2026-01-01T04:00:00Z");
        assert_eq!(due(Missed::All), Due { times: times.map(at).to_vec(), left_out: 0, next });
        assert_eq!(due(Missed::Once), Due { times: vec![at(times[2])], left_out: 2, next });
        assert_eq!(due(Missed::Skip), Due { times: vec![], left_out: 3, next });
        let punctual = hourly.due(at(times[0]), at("2026-01-01T03:00:40Z"), Missed::Skip).unwrap();
        assert_eq!(punctual, Due { times: vec![at(times[2])], left_out: 2, next });
        let early = hourly.due(next, at("2026-01-01T03:59:59Z"), Missed::All).unwrap();
        assert_eq!(early, Due { times: vec![], left_out: 0, next });
    }

    #[test]
    fn a_long_absence_adds_a_bounded_number() {
        let due = table("* * * * *", "UTC")
            .due(at("2026-01-01T00:01:00Z"), at("2026-01-08T00:00:30Z"), Missed::All)
            .unwrap();
        assert_eq!((due.times.len(), due.left_out), (100, 7 * 24 * 60 - 100));
        assert_eq!(due.times.last(), Some(&at("2026-01-08T00:00:00Z")));
    }

    #[test]
    fn what_never_comes_or_is_no_line_is_refused() {
        let parse = |line, zone| Timetable::parse(line, zone, at("2026-01-01T00:00:00Z"));
        let said = |line, zone| parse(line, zone).unwrap_err().to_string();
        assert_eq!(
            said("0 0 30 2 *", "UTC"),
            "the cron line '0 0 30 2 *' names no time that ever comes"
        );
        assert_eq!(
            said("@daily", "Mars/Olympus"),
            "'Mars/Olympus' is no time zone; one looks like Europe/Berlin"
        );
        for line in ["", "* * *", "61 * * * *", "0 0 0 * * *", "often"] {
            assert!(matches!(parse(line, "UTC"), Err(TimetableError::Line { .. })), "{line}");
        }
        assert!(parse("0 0 29 2 *", "UTC").is_ok() && parse("@daily", "UTC").is_ok());
    }
}
