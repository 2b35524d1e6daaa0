//! What the durability contract rests on, line by line.

/// A mechanism without which a line of the durability contract would not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Executions whose owner is gone are taken over.
    TakeOver,
    /// A journaled answer of a model is used, and not asked for again.
    JournaledAnswers,
    /// The workspace is put back to the journal's last snapshot before a run goes on.
    Restore,
    /// Before an external effect is tried again the remote is asked whether it is there.
    Reconciliation,
    /// Processes of an earlier life are killed before a run goes on.
    Reaping,
    /// A write for an execution carries node and epoch, checked in its statement.
    Fence,
    /// A change and its audit row are one transaction.
    Audit,
    /// A task that is taken over again and again without a new step is parked.
    Parking,
}

impl Mechanism {
    /// All of them, in the order of the contract's lines.
    pub const ALL: [Self; 8] = [
        Self::TakeOver,
        Self::JournaledAnswers,
        Self::Restore,
        Self::Reconciliation,
        Self::Reaping,
        Self::Fence,
        Self::Audit,
        Self::Parking,
    ];

    /// Its name in `JOURNEYMAN_WITHOUT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TakeOver => "take_over",
            Self::JournaledAnswers => "journaled_answers",
            Self::Restore => "restore",
            Self::Reconciliation => "reconciliation",
            Self::Reaping => "reaping",
            Self::Fence => "fence",
            Self::Audit => "audit",
            Self::Parking => "parking",
        }
    }
}

/// Whether a test has taken a mechanism out of this process; never in a release build.
#[cfg(debug_assertions)]
pub fn is_out(mechanism: Mechanism) -> bool {
    crate::switchboard::is_out(mechanism)
}

/// Whether a test has taken a mechanism out of this process; never in a release build.
#[cfg(not(debug_assertions))]
pub const fn is_out(_: Mechanism) -> bool {
    false
}
