//! What becomes of two commands of one device that meet before the first was sent.
//!
//! A pure question about two neighbours, asked again in the same way when a lane is recovered, so
//! that the answer is the same then. Nothing is folded across customers.

use crate::engine::mutant::{self, Mutant};
use crate::model::{Action, Cause, CommandFacts};

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Both are sent, one after the other.
    Apart,
    /// The earlier one carries the later one's metadata too.
    Merge,
    /// Only the later one is sent.
    Supersede,
    /// Neither is sent.
    Annihilate,
}

/// How `later` folds with `earlier`, the unsent command right before it.
pub(crate) fn fold(earlier: &CommandFacts, later: &CommandFacts) -> Fold {
    let same_order = earlier.order == later.order;
    let other_customer = matches!((earlier.customer, later.customer), (Some(a), Some(b)) if a != b);
    match (earlier.action, later.action) {
        _ if other_customer && !mutant::is(Mutant::FoldAcrossCustomers) => Fold::Apart,
        (Action::Claim | Action::UpdateMetadata, Action::UpdateMetadata) => Fold::Merge,
        (Action::Claim, Action::Unclaim) if same_order => {
            if later.cause == Cause::Cancellation {
                Fold::Annihilate
            } else {
                Fold::Supersede
            }
        }
        (Action::Claim, Action::Claim) | (Action::Unclaim, Action::Unclaim) if same_order => {
            Fold::Supersede
        }
        // An unclaim of another order is for the guard to judge, once the claim is through. An
        // unclaim is never dropped for a later claim: who holds the device now is not known.
        (Action::Claim | Action::Unclaim | Action::UpdateMetadata, _) => Fold::Apart,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::model::DeviceHash;

    fn facts(action: Action, customer: u64, order: u64) -> CommandFacts {
        CommandFacts {
            device: DeviceHash(1),
            action,
            cause: match action {
                Action::Claim => Cause::Sale,
                Action::Unclaim => Cause::Return,
                Action::UpdateMetadata => Cause::Amendment,
            },
            customer: NonZeroU64::new(customer),
            order: NonZeroU64::new(order).unwrap(),
            occurred_at: 0,
            names_order: false,
        }
    }

    #[test]
    fn the_table_of_neighbours() {
        use Action::{Claim, Unclaim, UpdateMetadata};
        let (c, u, m) = (Claim, Unclaim, UpdateMetadata);
        let table = [
            // earlier, later, expected
            ((c, 1, 1), (m, 0, 1), Fold::Merge),
            ((c, 1, 1), (m, 1, 2), Fold::Merge),
            ((m, 0, 1), (m, 0, 2), Fold::Merge),
            ((c, 1, 1), (u, 0, 1), Fold::Supersede),
            ((c, 1, 1), (u, 1, 1), Fold::Supersede),
            ((c, 1, 1), (u, 1, 2), Fold::Apart),
            ((c, 1, 1), (c, 1, 1), Fold::Supersede),
            ((c, 1, 1), (c, 1, 2), Fold::Apart),
            ((u, 1, 1), (u, 1, 1), Fold::Supersede),
            ((u, 1, 1), (c, 1, 1), Fold::Apart),
            ((u, 0, 1), (c, 2, 2), Fold::Apart),
            ((m, 0, 1), (u, 0, 1), Fold::Apart),
            ((m, 0, 1), (c, 1, 1), Fold::Apart),
            ((u, 0, 1), (m, 0, 1), Fold::Apart),
        ];
        for (earlier, later, expected) in table {
            let earlier = facts(earlier.0, earlier.1, earlier.2);
            let later = facts(later.0, later.1, later.2);
            assert_eq!(fold(&earlier, &later), expected, "{earlier:?} {later:?}");
        }
    }

    #[test]
    fn only_the_cancellation_of_the_same_order_annihilates_a_claim() {
        let claim = facts(Action::Claim, 1, 1);
        let cancel = |customer, order| CommandFacts {
            cause: Cause::Cancellation,
            ..facts(Action::Unclaim, customer, order)
        };
        assert_eq!(fold(&claim, &cancel(0, 1)), Fold::Annihilate);
        assert_eq!(fold(&claim, &cancel(0, 2)), Fold::Apart);
        assert_eq!(fold(&claim, &cancel(2, 1)), Fold::Apart);
    }

    #[test]
    fn nothing_folds_across_customers() {
        for earlier in Action::ALL {
            for later in Action::ALL {
                let (earlier, later) = (facts(earlier, 1, 1), facts(later, 2, 1));
                assert_eq!(fold(&earlier, &later), Fold::Apart);
            }
        }
    }
}
