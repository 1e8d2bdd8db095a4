//! What a run of the demo came to: figures for a person and, as JSON, for a program.
//!
//! Says no more about guarantees than the broker at hand can show.

mod broker;
mod calls;
mod latency;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::chaos::ChaosReport;
use crate::model::{FailureCode, Status};
use crate::verify::Report;

use calls::ratio;

pub use broker::Broker;
pub use calls::{BatchSizes, MethodCalls};
pub use latency::{Latency, LatencyRecorder};

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
}
