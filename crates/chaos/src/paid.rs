//! Answers of a model that are in a journal, and how often each was paid by then. What is paid once more after that was
//! lost.
//!
//! A play with a model has one task that is answered, so that a turn's number says which answer it is, also where a
//! model is asked from the beginning again.

use std::collections::BTreeMap;

use anyhow::Result;
use sqlx::{Connection as _, PgConnection};

use crate::stage::Stage;

/// How often each turn was paid when it was found in a journal first.
#[derive(Debug, Default)]
pub struct Paid(BTreeMap<usize, usize>);

impl Paid {
    /// Looks which answers are in a journal by now. What an earlier look has found stays as it was then.
    pub async fn look(&mut self, stage: &Stage<'_>) -> Result<()> {
        let Some(model) = &stage.model else { return Ok(()) };
        let mut database = PgConnection::connect(&stage.world.url()).await?;
        let answers: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM run_steps s JOIN agent_tasks r ON r.id = s.run_id JOIN tasks t ON t.id = r.task_id \
             WHERE t.title LIKE $1 AND s.kind = 'model_response'",
        )
        .bind(format!("{}%", stage.prefix))
        .fetch_one(&mut database)
        .await?;
        self.note(usize::try_from(answers)?, &model.all_answered());
        Ok(())
    }

    fn note(&mut self, journaled: usize, answered: &BTreeMap<(String, usize), usize>) {
        for (turn, times) in by_turn(answered).into_iter().take_while(|(turn, _)| *turn < journaled)
        {
            self.0.entry(turn).or_insert(times);
        }
    }

    /// What was paid again since.
    pub fn repeated(&self, stage: &Stage<'_>) -> Vec<String> {
        stage.model.as_ref().map_or_else(Vec::new, |model| self.again(&model.all_answered()))
    }

    fn again(&self, answered: &BTreeMap<(String, usize), usize>) -> Vec<String> {
        let now = by_turn(answered);
        let again = |(turn, times): (&usize, &usize)| {
            let now = now.get(turn).copied().unwrap_or_default();
            (now > *times).then(|| {
                format!("turn {turn} was answered {now} times, {times} when it was journaled")
            })
        };
        self.0.iter().filter_map(again).collect()
    }
}

/// How often each turn was answered, in whatever conversation.
fn by_turn(answered: &BTreeMap<(String, usize), usize>) -> BTreeMap<usize, usize> {
    let mut turns = BTreeMap::new();
    for ((_, turn), times) in answered.iter().filter(|(_, times)| **times > 0) {
        *turns.entry(*turn).or_default() += times;
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(of: &[(&str, usize, usize)]) -> BTreeMap<(String, usize), usize> {
        of.iter().map(|(name, turn, times)| (((*name).to_owned(), *turn), *times)).collect()
    }

    #[test]
    fn what_a_later_look_sees_does_not_excuse_what_was_paid_before() {
        let mut paid = Paid::default();
        // The second turn's answer was lost before it was journaled, and is not there yet.
        paid.note(1, &answered(&[("a", 0, 1), ("a", 1, 1)]));
        paid.note(2, &answered(&[("a", 0, 1), ("a", 1, 2)]));
        assert_eq!(paid.again(&answered(&[("a", 0, 1), ("a", 1, 2)])), Vec::<String>::new());
        // Paid again, and then looked at again.
        let again = answered(&[("a", 0, 2), ("a", 1, 2)]);
        paid.note(2, &again);
        assert_eq!(paid.again(&again), ["turn 0 was answered 2 times, 1 when it was journaled"]);
    }

    #[test]
    fn a_conversation_that_begins_anew_is_paid_again() {
        let mut paid = Paid::default();
        paid.note(1, &answered(&[("a", 0, 1)]));
        let anew = answered(&[("a", 0, 1), ("a#2", 0, 1)]);
        assert_eq!(paid.again(&anew), ["turn 0 was answered 2 times, 1 when it was journaled"]);
    }
}
