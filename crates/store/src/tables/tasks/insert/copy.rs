//! Many tasks, copied: a third of the work of a statement with arrays, and less log for each row.

use std::fmt::Write as _;

use journeyman_domain::ids::{AgentId, CodebaseId, NodeId, TaskId};
use journeyman_domain::status::AfterFailure;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use super::Insert;
use super::columns::{adders, tell_and_place};
use super::places::Places;
use crate::{NewTask, StoreError};

/// So many are copied: three more round trips must pay.
pub(super) const FROM: usize = 64;
/// Bytes that are sent at once, about.
const PART: usize = 64 * 1024;

pub(super) const COPY: &str = concat!("COPY tasks (", columns!(), ") FROM STDIN");
pub(super) const TELL_AND_PLACE: &str = concat!("WITH ", told_and_placed!());

/// Adds all of these, which are ready, in one commit.
pub(super) async fn add(
    line: &mut PgConnection,
    batch: &[Insert],
    places: Places,
) -> Result<(), StoreError> {
    let mut transaction = line.begin().await?;
    let mut copy = transaction.copy_in_raw(COPY).await?;
    let mut rows = Rows(String::with_capacity(PART + PART / 4));
    for task in batch.iter().flat_map(|insert| &insert.tasks) {
        rows.push(task)?;
        if rows.0.len() >= PART {
            copy.send(rows.0.as_bytes()).await?;
            rows.0.clear();
        }
    }
    copy.send(rows.0.as_bytes()).await?;
    copy.finish().await?;
    let (ids, adders) = adders(batch);
    tell_and_place(TELL_AND_PLACE, ids, &adders, places).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Rows in the text format of COPY.
struct Rows(String);

impl Rows {
    fn push(&mut self, task: &NewTask) -> Result<(), StoreError> {
        self.value(task.id.as_uuid());
        self.next_value(task.codebase_id.map(CodebaseId::as_uuid));
        self.next_value(task.parent_task_id.map(TaskId::as_uuid));
        self.next_text(Some(&task.title));
        self.next_text(task.description.as_deref());
        self.next_text(Some(&task.task_type));
        self.next_text(Some(task.priority.as_str()));
        self.next_text(Some("ready"));
        self.next_text(task.driver.as_deref());
        self.next_text(task.model.as_deref());
        self.next_value(task.agent_id.map(AgentId::as_uuid));
        self.next_words(&task.check_commands)?;
        self.next_words(&task.command)?;
        self.next_text(task.base_ref.as_deref());
        self.next_text(Some(&task.deliver));
        self.next_value(Some(task.allow_unverified));
        self.next_value(task.budget_usd);
        self.next_value(task.time_limit_s);
        self.next_value(task.max_rounds);
        self.next_text(task.unique_key.as_deref());
        self.next_value(task.reserved_for.map(NodeId::as_uuid));
        self.next_text(task.traceparent.as_deref());
        self.next_json(&task.context)?;
        self.next_json(&task.metadata)?;
        self.next_value(task.due_date.map(|due| due.to_rfc3339()));
        let after_failure = task.after_failure;
        let is_set = after_failure != AfterFailure::Wait;
        self.next_text(is_set.then(|| after_failure.as_str()));
        self.0.push('\n');
        Ok(())
    }

    /// What is spelled without any character that would have to be escaped.
    fn value(&mut self, value: impl std::fmt::Display) {
        // A string takes everything.
        let _ = write!(self.0, "{value}");
    }

    fn next_value(&mut self, value: Option<impl std::fmt::Display>) {
        self.0.push('\t');
        match value {
            Some(value) => self.value(value),
            None => self.0.push_str("\\N"),
        }
    }

    fn next_text(&mut self, text: Option<&str>) {
        self.0.push('\t');
        match text {
            Some(text) => self.escaped(text),
            None => self.0.push_str("\\N"),
        }
    }

    fn next_words(&mut self, words: &[String]) -> Result<(), StoreError> {
        if words.is_empty() {
            self.next_text(None);
            return Ok(());
        }
        self.next_json(&words)
    }

    fn next_json(&mut self, value: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_string(value)
            .map_err(|error| StoreError::from(sqlx::Error::Encode(error.into())))?;
        self.next_text(Some(&text));
        Ok(())
    }

    fn escaped(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '\t', '\n', '\r']) {
            let (plain, special) = rest.split_at(at);
            self.0.push_str(plain);
            let mut characters = special.chars();
            self.0.push_str(match characters.next() {
                Some('\t') => "\\t",
                Some('\n') => "\\n",
                Some('\r') => "\\r",
                Some(_) | None => "\\\\",
            });
            rest = characters.as_str();
        }
        self.0.push_str(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copy_would_take_for_its_own_is_escaped() {
        let mut rows = Rows(String::new());
        rows.next_text(Some("a\tb\\c\nd\re\\."));
        rows.next_text(Some(""));
        rows.next_text(Some("\\N"));
        rows.next_text(None);
        rows.next_json(&["\"\n\""]).unwrap();
        assert_eq!(rows.0, "\ta\\tb\\\\c\\nd\\re\\\\.\t\t\\\\N\t\\N\t[\"\\\\\"\\\\n\\\\\"\"]");
    }
}
