//! Deliberate bugs of the shell, whose part the simulator plays; those of the engine are beside it.
//! Each has to be found, or the same bug made by accident would not be found either.

#[cfg(feature = "mutants")]
mod hunt;

use std::cell::Cell;

macro_rules! slips {
    ($($name:ident: $what:literal,)*) => {
        /// A deliberate bug of the shell.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Slip {
            $(#[doc = $what] $name,)*
        }

        #[cfg(feature = "mutants")]
        impl Slip {
            const ALL: &[Self] = &[$(Self::$name),*];

            const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }
        }
    };
}

slips! {
    ReplayStopsAtLastRecord: "the ledger is read to the last record that can be read, not to a \
                              position",
    OffsetUnstable: "the committed offset is taken although a transaction is about to change it",
    UnknownCommitRetried: "a transaction whose commit got no answer is written again",
    ProducerKept: "a commit that got no answer is asked for again by the same producer",
    GivenUpInTransaction: "a revoked partition is given up while its transactions go on",
    MetadataReadLate: "the group's metadata is read after the transaction's contents were decided",
    CommandsReadUncommitted: "commands are read before they are committed",
    LeaseUnchecked: "the shell sends a call without a look at the lease",
}

thread_local! {
    static ACTIVE: Cell<Option<Slip>> = const { Cell::new(None) };
    static HARM_MUST_SHOW: Cell<bool> = const { Cell::new(false) };
}

/// Whether the shell slips in this way.
pub(crate) fn slips(slip: Slip) -> bool {
    cfg!(feature = "mutants") && ACTIVE.get() == Some(slip)
}

/// Whether the check that would see the bug in the transaction itself is off, so that what it does
/// has to be seen.
pub(crate) fn harm_must_show() -> bool {
    cfg!(feature = "mutants") && HARM_MUST_SHOW.get()
}
