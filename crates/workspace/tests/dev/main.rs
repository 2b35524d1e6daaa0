//! dev
mod launcher;
mod workspace;
