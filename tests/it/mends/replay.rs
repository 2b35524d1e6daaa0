//! The same observations lead to the same calls, whatever they are.

use std::collections::BTreeSet;

use journeyman_domain::check::CheckKind;
use journeyman_domain::driver::{Action, Assignment, Driver, Observation};
use journeyman_domain::limits::Limits;
use journeyman_domain::status::DriverKind;
use journeyman_domain::tool::{Ended, ToolResult};
use journeyman_drivers::build;
use proptest::prelude::*;

use super::harness::check;

const OUTPUTS: [&str; 8] = [
    include_str!("../../fixtures/drivers/rustc.jsonl"),
    include_str!("../../fixtures/drivers/clippy.jsonl"),
    include_str!("../../fixtures/drivers/ruff.jsonl"),
    include_str!("../../fixtures/drivers/eslint.json"),
    "{\"reason\":\"build-finished\",\"success\":true}\n",
    "//! Words.\nuse std::fmt::Write;\n\nfn f() {\n    assert!(true);\n}\n",
    "[tool.ruff]\n/w/src/lib.rs\n",
    "\u{0}\u{feff}{\"reason\":\"compiler-message\",{[\n",
];

#[derive(Clone, Debug)]
enum Event {
    /// The asked call ended so, with a part of this output.
    Answer {
        ended: Ended,
        output: usize,
        cut: bool,
        changed: bool,
    },
    Foreign,
    RoundFailed,
}

fn event() -> impl Strategy<Value = Event> {
    let ended = prop_oneof![
        6 => Just(Ended::Exited { code: 0 }),
        3 => Just(Ended::Exited { code: 1 }),
        1 => Just(Ended::Interrupted),
        1 => Just(Ended::TimedOut { after_ms: 1 }),
        1 => Just(Ended::Refused { reason: "no".into() }),
    ];
    let answer = (ended, 0..OUTPUTS.len(), prop::bool::weighted(0.1), any::<bool>())
        .prop_map(|(ended, output, cut, changed)| Event::Answer { ended, output, cut, changed });
    prop_oneof![30 => answer, 1 => Just(Event::Foreign), 1 => Just(Event::RoundFailed)]
}

fn assignment() -> Assignment {
    let files = [
        "Cargo.toml",
        "eslint.config.mjs",
        "go.mod",
        "m.go",
        "pkg/m.py",
        "pyproject.toml",
        "src/lib.rs",
        "x.js",
    ];
    Assignment {
        prompt: "mend it".into(),
        checks: vec![
            check("cargo test", CheckKind::Test),
            check("cargo clippy", CheckKind::Lint),
            check("cargo fmt --check", CheckKind::Lint),
            check("gofmt -l .", CheckKind::Lint),
        ],
        files: files.map(ToOwned::to_owned).to_vec(),
        workspace: "/w".into(),
        ..Assignment::default()
    }
}

fn observation(event: &Event, action: &Action) -> Option<Observation> {
    let call_id = match (event, action) {
        (Event::Answer { .. }, Action::Call(call)) => call.call_id.clone(),
        (
            Event::Answer { .. },
            Action::Reads { .. }
            | Action::Ask(_)
            | Action::Exhausted { .. }
            | Action::Finished { .. }
            | Action::Stuck { .. },
        ) => return None,
        (Event::Foreign, _) => "another".to_owned(),
        (Event::RoundFailed, _) => {
            return Some(Observation::RoundFailed { evidence: "test f failed".into() });
        }
    };
    let (ended, output, cut, changed) = match event {
        Event::Answer { ended, output, cut, changed } => {
            (ended.clone(), OUTPUTS[*output], *cut, *changed)
        }
        Event::Foreign | Event::RoundFailed => (Ended::Interrupted, "", false, true),
    };
    let half = if cut {
        (output.len() / 2..=output.len()).find(|at| output.is_char_boundary(*at))
    } else {
        None
    };
    let output = output[..half.unwrap_or(output.len())].to_owned();
    let result = ToolResult {
        call_id,
        ended,
        head: String::new(),
        tail: None,
        output_bytes: 0,
        duration_ms: 0,
        changed,
    };
    Some(Observation::CallEnded { result, output })
}

fn replay(observations: &[Observation]) -> Box<dyn Driver> {
    let mut driver = build(DriverKind::Mechanic, assignment(), &Limits::default());
    for observation in observations {
        driver.observe(observation.clone());
    }
    driver
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_prefix_replayed_asks_for_the_same(events in prop::collection::vec(event(), 1..60)) {
        let mut driver = build(DriverKind::Mechanic, assignment(), &Limits::default());
        let mut seen = Vec::new();
        let mut ids = BTreeSet::new();
        for event in &events {
            let action = driver.next();
            prop_assert_eq!(&action, &driver.next());
            prop_assert_eq!(&action, &replay(&seen).next());
            let Some(observation) = observation(event, &action) else { continue };
            if let (Event::Answer { .. }, Action::Call(call)) = (event, &action) {
                prop_assert!(ids.insert(call.call_id.clone()), "{} twice", call.call_id);
            }
            seen.push(observation.clone());
            driver.observe(observation);
        }
    }

    #[test]
    fn it_always_comes_to_an_end(events in prop::collection::vec(event(), 8..40)) {
        let mut driver = build(DriverKind::Mechanic, assignment(), &Limits::default());
        let answers = events.iter().filter(|event| matches!(event, Event::Answer { .. })).cycle();
        let ended = answers.take(2_000).any(|event| match observation(event, &driver.next()) {
            Some(observation) => {
                driver.observe(observation);
                false
            }
            None => true,
        });
        let answers = events.iter().filter(|event| matches!(event, Event::Answer { .. })).count();
        prop_assert!(ended || answers == 0);
    }
}

#[test]
fn a_round_that_finds_nothing_new_is_stuck_with_the_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let outcome =
        super::harness::mend_folder(folder.path(), vec![check("true", CheckKind::Custom)]);
    assert_eq!(outcome.finished(), "nothing was mended; the check passes");
    let mut driver = build(DriverKind::Mechanic, outcome.assignment.clone(), &Limits::default());
    for observation in &outcome.observations {
        driver.observe(observation.clone());
    }
    driver.observe(Observation::RoundFailed { evidence: "\n2 tests failed\n".into() });
    let reason = "nothing was mended; left:\nverification: 2 tests failed".to_owned();
    assert_eq!(driver.next(), Action::Stuck { reason });
}
