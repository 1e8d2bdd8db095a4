//! What a run of the demo came to: figures for a person and, as JSON, for a program.
//!
//! Says no more about guarantees than the broker at hand can show.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::HumanCount;
use serde::{Serialize, Serializer};

use super::chaos::ChaosReport;
use crate::model::{FailureCode, Status};
use crate::verify::Report;

/// Latencies above a day count as a day.
const LATENCY_MAX_MS: u64 = 86_400_000;

/// What kind of Kafka the run had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Broker {
    /// librdkafka's mock cluster, in this process.
    EmbeddedMock,
    /// A real cluster.
    Kafka {
        /// Its bootstrap servers.
        bootstrap_servers: String,
    },
}

impl Broker {
    /// What a run on this broker says about delivery guarantees, and what it does not.
    #[must_use]
    pub const fn guarantees(&self) -> &'static str {
        match self {
            Self::EmbeddedMock => {
                "embedded mock broker: transactions are not isolated and offsets are not kept \
                 here; this run says nothing about exactly-once; use --bootstrap-servers with a \
                 real Kafka"
            }
            Self::Kafka { .. } => {
                "real Kafka: commands, outcomes and offsets were committed in transactions and \
                 read back as committed; where I1 held, each command had its outcome exactly once"
            }
        }
    }
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EmbeddedMock => f.write_str("embedded mock broker"),
            Self::Kafka { bootstrap_servers } => write!(f, "Kafka at {bootstrap_servers}"),
        }
    }
}

/// Calls of one method of the API.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodCalls {
    /// The method, as in `devices:claimAsync`.
    pub method: String,
    /// How many calls.
    pub calls: u64,
    /// Devices sent in them, for methods that take batches.
    pub devices: Option<u64>,
    /// The fewest calls that could have carried these devices.
    pub least: Option<u64>,
    /// Calls made for each of the fewest; 1 is perfect.
    pub ratio: Option<f64>,
}

impl MethodCalls {
    /// A method that takes batches of at most `batch_items_max` devices.
    #[must_use]
    pub fn batched(method: &str, calls: u64, devices: u64, batch_items_max: u64) -> Self {
        let least = devices.div_ceil(batch_items_max.max(1));
        Self {
            method: method.to_owned(),
            calls,
            devices: Some(devices),
            least: Some(least),
            ratio: ratio(calls, least),
        }
    }

    /// A method that is about one thing at a time.
    #[must_use]
    pub fn single(method: &str, calls: u64) -> Self {
        Self { method: method.to_owned(), calls, devices: None, least: None, ratio: None }
    }
}

fn ratio(calls: u64, least: u64) -> Option<f64> {
    (least > 0).then(|| calls as f64 / least as f64)
}

/// How many devices went out in one call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchSizes {
    /// The smallest.
    pub min: u64,
    /// The middle one; of an even number the lower of the two.
    pub median: u64,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub max: u64,
}

impl BatchSizes {
    /// From the size of each batch; `None` if there was none.
    #[must_use]
    pub fn of(mut sizes: Vec<u64>) -> Option<Self> {
        sizes.sort_unstable();
        let (min, max) = (*sizes.first()?, *sizes.last()?);
        let median = sizes[(sizes.len() - 1) / 2];
        let mean = sizes.iter().sum::<u64>() as f64 / sizes.len() as f64;
        Some(Self { min, median, mean, max })
    }
}

/// Collects latencies in constant memory, exact to 0.1 %.
#[derive(Clone, Debug)]
pub struct LatencyRecorder {
    /// Milliseconds.
    histogram: Histogram<u64>,
    /// The histogram only knows the end of the bucket.
    max: u64,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        // The bounds are constants that the histogram accepts.
        #[allow(clippy::expect_used)]
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_MS, 3).expect("valid bounds");
        Self { histogram, max: 0 }
    }
}

impl LatencyRecorder {
    /// Notes the time from an order event to one of its outcomes.
    pub fn record(&mut self, latency: Duration) {
        let milliseconds = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let milliseconds = milliseconds.min(LATENCY_MAX_MS);
        self.max = self.max.max(milliseconds);
        self.histogram.saturating_record(milliseconds);
    }

