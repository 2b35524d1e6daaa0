//! A journal that was damaged by hand between two lives of its run.

use serde_json::json;

use super::scene::{Standing, by_hand, change, delivered, repository};
use crate::recovery::scene::{assert_done_once, delivered_note, is_over, row, steps};
use crate::support::{Home, wait_until};

/// What is done to the journal of a run, and what is said of it.
struct Case {
    damage: fn(&str) -> String,
    says: &'static str,
}

const CASES: [Case; 9] = [
    Case {
        damage: |run| {
            format!(
                "UPDATE run_steps SET payload = payload - 'result' WHERE run_id = '{run}' AND seq = 3"
            )
        },
        says: "step 3 cannot be read (missing field `result`)",
    },
    Case {
        damage: |run| format!("DELETE FROM run_steps WHERE run_id = '{run}' AND seq = 5"),
        says: "step 5 is missing",
    },
    Case {
        damage: |run| format!("DELETE FROM run_steps WHERE run_id = '{run}' AND seq = 1"),
        says: "step 1 is missing",
    },
    Case {
        damage: |run| {
            format!(
                "UPDATE run_steps s SET payload = o.payload FROM run_steps o \
                 WHERE s.run_id = '{run}' AND s.seq = 4 AND o.run_id = s.run_id AND o.seq = 5"
            )
        },
        says: "step 4 stands there as 'claimed_done' and is 'base_checked'",
    },
    // The same kind, and another run's: its base is another one.
    Case {
        damage: |run| {
            format!(
                "UPDATE run_steps s SET payload = o.payload FROM run_steps o \
                 WHERE s.run_id = '{run}' AND s.seq = 1 AND o.seq = 1 \
                 AND o.run_id = (SELECT max(run_id::text)::uuid FROM run_steps WHERE run_id <> s.run_id)"
            )
        },
        says: "step 1 is not what was written",
    },
    // One word of an answer, which still reads well.
    Case {
        damage: |run| {
            format!(
                "UPDATE run_steps SET payload = jsonb_set(payload, '{{result,duration_ms}}', '1') \
                 WHERE run_id = '{run}' AND seq = 3"
            )
        },
        says: "step 3 is not what was written",
    },
    Case {
        damage: |run| {
            format!(
                "UPDATE blobs SET bytes = set_byte(bytes, 12, get_byte(bytes, 12) # 1) WHERE hash = \
                 (SELECT pack_blob FROM run_steps WHERE run_id = '{run}' AND seq = 3)"
            )
        },
        says: "of step 3, the bytes of the blob",
    },
    Case {
        damage: |run| {
            format!(
                "DELETE FROM blobs WHERE hash = \
                 (SELECT pack_blob FROM run_steps WHERE run_id = '{run}' AND seq = 3)"
            )
        },
        says: "of step 3, the blob",
    },
    Case {
        damage: |run| {
            format!(
                "DELETE FROM blobs WHERE hash = \
                 (SELECT output_blob FROM run_steps WHERE run_id = '{run}' AND seq = 3)"
            )
        },
        says: "of step 3, the blob",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_journal_was_damaged_is_parked_and_the_rest_goes_on() {
    for cases in CASES.chunks(5) {
        let home = Home::new().await;
        let repository = repository(&home, "notes");
        let mut first = home.up();
        let standing: [Standing; 6] = Standing::many(&home, &repository);
        let (healthy, damaged) = standing.split_last().unwrap();
        first.kill();
        let mut hand = by_hand(&home);
        for (case, standing) in cases.iter().zip(damaged) {
            change(&mut hand, &(case.damage)(&standing.run));
        }
        let rows = |standing: &Standing| steps(&home, &standing.task).len();
        let before: Vec<usize> = damaged.iter().map(rows).collect();

        let _second = home.up();
        healthy.finish(&home);
        assert_done_once(&home, &repository, &healthy.task);
        assert_eq!(delivered_note(&home, &repository, &healthy.task), "one\ntwo");
        for (number, (case, standing)) in cases.iter().zip(damaged).enumerate() {
            let said = standing.parked(&home);
            let whole = format!("the journal of run {} is damaged: {}", standing.run, case.says);
            assert!(said.starts_with(&whole), "{said}");
            // What is left of it is shown, and not added to.
            home.run(&["task", "logs", &standing.task]).ok();
            assert_eq!(rows(standing), before[number], "{said}");
            assert_eq!(home.run(&["task", "watch", &standing.task]).code, 4);
        }
        for rest in &damaged[cases.len()..] {
            rest.finish(&home);
            let trees = [rest, healthy].map(|one| delivered(&home, &repository, &one.task));
            assert_eq!(trees[0], trees[1]);
        }

        // Whoever mended the cause, or does not need what is lost, tries again.
        let again = &damaged[0];
        home.run(&["task", "retry", &again.task]).ok();
        wait_until("another attempt stands at its gate, and is done", || {
            let runs = std::fs::read_dir(home.data().join("runs")).into_iter().flatten().flatten();
            for run in runs {
                let tree = run.path().join("tree");
                let note = std::fs::read_to_string(tree.join("note.txt")).unwrap_or_default();
                if note == "one\ntwo\n" {
                    // It may be removed just now.
                    let _ = std::fs::write(tree.join("gate"), "");
                }
            }
            row(&home, &again.task).attempts == 2 && is_over(&home, &again.task)
        });
        let shown = home.task(&again.task);
        assert_eq!((&shown["status"], &shown["verified"]), (&json!("completed"), &json!(true)));
        assert_eq!(delivered_note(&home, &repository, &again.task), "one\ntwo");
    }
}

/// Nothing says that there was more of it; what it lacks is done again.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_end_of_a_journal_that_was_cut_off_is_done_again() {
    let home = Home::new().await;
    let repository = repository(&home, "notes");
    let mut first = home.up();
    let standing: [Standing; 3] = Standing::many(&home, &repository);
    first.kill();
    let mut hand = by_hand(&home);
    for (lacks, standing) in standing.iter().enumerate() {
        let run = &standing.run;
        let last = format!("(SELECT max(seq) FROM run_steps WHERE run_id = '{run}')");
        for _ in 0..lacks {
            let cut = format!("DELETE FROM run_steps WHERE run_id = '{run}' AND seq = {last}");
            change(&mut hand, &cut);
        }
    }
    let _second = home.up();
    for one in &standing {
        one.finish(&home);
        assert_done_once(&home, &repository, &one.task);
        assert_eq!(delivered_note(&home, &repository, &one.task), "one\ntwo");
    }
}
