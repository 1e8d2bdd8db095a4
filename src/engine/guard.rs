//! May this unclaim go out? An unclaim names no customer at the API: a late one would remove
//! whoever holds the device by then.
//!
//! The rule: an unclaim is stale when the device is held for another customer than the one it
//! names, or under another order. With orders not compared (for shops whose returns bear numbers
//! of their own) one that happened before the present claim's sale is stale instead.

use std::num::NonZeroU64;

use crate::model::{CommandFacts, DeviceState, ORDER_NUMBER, order_hash};

/// The present claim of a device, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) customer: Option<NonZeroU64>,
    pub(crate) order: Option<NonZeroU64>,
    /// When the sale happened, in microseconds since 1970.
    pub(crate) occurred_at: Option<i64>,
}

impl Holder {
    /// The holder that a claim of ours makes.
    pub(crate) fn of_claim(claim: &CommandFacts) -> Self {
        Self {
            customer: claim.customer,
            order: Some(claim.order),
            occurred_at: Some(claim.occurred_at),
        }
    }

    /// The holder that a lookup shows; `None` if nobody holds the device.
    pub(crate) fn of_state(state: &DeviceState) -> Option<Self> {
        let owner = state.owner.as_ref()?;
        Some(Self {
            customer: Some(owner.short_hash()),
            order: state.metadata.get(ORDER_NUMBER).map(|order| order_hash(order)),
            occurred_at: None,
        })
    }
}

/// Why an unclaim is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// Another customer holds the device.
    OtherCustomer,
    /// The device is held under another order.
    OtherOrder,
    /// The device was sold again after this happened.
    NewerSale,
}

impl Stale {
    /// For a person.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::OtherCustomer => {
                "the device is claimed for another customer; nothing was changed. If it must be \
                 unclaimed, send the event with that customer and order"
            }
            Self::OtherOrder => {
                "the device is claimed under another order; nothing was changed. If it must be \
                 unclaimed, send the event with that order's number"
            }
            Self::NewerSale => "the device was sold again after this happened; nothing was changed",
        }
    }
}

/// Whether an unclaim would hit a claim that it does not mean.
pub(crate) fn stale(unclaim: &CommandFacts, holder: &Holder, match_order: bool) -> Option<Stale> {
    let differs = |a: Option<NonZeroU64>, b| matches!((a, b), (Some(a), Some(b)) if a != b);
    let other_order = differs(holder.order, Some(unclaim.order));
    if differs(holder.customer, unclaim.customer) {
        Some(Stale::OtherCustomer)
    } else if !other_order {
        None
    } else if match_order {
        Some(Stale::OtherOrder)
    } else {
        let newer = holder.occurred_at.is_some_and(|sold| sold > unclaim.occurred_at);
        newer.then_some(Stale::NewerSale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Cause, DeviceHash};

    fn unclaim(customer: u64, order: u64, occurred_at: i64) -> CommandFacts {
        CommandFacts {
            device: DeviceHash(1),
            action: Action::Unclaim,
            cause: Cause::Return,
            customer: NonZeroU64::new(customer),
            order: NonZeroU64::new(order).unwrap(),
            occurred_at,
            names_order: false,
        }
    }

    fn holder(customer: u64, order: u64, occurred_at: i64) -> Holder {
        Holder {
            customer: NonZeroU64::new(customer),
            order: NonZeroU64::new(order),
            occurred_at: Some(occurred_at),
        }
    }

    #[test]
    fn the_order_that_holds_the_device_may_be_unclaimed_at_any_time() {
        for match_order in [true, false] {
            assert_eq!(stale(&unclaim(0, 7, 1), &holder(1, 7, 9), match_order), None);
            assert_eq!(stale(&unclaim(1, 7, 1), &holder(1, 7, 9), match_order), None);
            // Claimed without an order number, in the portal say: only the customer can tell.
            assert_eq!(stale(&unclaim(1, 7, 1), &holder(1, 0, 9), match_order), None);
        }
    }

    #[test]
    fn another_customer_is_never_unclaimed() {
        for match_order in [true, false] {
            let stale = stale(&unclaim(1, 7, 9), &holder(2, 7, 1), match_order);
            assert_eq!(stale, Some(Stale::OtherCustomer));
        }
    }

    #[test]
    fn another_order_is_stale_or_else_judged_by_time() {
        assert_eq!(stale(&unclaim(1, 7, 9), &holder(1, 8, 5), true), Some(Stale::OtherOrder));
        assert_eq!(stale(&unclaim(1, 7, 9), &holder(1, 8, 5), false), None);
        assert_eq!(stale(&unclaim(1, 7, 3), &holder(1, 8, 5), false), Some(Stale::NewerSale));
    }
}
