//! An effect happens at the most once, and in the end, whatever is lost on the way.

use proptest::prelude::*;

use super::*;
use crate::forge::ForgeRepository;
use crate::verdict::Comparison;

/// How a remote and the way to it behave in one exchange.
#[derive(Clone, Copy, Debug)]
enum Weather {
    Fine,
    /// Nothing arrives.
    Deaf,
    /// It arrives, and the answer is lost.
    Mute,
    /// It arrives, and the sender dies before it reads the answer.
    Killed,
}

/// A remote that would do a thing again and again.
#[derive(Debug, Default)]
struct Remote {
    done: u32,
}

impl Remote {
    fn look(&self, weather: Weather) -> Option<Input> {
        let found = match self.done {
            0 => Found::Nothing,
            _ => Found::Ours { remote_id: "1".into() },
        };
        match weather {
            Weather::Fine => Some(Input::Looked(Ok(found))),
            Weather::Deaf | Weather::Mute => Some(Input::Looked(Err(Fault::passing("lost")))),
            Weather::Killed => None,
        }
    }

    fn act(&mut self, weather: Weather) -> Option<Input> {
        if !matches!(weather, Weather::Deaf) {
            self.done += 1;
        }
        match weather {
            Weather::Fine => Some(Input::Acted(Ok(Acted::Done { remote_id: "1".into() }))),
            Weather::Deaf | Weather::Mute => Some(Input::Acted(Err(Fault::passing("lost")))),
            Weather::Killed => None,
        }
    }
}

fn weather() -> impl Strategy<Value = Weather> {
    prop_oneof![
        Just(Weather::Fine),
        Just(Weather::Deaf),
        Just(Weather::Mute),
        Just(Weather::Killed)
    ]
}

proptest! {
    #[test]
    fn whatever_is_lost_the_effect_happens_once(storm in prop::collection::vec(weather(), 0..60)) {
        let mut remote = Remote::default();
        let mut storm = storm.into_iter().chain(std::iter::repeat(Weather::Fine));
        let mut ended = None;
        for number in 1..=MOST_ATTEMPTS {
            let (mut attempt, mut next) = Attempt::begin(number, 0.5);
            ended = loop {
                let weather = storm.next().unwrap_or(Weather::Fine);
                let input = match next {
                    Next::Look => remote.look(weather),
                    Next::Act => remote.act(weather),
                    Next::Done { .. } | Next::Failed { .. } => break Some(next),
                    Next::Retry { .. } => break None,
                };
                let Some(input) = input else { break None };
                next = attempt.next(input);
            };
            if ended.is_some() {
                break;
            }
        }
        prop_assert_eq!(remote.done, 1);
        prop_assert_eq!(ended, Some(Next::Done { remote_id: "1".into() }));
    }

    #[test]
    fn pauses_grow_and_are_bounded(attempt in 1..200_u32, unit in 0.0..1.0_f64) {
        let pause = pause_ms(attempt, unit);
        prop_assert!(pause <= pause_ms(attempt, 0.0));
        prop_assert!(pause >= pause_ms(attempt, 0.0) / 2);
        prop_assert!(pause_ms(attempt + 1, unit) >= pause);
        prop_assert!((500..=15 * 60 * 1_000).contains(&pause));
        prop_assert!(pause <= LONGEST_WAIT_MS);
    }
}

fn looked(found: Found) -> Input {
    Input::Looked(Ok(found))
}

#[test]
fn a_place_that_is_taken_is_left_alone() {
    let (mut attempt, next) = Attempt::begin(1, 0.0);
    assert_eq!(next, Next::Look);
    let reason = "the branch x is there with something else".to_owned();
    let foreign = looked(Found::Foreign { reason: reason.clone() });
    assert_eq!(attempt.next(foreign), Next::Failed { reason });
}

