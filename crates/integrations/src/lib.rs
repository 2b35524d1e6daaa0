//! Clients of foreign services, only as far as the runtime uses them.
//!
//! A client sends one request and says what was answered. It must never retry, follow a redirect (the token
//! would go along), decide what follows an answer, or let a token out.

pub mod github;
mod token;

pub use token::Token;
