//! What the killing came to.

use indicatif::HumanCount;
use serde::Serialize;

/// One kill.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KillReport {
    /// Seconds after the first order event.
    pub at_seconds: f64,
    /// Which worker, from 1. The first has a name that stays.
    pub worker: usize,
    /// Seconds until every lane that had open commands published again; none if nothing was open.
    pub recovery_seconds: Option<f64>,
}

/// The shortest, the middle and the longest time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The shortest.
    pub min: f64,
    /// The middle one; of an even number the lower of the two.
    pub median: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    fn of(times: impl Iterator<Item = f64>) -> Option<Self> {
        let mut times: Vec<f64> = times.collect();
        times.sort_by(f64::total_cmp);
        let (min, max) = (*times.first()?, *times.last()?);
        Some(Self { min, median: times[(times.len() - 1) / 2], max })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { min, median, max } = self;
        write!(f, "min {min:.1} s, median {median:.1} s, max {max:.1} s")
    }
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChaosReport {
    /// Worker processes.
    pub workers: usize,
    /// Workers killed.
    pub kills: u64,
    /// Workers started again after it.
    pub restarts: u64,
    /// Workers that ended although nobody killed them, and were started again.
    pub own_ends: u64,
    /// Changes made at the API.
    pub writes: u64,
    /// Changes made there beyond what the commands asked for.
    pub duplicated_writes: u64,
    /// Of these, such of a device that was in an operation whose name was lost with a worker.
    pub duplicated_writes_explained: u64,
    /// Operations whose names were lost with a worker.
    pub operations_lost: u64,
    /// From a kill until every lane that had open commands published again.
    pub recovery_seconds: Option<Spread>,
    /// Every kill.
    pub killed: Vec<KillReport>,
}

impl ChaosReport {
    /// Whether every duplicated write has its lost reply.
    #[must_use]
    pub const fn is_explained(&self) -> bool {
        self.duplicated_writes == self.duplicated_writes_explained
    }

    /// The spread of the recovery times, of one worker or of all.
    #[must_use]
    pub fn recovery(killed: &[KillReport], worker: Option<usize>) -> Option<Spread> {
        let of = |kill: &&KillReport| worker.is_none_or(|worker| kill.worker == worker);
        Spread::of(killed.iter().filter(of).filter_map(|kill| kill.recovery_seconds))
    }
}

impl std::fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { workers, kills, restarts, own_ends, .. } = self;
        writeln!(f, "  {workers} worker processes, {kills} kills (SIGKILL), {restarts} restarts")?;
        if *own_ends > 0 {
            writeln!(f, "  {own_ends} times a worker ended by itself and was started again")?;
        }
        let [writes, duplicated, lost] =
            [self.writes, self.duplicated_writes, self.operations_lost].map(HumanCount);
        writeln!(f, "  {writes} changes at the API, {duplicated} of them made again")?;
        writeln!(f, "  {lost} operations whose names were lost with a worker")?;
        if self.is_explained() {
            writeln!(f, "  every repeated change is explained by such a loss")?;
        } else {
            let unexplained = self.duplicated_writes - self.duplicated_writes_explained;
            writeln!(f, "  NOT EXPLAINED by such a loss: {unexplained} repeated changes")?;
        }
        writeln!(f, "  from a kill until all lanes published again:")?;
        let names = [(1, "worker 1, whose name stays"), (2, "worker 2, without a name")];
        for (worker, name) in names {
            match Self::recovery(&self.killed, Some(worker)) {
                Some(spread) => writeln!(f, "    {name:<28}{spread}")?,
                None => writeln!(f, "    {name:<28}nothing measured")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(in crate::demo) mod tests {
    use super::*;

    pub(in crate::demo) fn report(explained: u64) -> ChaosReport {
        let kill = |at_seconds, worker, recovery_seconds| KillReport {
            at_seconds,
            worker,
            recovery_seconds: Some(recovery_seconds),
        };
        let killed = vec![kill(3.5, 1, 1.25), kill(6.0, 2, 9.5), kill(9.75, 1, 2.0)];
        ChaosReport {
            workers: 2,
            kills: 3,
            restarts: 3,
            own_ends: 0,
            writes: 1_204,
            duplicated_writes: 57,
            duplicated_writes_explained: explained,
            operations_lost: 2,
            recovery_seconds: ChaosReport::recovery(&killed, None),
            killed,
        }
    }

    #[test]
    fn the_text_shows_kills_repeated_changes_and_recovery() {
        insta::assert_snapshot!(report(57), @r"
          2 worker processes, 3 kills (SIGKILL), 3 restarts
          1,204 changes at the API, 57 of them made again
          2 operations whose names were lost with a worker
          every repeated change is explained by such a loss
          from a kill until all lanes published again:
            worker 1, whose name stays  min 1.2 s, median 1.2 s, max 2.0 s
            worker 2, without a name    min 9.5 s, median 9.5 s, max 9.5 s
        ");
    }

    #[test]
    fn a_repeated_change_without_a_reason_is_said_aloud() {
        let report = report(56);
        assert!(!report.is_explained());
        assert!(report.to_string().contains("NOT EXPLAINED by such a loss: 1 "), "{report}");
    }

    #[test]
    fn the_spread_is_that_of_all_workers() {
        let expected = Spread { min: 1.25, median: 2.0, max: 9.5 };
        assert_eq!(report(57).recovery_seconds, Some(expected));
        assert_eq!(ChaosReport::recovery(&[], None), None);
    }
}
