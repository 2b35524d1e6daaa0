//! What a provider's headers say of its rate limits and of the wait before another try.
//!
//! Owns: both families of rate-limit headers, `retry-after`, `retry-after-ms`, and waits named in
//! sentences. Pure: the time of day comes in. Must never fail: a header that says nothing sensible
//! says nothing.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use serde::{Deserialize, Serialize};

/// Milliseconds of the longest wait that is believed: a week. Beyond it stands nonsense, and a date
/// that no row can hold.
const LONGEST_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// What is left of a provider's rate limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimits {
    /// Requests.
    pub requests: Option<Window>,
    /// Tokens; where a provider counts several kinds, the one with the least left of its limit.
    pub tokens: Option<Window>,
}

/// What is left in one window of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How much the window has.
    pub limit: Option<u64>,
    /// How much is left.
    pub remaining: Option<u64>,
    /// Milliseconds until it is full again.
    pub reset_ms: Option<u64>,
}

impl RateLimits {
    /// From the headers of an answer, by their lower-case names: `x-ratelimit-*` as OpenAI has
    /// them (the reset is a span such as `6m0s`), `anthropic-ratelimit-*` (a point in time).
    pub fn of<'a>(header: &dyn Fn(&str) -> Option<&'a str>, now: SystemTime) -> Self {
        let window = |limit: &str, remaining: &str, reset: &str| {
            let number = |name: &str| header(name).and_then(|value| value.trim().parse().ok());
            let window = Window {
                limit: number(limit),
                remaining: number(remaining),
                reset_ms: header(reset).and_then(|value| reset_ms(value, now)),
            };
            (window != Window::default()).then_some(window)
        };
        let openai = |what: &str| {
            let name = |which: &str| format!("x-ratelimit-{which}-{what}");
            window(&name("limit"), &name("remaining"), &name("reset"))
        };
        let anthropic = |what: &str| {
            let name = |which: &str| format!("anthropic-ratelimit-{what}-{which}");
            window(&name("limit"), &name("remaining"), &name("reset"))
        };
        let tokens = ["tokens", "input-tokens", "output-tokens"];
        Self {
            requests: openai("requests").or_else(|| anthropic("requests")),
            tokens: openai("tokens")
                .or_else(|| tokens.iter().filter_map(|what| anthropic(what)).reduce(tighter)),
        }
    }

    /// Milliseconds until the windows that are used up are full again.
    pub fn exhausted_ms(&self) -> Option<u64> {
        [self.requests, self.tokens]
            .into_iter()
            .flatten()
            .filter(|window| window.remaining == Some(0))
            .filter_map(|window| window.reset_ms)
            .max()
    }
}

/// The one with less left of its limit; one that does not say loses.
fn tighter(one: Window, other: Window) -> Window {
    let share = |window: &Window| match (window.remaining, window.limit) {
        (Some(remaining), Some(limit)) if limit > 0 => {
            Some((u128::from(remaining) << 32) / u128::from(limit))
        }
        _ => None,
    };
    match (share(&one), share(&other)) {
        (Some(left), Some(right)) if right < left => other,
        (None, Some(_)) => other,
        _ => one,
    }
}

fn reset_ms(value: &str, now: SystemTime) -> Option<u64> {
    let value = value.trim();
    if let Some(span) = span_ms(value) {
        return Some(span);
    }
    let at = DateTime::parse_from_rfc3339(value).ok()?;
    Some(until_ms(SystemTime::from(at), now))
}

fn until_ms(at: SystemTime, now: SystemTime) -> u64 {
    let wait = at.duration_since(now).unwrap_or(Duration::ZERO);
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(LONGEST_MS)
}

/// Milliseconds of a span as Go writes them (`1h2m3.5s`, `12ms`), or of bare seconds.
fn span_ms(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return whole_ms(seconds * 1000.0);
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        // `ms` before `m`, or a millisecond would be a minute.
        let (unit, factor) = [
            ("ms", 1.0),
            ("us", 1e-3),
            ("µs", 1e-3),
            ("ns", 1e-6),
            ("h", 3.6e6),
            ("m", 6e4),
            ("s", 1e3),
        ]
        .into_iter()
        .find(|(unit, _)| rest.starts_with(unit))?;
        sum += amount * factor;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { None } else { whole_ms(sum) }
}

/// Rounded up, so that nobody comes too early, but for a span that no provider means.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "looked at before")]
fn whole_ms(milliseconds: f64) -> Option<u64> {
    let is_span = milliseconds.is_finite() && milliseconds >= 0.0;
    is_span.then(|| (milliseconds.ceil() as u64).min(LONGEST_MS))
}

/// Milliseconds that the headers ask to wait: `retry-after-ms`, else `retry-after` in seconds or
/// as an HTTP date.
pub(crate) fn retry_after_ms<'a>(
    header: &dyn Fn(&str) -> Option<&'a str>,
    now: SystemTime,
) -> Option<u64> {
    let milliseconds = header("retry-after-ms").and_then(|value| value.trim().parse::<f64>().ok());
    if let Some(wait) = milliseconds.and_then(whole_ms) {
        return Some(wait);
    }
    let value = header("retry-after")?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return whole_ms(seconds * 1000.0);
    }
    httpdate::parse_http_date(value).ok().map(|at| until_ms(at, now))
}