    /// The percentiles; `None` if nothing was noted.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        let seconds = |milliseconds: u64| milliseconds as f64 / 1_000.0;
        let at = |quantile| seconds(self.histogram.value_at_quantile(quantile).min(self.max));
        (!self.histogram.is_empty()).then(|| Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: seconds(self.max),
        })
    }
}

/// Seconds from order event to outcome.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// Nine of ten were faster.
    pub p90: f64,
    /// Ninety-nine of a hundred were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Seed of the scenario.
    pub seed: u64,
    /// What kind of Kafka it ran on.
    pub broker: Broker,
    /// From the first order event written to the last outcome read.
    #[serde(rename = "durationSeconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// Order records written.
    pub orders: u64,
    /// Different devices sold.
    pub devices: u64,
    /// Commands made.
    pub commands: u64,
    /// Calls by method.
    pub calls: Vec<MethodCalls>,
    /// Sizes of all batches sent.
    pub batch_sizes: Option<BatchSizes>,
    /// Outcomes by status.
    pub outcomes: BTreeMap<Status, u64>,
    /// Failures by code.
    pub failures: BTreeMap<FailureCode, u64>,
    /// Time from order event to outcome.
    #[serde(rename = "latencySeconds")]
    pub latency: Option<Latency>,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// What the oracle found.
    pub invariants: Report,
    /// What killing the workers came to, if they were killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chaos: Option<ChaosReport>,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Summary {
    /// Whether every invariant was checked and held, and every change that was made twice is
    /// explained: what the exit status says.
    #[must_use]
    pub fn held(&self) -> bool {
        let is_explained = self.chaos.as_ref().is_none_or(ChaosReport::is_explained);
        self.invariants.held() && self.invariants.is_complete() && is_explained
    }

    /// Commands that needed no call of their own.
    #[must_use]
    pub fn folded(&self) -> u64 {
        [Status::Superseded, Status::Merged, Status::Cancelled]
            .iter()
            .filter_map(|status| self.outcomes.get(status))
            .sum()
    }

    /// Devices sold for each second of the run.
    #[must_use]
    pub fn devices_per_second(&self) -> f64 {
        let seconds = self.duration.as_secs_f64();
        if seconds > 0.0 { self.devices as f64 / seconds } else { 0.0 }
    }

    /// Batches sent, against the fewest possible, over all methods that take batches.
    #[must_use]
    pub fn all_batches(&self) -> MethodCalls {
        let batched = || self.calls.iter().filter(|calls| calls.least.is_some());
        let calls = batched().map(|calls| calls.calls).sum();
        let least = batched().filter_map(|calls| calls.least).sum();
        MethodCalls {
            method: "all batches".to_owned(),
            calls,
            devices: Some(batched().filter_map(|calls| calls.devices).sum()),
            least: Some(least),
            ratio: ratio(calls, least),
        }
    }

    /// The summary as JSON, with the figures that follow from others.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({ "held": self.held() });
        // Plain data with text keys always becomes an object.
        if let (Some(json), Ok(serde_json::Value::Object(figures))) =
            (json.as_object_mut(), serde_json::to_value(self))
        {
            json.extend(figures);
            json.insert("devicesPerSecond".into(), self.devices_per_second().into());
            json.insert("folded".into(), self.folded().into());
            json.insert("allBatches".into(), serde_json::json!(self.all_batches()));
            json.insert("guarantees".into(), self.broker.guarantees().into());
        }
        json
    }

    fn write_calls(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (calls, devices, least) = ("calls", "devices", "least");
        writeln!(f, "\n{:<30}{calls:>10}{devices:>10}{least:>10}     ratio", "API calls")?;
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
                writeln!(f, "  batch sizes: min {min}, median {median}, mean {mean:.1}, max {max}")
            }
        }
    }
}

