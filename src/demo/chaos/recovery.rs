//! How long the lanes stood still after a kill, as a subscriber sees it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::demo::witness::Seen;
use crate::model::CommandId;

/// When the commands of each lane were first seen, and when their outcomes were.
pub(super) struct Lanes {
    lanes: BTreeMap<i32, Vec<(Instant, Instant)>>,
}

impl Lanes {
    /// From what the witness saw.
    pub(super) fn of(seen: &Seen) -> Self {
        let outcomes = seen.history.outcomes.iter().zip(&seen.outcome_times);
        let decided: HashMap<CommandId, Instant> =
            outcomes.map(|(outcome, at)| (outcome.command_id, *at)).collect();
        let mut lanes: BTreeMap<i32, Vec<(Instant, Instant)>> = BTreeMap::new();
        for (command, read) in seen.history.commands.iter().zip(&seen.command_times) {
            if let Some(decided) = decided.get(&command.command_id) {
                lanes.entry(command.partition).or_default().push((*read, *decided));
            }
        }
        Self { lanes }
    }

    /// Time from a kill until every lane in which commands were open then has published again.
    /// `None` if nothing was open.
    pub(super) fn recovery(&self, kill: Instant) -> Option<Duration> {
        let stood_still = |commands: &Vec<(Instant, Instant)>| {
            let was_open = commands.iter().any(|(read, decided)| *read <= kill && *decided > kill);
            let decided = commands.iter().map(|(_, decided)| *decided).filter(|at| *at > kill);
            decided.min().filter(|_| was_open).map(|first| first - kill)
        };
        self.lanes.values().filter_map(stood_still).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(of: &[&[(u64, u64)]], zero: Instant) -> Lanes {
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        let lane = |times: &[(u64, u64)]| {
            times.iter().map(|(read, decided)| (at(*read), at(*decided))).collect()
        };
        Lanes { lanes: (0..).zip(of.iter().map(|times| lane(times))).collect() }
    }

    #[test]
    fn the_slowest_lane_with_open_commands_counts() {
        let zero = Instant::now();
        let lanes = lanes(&[&[(1, 4), (2, 30)], &[(1, 9)], &[(1, 2), (20, 40)], &[]], zero);
        let recovery = |at| lanes.recovery(zero + Duration::from_secs(at)).map(|d| d.as_secs());
        assert_eq!(recovery(3), Some(6));
        assert_eq!(recovery(10), Some(20));
        assert_eq!(recovery(35), Some(5));
        assert_eq!(recovery(50), None);
    }
}
