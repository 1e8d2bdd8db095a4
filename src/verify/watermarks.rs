//! I4: a watermark never passes a command without committed outcome.

use std::collections::BTreeMap;

use super::index::Index;
use super::report::{Check, Invariant};

/// One partition of the commands topic: offsets ascending, and with each the place of the command
/// at or below it that was decided last.
type Lane = Vec<(i64, Latest)>;

#[derive(Clone, Copy)]
struct Latest {
    /// Place of its first outcome in reading order; the greatest number if it has none.
    outcome: usize,
    offset: i64,
}

/// Checks I4: all commands below a watermark have their outcome among those visible with it.
pub(super) fn check(index: &Index<'_>) -> Check {
    let mut check = Check::new(Invariant::I4);
    let lanes = lanes(index);
    for watermark in &index.history.watermarks {
        check.checked += 1;
        let Some(lane) = lanes.get(&watermark.partition) else { continue };
        let below = lane.partition_point(|(offset, _)| *offset < watermark.committed);
        let Some((_, latest)) = below.checked_sub(1).map(|last| lane[last]) else { continue };
        if latest.outcome >= watermark.outcomes_visible {
            let (partition, committed) = (watermark.partition, watermark.committed);
            check.violated(|| {
                let when =
                    if latest.outcome == usize::MAX { "has none" } else { "got it only later" };
                let offset = latest.offset;
                format!(
                    "partition {partition}: offset {committed} was committed although the command \
                     at {offset} had no outcome yet, and {when}"
                )
            });
        }
    }
    check
}

fn lanes(index: &Index<'_>) -> BTreeMap<i32, Lane> {
    let mut lanes: BTreeMap<i32, Lane> = BTreeMap::new();
    for (at, command) in index.history.commands.iter().enumerate() {
        let outcome = index.decided(at).first.unwrap_or(usize::MAX);
        let latest = Latest { outcome, offset: command.offset };
        lanes.entry(command.partition).or_default().push((command.offset, latest));
    }
    for lane in lanes.values_mut() {
        lane.sort_unstable_by_key(|(offset, _)| *offset);
        for at in 1..lane.len() {
            let before = lane[at - 1].1;
            if before.outcome >= lane[at].1.outcome {
                lane[at].1 = before;
            }
        }
    }
    lanes
}