/// A heading, and under it the counts.
fn write_counts<'a>(
    f: &mut std::fmt::Formatter<'_>,
    heading: &str,
    counts: impl Iterator<Item = (&'a str, u64)>,
) -> std::fmt::Result {
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

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{History, Orders, OutcomeSeen, check};

    fn summary(broker: Broker, invariants: Report) -> Summary {
        let mut latency = LatencyRecorder::default();
        for milliseconds in 1..=1_000 {
            latency.record(Duration::from_millis(milliseconds * 10));
        }
        Summary {
            seed: 42,
            broker,
            duration: Duration::from_millis(43_210),
            orders: 1_302,
            devices: 10_000,
            commands: 11_204,
            calls: vec![
                MethodCalls::batched("devices:claimAsync", 12, 10_000, 1_000),
                MethodCalls::batched("devices:unclaimAsync", 3, 801, 1_000),
                MethodCalls::batched("devices:updateMetadataAsync", 0, 0, 1_000),
                MethodCalls::single("operations.get", 57),
            ],
            batch_sizes: BatchSizes::of(vec![1_000, 1_000, 267, 1, 1_000]),
            outcomes: BTreeMap::from([
                (Status::Succeeded, 11_000),
                (Status::Failed, 51),
                (Status::Superseded, 3),
                (Status::Merged, 100),
                (Status::Cancelled, 50),
            ]),
            failures: BTreeMap::from([(FailureCode::InvalidImei, 51)]),
            latency: latency.latency(),
            dead_letters: BTreeMap::from([("not_json".to_owned(), 1)]),
            invariants,
            chaos: None,
        }
    }

    fn nothing_seen() -> Report {
        check(&History::default(), Orders::Unknown)
    }

    /// As if the oracle had seen a run without fault.
    fn all_held() -> Report {
        let mut report = nothing_seen();
        for (check, checked) in report.checks.iter_mut().zip([22_000, 9_950, 11_000, 600]) {
            check.checked = checked;
        }
        report
    }

    fn violated() -> Report {
        let command_id = crate::model::CommandId(uuid::Uuid::nil());
        let outcome = OutcomeSeen {
            outcome_id: command_id.into(),
            command_id,
            device: None,
            action: crate::model::Action::Claim,
            status: Status::Succeeded,
            code: None,
            decided_by: None,
        };
        check(&History { outcomes: vec![outcome], ..History::default() }, Orders::Unknown)
    }

    #[test]
    fn the_text_shows_every_figure() {
        insta::assert_snapshot!(summary(Broker::EmbeddedMock, all_held()), @r"
        Demo with seed 42 on embedded mock broker
        1,302 order events, 10,000 devices, 11,204 commands
        43.2 s, 231.4 devices/s

        API calls                          calls   devices     least     ratio
          devices:claimAsync                  12    10,000        10      1.20
          devices:unclaimAsync                 3       801         1      3.00
          devices:updateMetadataAsync          0         0         0
          operations.get                      57
          all batches                         15    10,801        11      1.36
          batch sizes: min 1, median 1,000, mean 653.6, max 1,000

        Outcomes
          succeeded                       11,000
          failed                              51
          superseded                           3
          merged                             100
          cancelled                           50
          153 of them folded: no call of their own

        Failures
          input.invalid_imei                  51

        Dead letters
          not_json                             1

        Order event to outcome
          p50 5.00 s, p90 9.01 s, p99 9.90 s, max 10.00 s

        Invariants: all held
          I1 held     one outcome for every command (22000 commands, order lines and dead letters)
          I2 held     devices end as their commands say (9950 devices)
          I3 held     one operation at a time for a device (11000 operation items)
          I4 held     no offset committed ahead of its outcome (600 committed offsets)

        Guarantees
          embedded mock broker: transactions are not isolated and offsets are not kept here;
          this run says nothing about exactly-once;
          use --bootstrap-servers with a real Kafka
        ");
    }

    #[test]
    fn the_json_has_the_same_figures_and_those_that_follow() {
        let broker = Broker::Kafka { bootstrap_servers: "localhost:9092".to_owned() };
        let json = summary(broker, all_held()).to_json();
        let members: Vec<String> = json
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| {
                !["calls", "allBatches", "invariants", "guarantees"].contains(&key.as_str())
            })
            .map(|(key, value)| format!("{key}: {value}"))
            .chain([json["calls"][0].to_string(), json["calls"][3].to_string()])
            .chain([json["allBatches"]["ratio"].to_string()])
            .chain([json["invariants"][0]["violationsTotal"].to_string()])
            .collect();
        insta::assert_snapshot!(members.join("\n"), @r#"
        held: true
        seed: 42
        broker: {"kind":"kafka","bootstrapServers":"localhost:9092"}
        durationSeconds: 43.21
        orders: 1302
        devices: 10000
        commands: 11204
        batchSizes: {"min":1,"median":1000,"mean":653.6,"max":1000}
        outcomes: {"succeeded":11000,"failed":51,"superseded":3,"merged":100,"cancelled":50}
        failures: {"input.invalid_imei":51}
        latencySeconds: {"p50":5.003,"p90":9.007,"p99":9.903,"max":10.0}
        deadLetters: {"not_json":1}
        devicesPerSecond: 231.42791020597085
        folded: 153
        {"method":"devices:claimAsync","calls":12,"devices":10000,"least":10,"ratio":1.2}
        {"method":"operations.get","calls":57,"devices":null,"least":null,"ratio":null}
        1.3636363636363635
        0
        "#);
    }

    #[test]
    fn a_violation_is_shown_and_makes_the_summary_fail() {
        let summary = summary(Broker::EmbeddedMock, violated());
        assert!(!summary.held());
        let text = summary.to_string();
        assert!(
            text.contains("Invariants: VIOLATED") && text.contains("unknown command"),
            "{text}"
        );
    }

    #[test]
    fn a_change_made_twice_without_a_lost_reply_makes_the_summary_fail() {
        let broker = Broker::Kafka { bootstrap_servers: "localhost:9092".to_owned() };
        let chaos = |explained| Some(crate::demo::chaos::tests::report(explained));
        let sound = Summary { chaos: chaos(57), ..summary(broker, all_held()) };
        assert!(sound.held());
        assert!(sound.to_string().contains("\nChaos\n  2 worker processes, 3 kills"), "{sound}");
        assert_eq!(sound.to_json()["chaos"]["kills"], 3);
        assert!(!Summary { chaos: chaos(56), ..sound }.held());
    }

    #[test]
    fn a_run_in_which_nothing_happened_divides_by_nothing() {
        let summary = Summary {
            duration: Duration::ZERO,
            calls: Vec::new(),
            batch_sizes: BatchSizes::of(Vec::new()),
            outcomes: BTreeMap::new(),
            failures: BTreeMap::new(),
            latency: LatencyRecorder::default().latency(),
            dead_letters: BTreeMap::new(),
            ..summary(Broker::EmbeddedMock, nothing_seen())
        };
        assert!(!summary.held());
        insta::assert_snapshot!(summary, @r"
        Demo with seed 42 on embedded mock broker
        1,302 order events, 10,000 devices, 11,204 commands
        0.0 s, 0.0 devices/s

        API calls                          calls   devices     least     ratio
          no batch was sent

        Outcomes: none

        Failures: none

        Dead letters: none

        Order event to outcome: nothing measured

        Invariants: not all of them could be checked
          I1 untested one outcome for every command (0 commands, order lines and dead letters)
          I2 untested devices end as their commands say (0 devices)
          I3 untested one operation at a time for a device (0 operation items)
          I4 untested no offset committed ahead of its outcome (0 committed offsets)

        Guarantees
          embedded mock broker: transactions are not isolated and offsets are not kept here;
          this run says nothing about exactly-once;
          use --bootstrap-servers with a real Kafka
        ");
    }

    #[test]
    fn only_a_real_kafka_speaks_of_exactly_once_as_seen() {
        assert!(Broker::EmbeddedMock.guarantees().contains("says nothing about exactly-once"));
        let kafka = Broker::Kafka { bootstrap_servers: String::new() };
        assert!(kafka.guarantees().contains("exactly once"));
    }
}