#[test]
fn that_something_is_there_is_a_reason_to_look_and_only_once() {
    let (mut attempt, _) = Attempt::begin(1, 0.0);
    assert_eq!(attempt.next(looked(Found::Nothing)), Next::Act);
    let is_there = Input::Acted(Ok(Acted::IsThere { reason: "already exists".into() }));
    assert_eq!(attempt.next(is_there.clone()), Next::Look);
    let seen = Found::Ours { remote_id: "7".into() };
    assert_eq!(attempt.clone().next(looked(seen)), Next::Done { remote_id: "7".into() });
    // It must not act again in this attempt: the remote contradicts itself.
    let reason = "the remote says that it is there already, and does not show it: already exists";
    let retry = Next::Retry { in_ms: 1_000, reason: reason.into() };
    assert_eq!(attempt.next(looked(Found::Nothing)), retry);
}

#[test]
fn what_lasts_is_given_up_at_once_and_what_passes_in_the_end() {
    let lasting = Fault::lasting("the token may not do that");
    for input in [Input::Looked(Err(lasting.clone())), Input::Acted(Err(lasting))] {
        let (mut attempt, _) = Attempt::begin(1, 0.0);
        let failed = Next::Failed { reason: "the token may not do that".into() };
        assert_eq!(attempt.next(input), failed);
    }
    let away =
        || Input::Acted(Err(Fault::Passing { reason: "away".into(), wait_ms: Some(90_000) }));
    let (mut attempt, _) = Attempt::begin(3, 0.0);
    let retry = Next::Retry { in_ms: 90_000, reason: "away".into() };
    assert_eq!(attempt.next(away()), retry);
    let (mut last, _) = Attempt::begin(MOST_ATTEMPTS, 0.0);
    let failed = Next::Failed { reason: "given up after 100 attempts: away".into() };
    assert_eq!(last.next(away()), failed);
    let (_, next) = Attempt::begin(MOST_ATTEMPTS + 1, 0.0);
    assert!(matches!(next, Next::Failed { .. }), "{next:?}");
}

#[test]
fn a_pull_request_says_what_was_asked_and_what_the_checks_say() {
    let check = |name: &str, became| (name.to_owned(), became);
    let checks = [
        check("cargo test", Comparison::Passes),
        check("sh -c 'a\nb'", Comparison::Mended),
        check("make lint", Comparison::Better),
    ];
    let said = draft("Mend it".into(), " Mend it.\n", &checks, None);
    assert_eq!(said.title, "Mend it");
    assert_eq!(
        said.body,
        "Mend it.\n\nChecked on the base and on this change, in clean checkouts:\n\n- `cargo test`: passes\n\
         - `sh -c 'a`: failed on the base, passes now\n- `make lint`: fails on both, with fewer failures now\n"
    );
    let unchecked = draft("t".into(), &"ä".repeat(100_000), &[], Some("trunk".into()));
    assert_eq!(unchecked.base.as_deref(), Some("trunk"));
    assert!(unchecked.body.ends_with("ä…\n\nNo check has judged this change.\n"));
    assert!(unchecked.body.chars().count() < 65_536);
}

#[test]
fn a_push_is_followed_by_its_pull_request_under_a_key_of_its_own() {
    let run: crate::ids::RunId = "0193a2f0-1111-7abc-8def-0123456789ab".parse().unwrap();
    let draft = PullRequestDraft { title: "Mend it".into(), body: "It is.\n".into(), base: None };
    let mut push = Push {
        repository: "/r".into(),
        branch: "journeyman/x".into(),
        commit: "c".into(),
        then: Some(draft),
    };
    let key = Effect::Push(push.clone()).idempotency_key(run);
    assert_eq!(key, format!("{run}/push"));
    let forge =
        ForgeRepository { host: "github.com".into(), owner: "acme".into(), name: "notes".into() };
    let (own, request) = follow_up(&push, &key, forge.clone(), Some("trunk")).unwrap().unwrap();
    assert_eq!(own, Effect::PullRequest(request.clone()).idempotency_key(run));
    assert_eq!((request.head.as_str(), request.base.as_str()), ("journeyman/x", "trunk"));
    assert_eq!(request.body, format!("It is.\n\n<!-- journeyman: {run}/pull_request -->\n"));
    let none = follow_up(&push, &key, forge.clone(), None).unwrap_err();
    assert_eq!(none, "github.com/acme/notes has no default branch that a pull request could go to");
    push.then = None;
    assert_eq!(follow_up(&push, &key, forge, Some("trunk")), Ok(None));
}
