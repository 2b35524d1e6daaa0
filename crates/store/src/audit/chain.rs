//! The chain of hashes over the audit, one for rows and one for events.
//!
//! Blocks cover ranges of positions, so that sealing never stands in the way of writers for longer
//! than it takes to read one number. A changed, removed, inserted or moved row changes the digest
//! of its block; a changed block breaks the hashes after it.

use std::cmp::Ordering;

use journeyman_faults::{around, points};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{Connection as _, FromRow};

use super::Audit;
use crate::StoreError;

/// Rows of a block at the most.
const BLOCK_ROWS: i64 = 1000;

// A writer holds its table's lock until it commits: when SHARE is granted, every position up to the
// greatest is either visible or will never exist.
pub(super) const LOCK_TIMEOUT: &str = "SELECT set_config('lock_timeout', '250ms', true)";
pub(super) const LOCK_ROWS: &str = "LOCK TABLE audit_rows IN SHARE MODE";
pub(super) const LOCK_EVENTS: &str = "LOCK TABLE audit_events IN SHARE MODE";
pub(super) const LAST_ROW: &str = "SELECT coalesce(max(position), 0) FROM audit_rows";
pub(super) const LAST_EVENT: &str = "SELECT coalesce(max(position), 0) FROM audit_events";

macro_rules! block_columns {
    () => {
        "chain, seq, first_position, last_position, row_count, content_digest, previous_hash, hash"
    };
}
pub(super) const LAST_BLOCK: &str = concat!(
    "SELECT ",
    block_columns!(),
    " FROM audit_blocks WHERE chain = $1 ORDER BY seq DESC LIMIT 1"
);
pub(super) const BLOCKS: &str = concat!(
    "SELECT ",
    block_columns!(),
    " FROM audit_blocks WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT 1000"
);
// The canonical text of a row: jsonb prints equal values equally, times are microseconds.
pub(super) const ROWS: &str = "SELECT position, jsonb_build_array(position, id, table_name, \
     record_id, operation, old_values, new_values, changed_fields, actor, trace_id, span_id, \
     session_id, (extract(epoch FROM occurred_at) * 1000000)::bigint)::text AS canonical \
     FROM audit_rows WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3";
pub(super) const EVENTS: &str = "SELECT position, jsonb_build_array(position, id, kind, \
     table_name, record_ids, attributes, actor, trace_id, span_id, session_id, \
     (extract(epoch FROM occurred_at) * 1000000)::bigint)::text AS canonical \
     FROM audit_events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3";
pub(super) const SEAL: &str = concat!(
    "INSERT INTO audit_blocks (",
    block_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
);
pub(super) const PRUNED: &str = "SELECT coalesce(max((attributes ->> 'through')::bigint), 0) \
     FROM audit_events WHERE kind = 'audit_pruned' AND attributes ->> 'chain' = $1";

pub(super) const UNSEALED_ROWS: &str = "SELECT count(*) FROM audit_rows WHERE position > $1";
pub(super) const UNSEALED_EVENTS: &str = "SELECT count(*) FROM audit_events WHERE position > $1";

struct Chain {
    name: &'static str,
    lock: &'static str,
    last: &'static str,
    content: &'static str,
    unsealed: &'static str,
}

const CHAINS: [Chain; 2] = [
    Chain { name: "rows", lock: LOCK_ROWS, last: LAST_ROW, content: ROWS, unsealed: UNSEALED_ROWS },
    Chain {
        name: "events",
        lock: LOCK_EVENTS,
        last: LAST_EVENT,
        content: EVENTS,
        unsealed: UNSEALED_EVENTS,
    },
];

#[derive(FromRow)]
struct Block {
    chain: String,
    seq: i64,
    first_position: i64,
    last_position: i64,
    row_count: i64,
    content_digest: Vec<u8>,
    previous_hash: Vec<u8>,
    hash: Vec<u8>,
}

