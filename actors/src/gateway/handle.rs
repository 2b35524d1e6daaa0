//! The typed way to the gateway.

use std::convert::Infallible;
use std::time::Duration;

use journeyman_supervision::Directory;
use tokio_util::sync::CancellationToken;

use super::messages::{Answered, Call, GatewayMessage, GatewaySnapshot, GivenUp};
use crate::support::{AskError, Mailbox};

/// Where the gateway is.
const PATH: &str = "root/gateway";
/// How long a caller waits: time limits of the provider and the gateway's patience end a call
/// long before.
const LONGEST: Duration = Duration::from_hours(24);
/// The pause before a fact that found no place is told again.
const PAUSE: Duration = Duration::from_millis(50);

/// The typed way to the gateway.
#[derive(Clone, Debug)]
pub struct GatewayHandle(Mailbox<GatewayMessage>);

impl GatewayHandle {
    /// The way from an actor.
    pub fn new(directory: Directory, sender: &'static str) -> Self {
        Self(Mailbox::new(directory, PATH, sender))
    }

    /// Asks a model. Dropping the future withdraws the call where its token is cancelled too.
    pub async fn ask(&self, call: Call) -> Result<Answered, AskError<GivenUp>> {
        let about = self.0.about(call.task);
        about.ask(LONGEST, |reply| GatewayMessage::Ask { call: Box::new(call), reply }).await
    }

    /// What it knows.
    pub async fn snapshot(&self) -> Result<GatewaySnapshot, AskError<Infallible>> {
        self.0.ask(Duration::from_secs(2), |reply| GatewayMessage::Snapshot { reply }).await
    }

    /// A fact from one of its own tasks: it is told until it has arrived or the task shall end.
    pub(super) async fn fact(
        &self,
        stop: &CancellationToken,
        message: impl Fn() -> GatewayMessage,
    ) {
        while !self.0.tell(message()) {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