/// Milliseconds out of a sentence such as `Please try again in 1.3s.`, as OpenAI writes them where
/// there is no header.
pub(crate) fn named_wait_ms(sentence: &str) -> Option<u64> {
    const BEFORE: &str = "try again in ";
    // Only ASCII is made small, so places stay the same.
    let at = sentence.to_ascii_lowercase().find(BEFORE)? + BEFORE.len();
    let mut words = sentence[at..].split_whitespace();
    let amount = words.next()?.trim_end_matches(['.', ',', ';']);
    let factor = match words.next().map(|unit| unit.trim_end_matches(['.', ',', ';'])) {
        Some("ms" | "milliseconds") => 0.001,
        Some("minute" | "minutes") => 60.0,
        Some("hour" | "hours") => 3600.0,
        Some(_) | None => 1.0,
    };
    match amount.parse::<f64>() {
        Ok(number) => whole_ms(number * factor * 1000.0),
        Err(_) => span_ms(amount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T00:00:00Z.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(498_696)
    }

    fn limits(headers: &[(&str, &'static str)]) -> RateLimits {
        RateLimits::of(&|name| find(headers, name), now())
    }

    fn find(headers: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
        headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn window(limit: u64, remaining: u64, reset_ms: u64) -> Window {
        let (limit, remaining, reset_ms) = (Some(limit), Some(remaining), Some(reset_ms));
        Window { limit, remaining, reset_ms }
    }

    #[test]
    fn the_headers_of_openai_name_spans() {
        let found = limits(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6m0s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "12ms"),
        ]);
        let requests = Some(window(60, 0, 360_000));
        assert_eq!(found, RateLimits { requests, tokens: Some(window(150_000, 149_984, 12)) });
        assert_eq!(found.exhausted_ms(), Some(360_000));
    }

    #[test]
    fn of_the_token_limits_of_anthropic_the_tightest_is_taken() {
        let found = limits(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-11-22T00:00:01Z"),
            ("anthropic-ratelimit-tokens-limit", "1000"),
            ("anthropic-ratelimit-tokens-remaining", "400"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-22T00:00:02Z"),
            ("anthropic-ratelimit-input-tokens-limit", "100"),
            ("anthropic-ratelimit-input-tokens-remaining", "90"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-22T00:00:03Z"),
            ("anthropic-ratelimit-output-tokens-limit", "10000"),
            ("anthropic-ratelimit-output-tokens-remaining", "500"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-11-22T01:00:04.5+01:00"),
        ]);
        let requests = Some(window(50, 49, 1_000));
        assert_eq!(found, RateLimits { requests, tokens: Some(window(10_000, 500, 4_500)) });
        assert_eq!(found.exhausted_ms(), None);
    }

    #[test]
    fn nonsense_says_nothing() {
        assert_eq!(limits(&[]), RateLimits::default());
        let found = limits(&[
            ("x-ratelimit-limit-requests", "many"),
            ("x-ratelimit-reset-requests", "soon"),
            ("anthropic-ratelimit-tokens-reset", "2020-01-01T00:00:00Z"),
        ]);
        let past = Window { reset_ms: Some(0), ..Window::default() };
        assert_eq!(found, RateLimits { requests: None, tokens: Some(past) });
    }

    #[test]
    fn spans_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("1h2m3.5s", Some(3_723_500)),
            ("2m59.56s", Some(179_560)),
            ("12ms", Some(12)),
            ("7.5", Some(7_500)),
            ("0s", Some(0)),
            ("1500us", Some(2)),
            ("", None),
            ("5", Some(5_000)),
            ("m", None),
            ("5x", None),
            ("1m5", None),
            ("-3", None),
            ("nan", None),
        ] {
            assert_eq!(span_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn waits_come_from_headers_in_their_order() {
        let wait =
            |headers: &[(&str, &'static str)]| retry_after_ms(&|name| find(headers, name), now());
        assert_eq!(wait(&[("retry-after-ms", "1250.5"), ("retry-after", "9")]), Some(1_251));
        assert_eq!(wait(&[("retry-after-ms", "soon"), ("retry-after", "2.5")]), Some(2_500));
        assert_eq!(wait(&[("retry-after", "Sun, 22 Nov 2026 00:01:30 GMT")]), Some(90_000));
        assert_eq!(wait(&[("retry-after", "Sun, 22 Nov 2020 00:01:30 GMT")]), Some(0));
        assert_eq!(wait(&[("retry-after", "-1")]), None);
        for nonsense in ["99999999999999", "Wed, 22 Nov 2226 00:01:30 GMT"] {
            assert_eq!(wait(&[("retry-after", nonsense)]), Some(LONGEST_MS));
        }
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn waits_come_from_sentences() {
        for (sentence, expected) in [
            ("Rate limit reached. Please try again in 1.3s. Visit us.", Some(1_300)),
            ("Try again in 20ms.", Some(20)),
            ("please try again in 6m0s", Some(360_000)),
            ("try again in 35 seconds.", Some(35_000)),
            ("try again in 2 minutes", Some(120_000)),
            ("try again in 5", Some(5_000)),
            ("try again in a moment", None),
            ("try again later", None),
            ("ÄÖ try again in 1s", Some(1_000)),
        ] {
            assert_eq!(named_wait_ms(sentence), expected, "{sentence}");
        }
    }
}
