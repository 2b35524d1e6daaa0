//! One file a table: its row, and the statements that read and write it.

pub mod agents;
pub mod calls;
pub mod children;
pub mod codebases;
pub mod configuration;
pub mod errors;
pub mod executions;
pub mod files;
pub mod keys;
pub mod nodes;
pub mod outbox;
pub mod patterns;
pub mod runs;
pub mod schedules;
pub mod tasks;
