//! Reading the domain's words and identifiers from columns.
//!
//! Enums are cast to text in SQL and parsed here, so that a word that this binary does not know is
//! an error of that row and not of the connection.

use std::error::Error;
use std::str::FromStr;

use journeyman_domain::ids::{AgentId, CodebaseId, ExecutionId, NodeId, RunId, TaskId};
use journeyman_domain::status::{AfterFailure, Missed, Overlap, Priority, Status, WaitingFor};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type, ValueRef};
use uuid::Uuid;

/// A text column that holds a word.
pub(crate) struct Text<T>(T);

/// The same, or NULL.
pub(crate) struct MaybeText<T>(Option<T>);

/// A UUID column, or NULL.
pub(crate) struct MaybeId(Option<Uuid>);

fn parse<T: FromStr<Err: Error + Send + Sync + 'static>>(
    value: PgValueRef<'_>,
) -> Result<T, BoxDynError> {
    Ok(<&str as Decode<Postgres>>::decode(value)?.parse()?)
}

impl<'r, T: FromStr<Err: Error + Send + Sync + 'static>> Decode<'r, Postgres> for Text<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        parse(value).map(Self)
    }
}

impl<'r, T: FromStr<Err: Error + Send + Sync + 'static>> Decode<'r, Postgres> for MaybeText<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.is_null() { Ok(Self(None)) } else { parse(value).map(|word| Self(Some(word))) }
    }
}

impl<'r> Decode<'r, Postgres> for MaybeId {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.is_null() {
            return Ok(Self(None));
        }
        Ok(Self(Some(Uuid::decode(value)?)))
    }
}

impl<T> Type<Postgres> for Text<T> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        <str as Type<Postgres>>::compatible(ty)
    }
}

impl<T> Type<Postgres> for MaybeText<T> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        <str as Type<Postgres>>::compatible(ty)
    }
}

impl Type<Postgres> for MaybeId {
    fn type_info() -> PgTypeInfo {
        <Uuid as Type<Postgres>>::type_info()
    }
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl From<Text<$word>> for $word {
            fn from(text: Text<$word>) -> Self {
                text.0
            }
        }

        impl From<MaybeText<$word>> for Option<$word> {
            fn from(text: MaybeText<$word>) -> Self {
                text.0
            }
        }
    )*};
}
words!(
    Status,
    Priority,
    WaitingFor,
    AfterFailure,
    Missed,
    Overlap,
    journeyman_domain::outbox::EffectState,
    journeyman_domain::failure::ErrorClass,
    crate::NodeKind
);

macro_rules! identifiers {
    ($($id:ty),*) => {$(
        impl From<MaybeId> for Option<$id> {
            fn from(id: MaybeId) -> Self {
                id.0.map(<$id>::from_uuid)
            }
        }
    )*};
}
identifiers!(AgentId, CodebaseId, ExecutionId, NodeId, RunId, TaskId);

/// Splits off the row beyond a page's limit and gives the cursor of the next page.
pub(crate) fn page<T, C>(
    mut rows: Vec<T>,
    limit: u32,
    cursor: impl Fn(&T) -> C,
) -> (Vec<T>, Option<C>) {
    let limit = limit as usize;
    if rows.len() <= limit {
        return (rows, None);
    }
    rows.truncate(limit);
    let next = rows.last().map(cursor);
    (rows, next)
}

/// What a person may give for an id: a whole one, or its first or last digits.
pub(crate) struct IdPart {
    /// The least id with these first digits.
    pub(crate) low: Uuid,
    /// The greatest one.
    pub(crate) high: Uuid,
    /// A pattern on the reversed digits.
    pub(crate) reversed_suffix: String,
    /// A pattern on the text of the id.
    pub(crate) suffix: String,
}

impl IdPart {
    /// `None` where the text is no part of a UUID.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let plausible = !digits.is_empty()
            && digits.len() <= 32
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plausible {
            return None;
        }
        let digits = digits.to_ascii_lowercase();
        let bound = |fill: char| {
            let mut whole = digits.clone();
            whole.extend(std::iter::repeat_n(fill, 32 - digits.len()));
            Uuid::parse_str(&whole).ok()
        };
        Some(Self {
            low: bound('0')?,
            high: bound('f')?,
            reversed_suffix: digits.chars().rev().chain(['%']).collect(),
            suffix: dashed_suffix(&digits),
        })
    }
}

/// Matches the text of ids that end so: it has dashes before its last 12, 16, 20 and 24 digits.
fn dashed_suffix(digits: &str) -> String {
    let mut pattern = "%".to_owned();
    for (at, digit) in digits.char_indices() {
        let left = digits.len() - at;
        if at > 0 && [12, 16, 20, 24].contains(&left) {
            pattern.push('-');
        }
        pattern.push(digit);
    }
    pattern
}

/// The one id that matched.
pub(crate) fn only(
    what: &'static str,
    part: &str,
    ids: &[Uuid],
) -> Result<Uuid, crate::StoreError> {
    match ids {
        [] => Err(crate::StoreError::not_found(what, part)),
        [id] => Ok(*id),
        _ => Err(crate::StoreError::Ambiguous { what, part: part.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_bounds_ids_and_foreign_text_is_none() {
        let part = IdPart::parse("0193A2F0-11").unwrap();
        assert_eq!(part.low.to_string(), "0193a2f0-1100-0000-0000-000000000000");
        assert_eq!(part.high.to_string(), "0193a2f0-11ff-ffff-ffff-ffffffffffff");
        assert_eq!(part.reversed_suffix, "110f2a3910%");
        assert_eq!(part.suffix, "%0193a2f011");
        let whole = IdPart::parse("93A2F0-1122-7344-8566-778899aabbcc").unwrap();
        assert_eq!(whole.suffix, "%93a2f0-1122-7344-8566-778899aabbcc");
        for text in ["", "-", "xyz", "%", &"0".repeat(33)] {
            assert!(IdPart::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_page_has_a_cursor_only_when_more_follows() {
        assert_eq!(page(vec![1, 2], 2, |n| *n), (vec![1, 2], None));
        assert_eq!(page(vec![1, 2, 3], 2, |n| *n), (vec![1, 2], Some(2)));
    }
}
