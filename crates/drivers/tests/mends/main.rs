//! The drivers on real folders with the real tools: every call is executed, as the runtime would.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod linters;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod rust;
