//! The supervised actors of Journeyman: thin shells that translate.
//!
//! A shell turns a message into an input of a pure decision, executes the effects that come back,
//! and feeds their results in as further inputs. The truth is in PostgreSQL and is written before
//! a message is sent; a message is a hint and may be lost. Every actor rebuilds its state from
//! rows when it starts, and a tick covers lost hints.
//!
//! Never in here: a query, a file that is read, an environment variable, a decision.

pub mod agent;
pub mod auditor;
pub mod classifier;
pub mod context;
pub mod gateway;
pub mod learner;
pub mod leases;
pub mod models;
pub mod outbox;
pub mod repository;
pub mod scheduler;
pub mod sentinel;
pub mod support;

/// One actor, as the documentation and the tests know it.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// Its name, also that of its spans.
    pub name: &'static str,
    /// The truth that it owns.
    pub owns: &'static str,
    /// The restart type in `config/supervisor.toml`.
    pub restart: &'static str,
    /// The actors that it may ask and wait for. Only further down this list, so that no circle of
    /// waiting can come about; everybody may tell everybody.
    pub asks: &'static [&'static str],
}

/// Everything that runs, upmost first.
pub const ACTORS: &[Actor] = &[
    Actor {
        name: "sentinel",
        owns: "what is wrong with the runtime itself at the moment",
        restart: "permanent",
        asks: &[],
    },
    Actor {
        name: "scheduler",
        owns: "which tasks this node works on: claims, leases, attempts",
        restart: "permanent",
        asks: &[],
    },
    Actor {
        name: "run",
        owns: "one run: its journal, workspace and processes",
        restart: "temporary",
        asks: &["classifier", "learner", "gateway"],
    },
    Actor {
        name: "outbox",
        owns: "which effects on foreign systems this node sends: claims, leases, attempts",
        restart: "permanent",
        asks: &[],
    },
    Actor {
        name: "classifier",
        owns: "what kind of failure something is, and what follows it",
        restart: "permanent",
        asks: &[],
    },
    Actor { name: "learner", owns: "what resolved which failure", restart: "permanent", asks: &[] },
    Actor {
        name: "gateway",
        owns: "calls of models: their retries, the providers' limits, the day's budget",
        restart: "permanent",
        asks: &[],
    },
    Actor {
        name: "auditor",
        owns: "the chain of the audit, and the record of every start and exit",
        restart: "permanent",
        asks: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_asks_upward_or_sideways() {
        for (place, actor) in ACTORS.iter().enumerate() {
            for asked in actor.asks {
                let below = ACTORS.iter().position(|other| other.name == *asked).unwrap();
                assert!(below > place, "{} asks {asked}", actor.name);
            }
        }
    }
}
