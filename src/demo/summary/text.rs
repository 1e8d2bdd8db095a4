//! The summary for a person.

use std::fmt::{self, Formatter};

use indicatif::HumanCount;

use super::{BatchSizes, Latency, Summary};

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Demo with seed {} on {}", self.seed, self.broker)?;
        let [orders, devices, commands] =
            [self.orders, self.devices, self.commands].map(HumanCount);
        let (seconds, rate) = (self.duration.as_secs_f64(), self.devices_per_second());
        writeln!(f, "{orders} order events, {devices} devices, {commands} commands")?;
        writeln!(f, "{seconds:.1} s, {rate:.1} devices/s")?;
        self.write_calls(f)?;
        let outcomes = self.outcomes.iter().map(|(status, count)| (status.as_str(), *count));
        write_counts(f, "Outcomes", outcomes)?;
        if self.folded() > 0 {
            writeln!(f, "  {} of them folded: no call of their own", HumanCount(self.folded()))?;
        }
        let failures = self.failures.iter().map(|(code, count)| (code.as_str(), *count));
        write_counts(f, "Failures", failures)?;
        let letters = self.dead_letters.iter().map(|(reason, count)| (reason.as_str(), *count));
        write_counts(f, "Dead letters", letters)?;
        match self.latency {
            None => writeln!(f, "\nOrder event to outcome: nothing measured")?,
            Some(Latency { p50, p90, p99, max }) => writeln!(
                f,
                "\nOrder event to outcome\n  p50 {p50:.2} s, p90 {p90:.2} s, p99 {p99:.2} s, \
                 max {max:.2} s"
            )?,
        }
        if let Some(chaos) = &self.chaos {
            write!(f, "\nChaos\n{chaos}")?;
        }
        let word = match (self.invariants.held(), self.invariants.is_complete()) {
            (false, _) => "VIOLATED",
            (true, false) => "not all of them could be checked",
            (true, true) => "all held",
        };
        writeln!(f, "\nInvariants: {word}")?;
        for line in self.invariants.to_string().lines() {
            writeln!(f, "  {line}")?;
        }
        let guarantees = self.broker.guarantees().replace("; ", ";\n  ");
        write!(f, "\nGuarantees\n  {guarantees}")
    }
}

impl Summary {
    fn write_calls(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (calls, devices, fewest) = ("calls", "devices", "fewest");
        writeln!(f, "\n{:<30}{calls:>10}{devices:>10}{fewest:>10}{:>10}", "API calls", "times")?;
        let total = self.all_batches();
        let has_batches = self.calls.iter().any(|calls| calls.least.is_some());
        for line in self.calls.iter().chain(has_batches.then_some(&total)) {
            let count = |count: Option<u64>| count.map(|count| HumanCount(count).to_string());
            let (devices, least) = (count(line.devices), count(line.least));
            let ratio = line.ratio.map(|ratio| format!("{ratio:.2}"));
            let text = format!(
                "  {:<28}{:>10}{:>10}{:>10}{:>10}",
                line.method,
                HumanCount(line.calls).to_string(),
                devices.unwrap_or_default(),
                least.unwrap_or_default(),
                ratio.unwrap_or_default(),
            );
            writeln!(f, "{}", text.trim_end())?;
        }
        match &self.batch_sizes {
            None => writeln!(f, "  no batch was sent"),
            Some(BatchSizes { min, median, mean, max }) => {
                let [min, median, max] = [min, median, max].map(|size| HumanCount(*size));
                writeln!(
                    f,
                    "  fewest: with every batch full; times: calls for each of the fewest, 1.00 at \
                     best\n  devices in a batch: min {min}, median {median}, mean {mean:.1}, \
                     max {max}"
                )
            }
        }
    }
}

/// A heading, and under it the counts.
fn write_counts<'a>(
    f: &mut Formatter<'_>,
    heading: &str,
    counts: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let mut counts = counts.filter(|(_, count)| *count > 0).peekable();
    if counts.peek().is_none() {
        return writeln!(f, "\n{heading}: none");
    }
    writeln!(f, "\n{heading}")?;
    for (name, count) in counts {
        writeln!(f, "  {name:<28}{:>10}", HumanCount(count).to_string())?;
    }
    Ok(())
}
