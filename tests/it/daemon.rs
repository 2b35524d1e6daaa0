//! The daemon as its user meets it: steering tasks, their order, and every command that looks.

mod clock;
mod commands;
mod order;
mod wishes;
