//! The vocabulary and the decisions of Journeyman, and nothing else.
//!
//! Here is what a task, a run, a step, a check and a failure are, and every rule that decides
//! something: which task is next, what a run does next, whether a change is verified, what
//! follows a failure. All of it is plain data and pure functions: no clock, no randomness, no
//! file, no database, no task of an executor. Time and identifiers come in as arguments.

pub mod check;
pub mod driver;
pub mod failure;
pub mod files;
pub mod forge;
pub mod gateway;
pub mod ids;
pub mod limits;
pub mod model;
pub mod outbox;
pub mod readiness;
pub mod redact;
pub mod run;
pub mod schedule;
pub mod status;
pub mod step;
pub mod text;
pub mod timetable;
pub mod title;
pub mod tool;
pub mod verdict;
