//! Where in the queue the tasks of a flush stand. It is computed here: the statement only takes slices of
//! what it is given.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use journeyman_domain::ids::NodeId;
use uuid::Uuid;

use super::{count, is_alike, kind};
use crate::NewTask;
use crate::queue::ready::{self, Kind};

/// Rows of the queue: slices of the ids of what is ready.
#[derive(Default)]
pub(super) struct Places {
    pub(super) lanes: Vec<i32>,
    pub(super) levels: Vec<i32>,
    pub(super) dues: Vec<Option<DateTime<Utc>>>,
    pub(super) reserved: Vec<Option<Uuid>>,
    pub(super) firsts: Vec<i32>,
    pub(super) lasts: Vec<i32>,
    pub(super) ids: Vec<Uuid>,
}

impl Places {
    pub(super) fn of<'a>(
        ready: impl Iterator<Item = &'a NewTask>,
        lanes: &HashMap<Kind, i32>,
    ) -> Self {
        let mut alike: BTreeMap<_, Vec<Uuid>> = BTreeMap::new();
        let mut last: Option<(&NewTask, i32)> = None;
        for task in ready {
            // Neighbours are mostly alike.
            let lane = match last {
                Some((other, lane)) if is_alike(other, task) => lane,
                // One that is none is refused by the statement.
                Some(_) | None => lanes.get(&kind(task)).copied().unwrap_or_default(),
            };
            let is_runless = task.driver.as_deref() == Some("none");
            let reserved = task.reserved_for.map(NodeId::as_uuid);
            let key = (lane, is_runless, ready::level(task.priority), task.due_date, reserved);
            alike.entry(key).or_default().push(task.id.as_uuid());
            last = Some((task, lane));
        }
        let mut places = Self::default();
        for ((lane, is_runless, level, due, reserved), mut ids) in alike {
            ids.sort_unstable();
            for chunk in ids.chunks(usize::from(ready::chunk(is_runless))) {
                places.lanes.push(lane);
                places.levels.push(level);
                places.dues.push(due);
                places.reserved.push(reserved);
                places.firsts.push(count(places.ids.len() + 1));
                places.ids.extend_from_slice(chunk);
                places.lasts.push(count(places.ids.len()));
            }
        }
        places
    }
}