impl Block {
    fn genesis(chain: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            seq: 0,
            first_position: 0,
            last_position: 0,
            row_count: 0,
            content_digest: vec![0; 32],
            previous_hash: vec![0; 32],
            hash: vec![0; 32],
        }
    }

    fn computed_hash(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(&self.previous_hash);
        hash.update(self.chain.as_bytes());
        for number in [self.seq, self.first_position, self.last_position, self.row_count] {
            hash.update(number.to_be_bytes());
        }
        hash.update(&self.content_digest);
        hash.finalize().to_vec()
    }

    /// Whether this block is right where it stands, after `before` and over `content`; what is
    /// wrong where it is not. Content that retention dropped is not asked for.
    fn fault(&self, before: &Self, content: Option<&Content>) -> Option<&'static str> {
        if self.seq != before.seq + 1 {
            return Some("a block is missing");
        }
        if self.previous_hash != before.hash || self.first_position <= before.last_position {
            return Some("it does not follow the block before it");
        }
        if self.computed_hash() != self.hash {
            return Some("the block was changed");
        }
        let content = content?;
        match content.rows.cmp(&self.row_count) {
            Ordering::Less => Some("rows of it are missing"),
            Ordering::Greater => Some("rows came into it after it was sealed"),
            Ordering::Equal => {
                (content.digest != self.content_digest).then_some("its rows were changed")
            }
        }
    }
}

struct Content {
    first: i64,
    last: i64,
    rows: i64,
    digest: Vec<u8>,
}

impl Content {
    const fn none() -> Self {
        Self { first: 0, last: 0, rows: 0, digest: Vec::new() }
    }
}

/// A place where the chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// "rows" or "events".
    pub chain: String,
    /// The block.
    pub seq: i64,
    /// The first position that it covers.
    pub first_position: i64,
    /// The last one.
    pub last_position: i64,
    /// What is wrong.
    pub reason: String,
}

/// What a walk along the chains found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Nothing is broken.
    pub ok: bool,
    /// Blocks that were looked at.
    pub blocks: i64,
    /// Of these, those of which rows are gone that retention may have dropped: their links hold, of their rows nothing is
    /// known.
    pub links_only: i64,
    /// Rows and events in them.
    pub sealed: i64,
    /// The first fault.
    pub first_broken: Option<Broken>,
    /// Rows and events that no block covers yet.
    pub unsealed: i64,
}

