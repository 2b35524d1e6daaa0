//! Reading and changing text as a model asks for it: numbered lines, one exact replacement, a patch
//! located by its context.
//!
//! It owns what such a change means and how a miss is told. It must never touch a file: texts come
//! in and texts go out.

mod lines;
pub mod patch;
pub mod replace;
pub mod view;

#[cfg(test)]
mod tests;
