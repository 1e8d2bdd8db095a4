//! Deliberate bugs, one at a time, for the simulator to find. Only with the feature `mutants`:
//! without it [`is`] is a constant, and nothing of a hook is left in the program.

#![cfg_attr(not(feature = "mutants"), allow(unreachable_pub))]

use std::sync::Arc;

use super::Transaction;

macro_rules! mutants {
    ($($name:ident: $what:literal,)*) => {
        /// One deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $what] $name,)*
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What is wrong, in one sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }
        }
    };
}

mutants! {
    CallBeforeIntent: "a call goes out when its intent is written, not when that has committed",
    IntentWithoutOffsets: "a transaction that only changes the ledger carries no offsets",
    LeaseFromAcknowledgement: "the lease counts from the commit of the intent",
    LeaseByWallClock: "the lease counts on the wall clock",
    WatermarkTooFar: "the committed offset is one too far",
    ReplayIgnoresResolved: "a new owner treats what the ledger has as decided as new",
    EpochIgnored: "what an earlier assignment of a partition gave is taken for the present one's",
    AbortedWrittenUnasked: "an aborted transaction is written again without a look at what is \
                            still owned",
    AbortedForgotten: "an aborted transaction is not written again",
    PositionalMatching: "results are matched to devices by position",
    FoldAcrossCustomers: "commands of different customers are folded",
    AnnihilatesSent: "a cancellation annihilates a claim that is on its way",
    RetriesSucceeded: "when one device of a batch is sent again, so are those that succeeded",
    GuardSkipped: "an unclaim goes out without a look at who holds the device",
    TombstoneTooEarly: "a batch's record is ended before the watermark has passed it",
    TwoOperations: "the next command of a device goes out once the first was accepted",
    OffsetOfOneLane: "a transaction that writes for several lanes carries the offset of one",
    NoGrace: "a call whose answer was lost is repeated without waiting for it to take effect",
    LostAnswerForgotten: "a restart forgets that a call before the accepted one got no answer",
    DeadlineKept: "an operation accepted at the second try keeps the deadline of the first",
    MissingResultSucceeds: "a device whose result is missing counts as a success",
    PausedForEver: "a partition that was paused is not resumed",
    NewerPassed: "a command of a newer version is passed over",
    ForeignPurposeSent: "a command that is meant for another installation is sent",
    PositionGoneUnseen: "a lane whose position is gone is read from its start",
    NewTopicUnseen: "in a commands topic made anew, the old ledger's word still counts",
    LossUntold: "commands that were deleted unread are passed over without a word",
    RejectedRecordKept: "a batch that was halved keeps its record beside those of the halves",
    SuspectsKept: "a batch that fails while others are accepted is sent again whole, for ever",
    AccountBlamed: "a refusal without a reason is the account's, though others are accepted",
    OutageBlamed: "a device is given up though nothing else is accepted either",
    SuspectsUnseen: "an unclaim whose answer was lost is sent again without a look",
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Switches a bug on for this thread, or with `None` the last one off.
    pub fn switch(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }

    /// Whether this bug is switched on.
    pub(crate) fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use switch::is;
#[cfg(feature = "mutants")]
pub use switch::switch;

/// Never, in what is shipped.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}

/// The transaction as a bug lets it out.
pub(crate) fn spoil(right: &Arc<Transaction>) -> Arc<Transaction> {
    let mut spoiled = Arc::clone(right);
    if is(Mutant::OffsetOfOneLane) {
        Arc::make_mut(&mut spoiled).offsets.truncate(1);
    }
    if is(Mutant::IntentWithoutOffsets)
        && right.outcomes.is_empty()
        && right.dead_letters.is_empty()
    {
        Arc::make_mut(&mut spoiled).offsets.clear();
    }
    if is(Mutant::WatermarkTooFar) {
        for write in &mut Arc::make_mut(&mut spoiled).offsets {
            write.offset = write.offset.next();
        }
    }
    spoiled
}