impl Audit<'_> {
    /// Seals what is not sealed yet and gives how many rows and events that were. While a long
    /// transaction writes, it seals nothing and leaves that to the next call.
    pub async fn seal(&self) -> Result<i64, StoreError> {
        let mut sealed = 0;
        for chain in &CHAINS {
            sealed += self.seal_chain(chain).await?;
        }
        Ok(sealed)
    }

    async fn seal_chain(&self, chain: &Chain) -> Result<i64, StoreError> {
        let through = match self.stable_through(chain).await {
            Err(error) if error.sqlstate().as_deref() == Some("55P03") => return Ok(0),
            other => other?,
        };
        let last: Option<Block> =
            sqlx::query_as(LAST_BLOCK).bind(chain.name).fetch_optional(self.0.pool()).await?;
        let mut last = last.unwrap_or_else(|| Block::genesis(chain.name));
        let mut sealed = 0;
        while let Some(content) =
            self.content(chain, last.last_position, through, Some(BLOCK_ROWS)).await?
        {
            let mut block = Block {
                chain: chain.name.to_owned(),
                seq: last.seq + 1,
                first_position: content.first,
                last_position: content.last,
                row_count: content.rows,
                content_digest: content.digest,
                previous_hash: last.hash,
                hash: Vec::new(),
            };
            block.hash = block.computed_hash();
            match self.insert(&block).await {
                // Another sealer was faster; what is left is its work.
                Err(StoreError::Conflict(_)) => break,
                other => other?,
            }
            sealed += block.row_count;
            last = block;
        }
        Ok(sealed)
    }

    /// The greatest position below which nothing can appear any more.
    async fn stable_through(&self, chain: &Chain) -> Result<i64, StoreError> {
        let mut connection = self.0.pool().acquire().await?;
        let mut transaction = connection.begin().await?;
        sqlx::query(LOCK_TIMEOUT).execute(&mut *transaction).await?;
        sqlx::query(chain.lock).execute(&mut *transaction).await?;
        let last = sqlx::query_scalar(chain.last).fetch_one(&mut *transaction).await?;
        transaction.rollback().await?;
        Ok(last)
    }

    async fn insert(&self, block: &Block) -> Result<(), StoreError> {
        let sealed = sqlx::query(SEAL)
            .bind(&block.chain)
            .bind(block.seq)
            .bind(block.first_position)
            .bind(block.last_position)
            .bind(block.row_count)
            .bind(&block.content_digest)
            .bind(&block.previous_hash)
            .bind(&block.hash);
        around(points::AUDIT_SEAL, sealed.execute(self.0.pool())).await?;
        Ok(())
    }

    /// The digest over positions in `after..=through`, each row with its length before it; `None`
    /// where there is no row.
    async fn content(
        &self,
        chain: &Chain,
        after: i64,
        through: i64,
        limit: Option<i64>,
    ) -> Result<Option<Content>, StoreError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(chain.content)
            .bind(after)
            .bind(through)
            .bind(limit)
            .fetch_all(self.0.pool())
            .await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(None);
        };
        let mut digest = Sha256::new();
        for (_, canonical) in &rows {
            digest.update((canonical.len() as u64).to_be_bytes());
            digest.update(canonical.as_bytes());
        }
        Ok(Some(Content {
            first: first.0,
            last: last.0,
            rows: i64::try_from(rows.len()).unwrap_or(i64::MAX),
            digest: digest.finalize().to_vec(),
        }))
    }

    /// Walks both chains from their beginning. Blocks of which retention dropped rows are checked by
    /// their links alone, and counted.
    pub async fn verify(&self) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        for chain in &CHAINS {
            self.verify_chain(chain, &mut report).await?;
        }
        report.ok = report.first_broken.is_none();
        Ok(report)
    }

    async fn verify_chain(
        &self,
        chain: &Chain,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let pruned: i64 =
            sqlx::query_scalar(PRUNED).bind(chain.name).fetch_one(self.0.pool()).await?;
        let mut before = Block::genesis(chain.name);
        loop {
            let blocks: Vec<Block> = sqlx::query_as(BLOCKS)
                .bind(chain.name)
                .bind(before.seq)
                .fetch_all(self.0.pool())
                .await?;
            if blocks.is_empty() {
                break;
            }
            for block in blocks {
                let (after, through) = (before.last_position, block.last_position);
                let found = self.content(chain, after, through, None).await?;
                let found = found.unwrap_or_else(Content::none);
                // An event that says so is no proof: what is there is checked all the same.
                let is_pruned = block.first_position <= pruned && found.rows < block.row_count;
                report.links_only += i64::from(is_pruned);
                let content = (!is_pruned).then_some(found);
                report.blocks += 1;
                report.sealed += block.row_count;
                if let (Some(reason), None) =
                    (block.fault(&before, content.as_ref()), &report.first_broken)
                {
                    report.first_broken = Some(Broken {
                        chain: block.chain.clone(),
                        seq: block.seq,
                        first_position: block.first_position,
                        last_position: block.last_position,
                        reason: reason.to_owned(),
                    });
                }
                before = block;
            }
        }
        let unsealed: i64 = sqlx::query_scalar(chain.unsealed)
            .bind(before.last_position)
            .fetch_one(self.0.pool())
            .await?;
        report.unsealed += unsealed;
        Ok(())
    }
}
