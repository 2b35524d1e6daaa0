#![allow(missing_docs)]
mod audit;
mod queue;
mod schema;
