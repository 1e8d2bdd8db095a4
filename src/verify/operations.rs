//! I3: never two operations in flight for one device.

use jiff::Timestamp;

use super::history::{KeyText, OperationSeen};
use super::report::{Check, Invariant};

/// One device in one operation.
struct Item<'a> {
    device: &'a KeyText,
    operation: &'a OperationSeen,
}

impl Item<'_> {
    /// An operation that never ended is in flight for ever.
    fn end(&self) -> Timestamp {
        self.operation.ended.unwrap_or(Timestamp::MAX)
    }
}

/// Checks I3.
///
/// An overlap with an earlier operation whose name never reached the caller is undetermined, not a
/// violation: no caller could have waited for it. A later lost reply excuses nothing.
pub(super) fn check(operations: &[OperationSeen]) -> Check {
    let mut check = Check::new(Invariant::I3);
    let mut items: Vec<Item<'_>> = operations
        .iter()
        .flat_map(|operation| {
            operation.devices.iter().map(move |device| Item { device, operation })
        })
        .collect();
    items.sort_by(|a, b| {
        (a.device, a.operation.started, a.end()).cmp(&(b.device, b.operation.started, b.end()))
    });
    for device in items.chunk_by(|a, b| a.device == b.device) {
        check_device(&mut check, device);
    }
    check
}

fn check_device(check: &mut Check, items: &[Item<'_>]) {
    // The operation that ends last, among those the caller knew of and among those it did not.
    let mut known: Option<&Item<'_>> = None;
    let mut lost: Option<&Item<'_>> = None;
    for item in items {
        check.checked += 1;
        let overlaps = |other: &&Item<'_>| other.end() > item.operation.started;
        if let Some(other) = known.filter(overlaps) {
            check.violated(|| {
                let ended = other
                    .operation
                    .ended
                    .map_or_else(|| "never ended".to_owned(), |at| format!("ended {at}"));
                format!(
                    "{}: {} started {} while {} was in flight ({ended})",
                    item.device, item.operation.name, item.operation.started, other.operation.name
                )
            });
        } else if lost.is_some_and(|other| overlaps(&other)) {
            check.undetermined += 1;
        }
        let latest = if item.operation.reply_lost { &mut lost } else { &mut known };
        if latest.is_none_or(|other| other.end() < item.end()) {
            *latest = Some(item);
        }
    }
}
