//! Fault injection: places at which a test ends a life, and mechanisms that a test takes out.
//!
//! Purpose: before and after each durable write and each effect there is a [`Point`]; all of them stand in one table
//! ([`POINTS`]), so that a campaign that walks over the table meets a new one by itself. [`around`] puts a piece of work
//! between the two halves of its point. A [`Mechanism`] is one line of the durability contract; a test that takes it out
//! shows that another test would notice.
//!
//! Owns what is armed in this process, which is a test's affair alone: in a release build nothing looks at it, and
//! [`around`] is the work itself. Must never: decide anything in a process that no test has armed.

mod mechanism;
mod switchboard;
#[cfg(all(test, debug_assertions))]
mod tests;

pub use mechanism::{Mechanism, is_out};
pub mod points;
pub use points::POINTS;
pub use switchboard::{Action, Arm, Half, arm, cut, disarm, hits, take_out};

/// Whether this build has failpoints: what is armed in one without them never comes about.
pub const ARE_THERE: bool = cfg!(debug_assertions);

/// A durable write or an effect, before and after which a life may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// Its name, as `queue.claim`.
    pub name: &'static str,
    /// What comes about between its halves.
    pub what: &'static str,
}

/// Does a piece of work between the two halves of a point. Where the first half ends the life, the work is not begun;
/// where the second does, it is done and nobody learns of it.
#[cfg(debug_assertions)]
pub fn around<F: Future>(point: Point, work: F) -> impl Future<Output = F::Output> {
    // Boxed, so that a future does not grow with each point in it.
    let work = Box::pin(work);
    async move {
        if !switchboard::is_watched() {
            return work.await;
        }
        switchboard::hit(point, Half::Before).await;
        let done = work.await;
        switchboard::hit(point, Half::After).await;
        done
    }
}

/// The work itself.
#[cfg(not(debug_assertions))]
pub fn around<F: Future>(_: Point, work: F) -> F {
    work
}
