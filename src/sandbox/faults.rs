//! Faults: rules that say which calls, operations and devices go wrong, how, and how often.
//!
//! A rule is JSON, the same in `--faults FILE` and over the control route:
//!
//! ```json
//! {"method": "claimAsync", "times": 3, "fault": {"kind": "status", "http": 503}}
//! ```
//!
//! `method`, `partner` and `device` narrow it (absent: any); `probability` (default 1) and `times`
//! (default without end) ration it. `device` is a canonical key, such as `imei:490154203237518`.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::api::{ApiError, Delivery, Method};

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Only calls of this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Only calls of this partner (not `operations.get`, which names none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<String>,
    /// Only calls that name this device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The share of matching calls that it hits.
    #[serde(default = "always")]
    pub probability: f64,
    /// How many more calls it hits; without: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What goes wrong.
    pub fault: Fault,
}

const fn always() -> f64 {
    1.0
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fault {
    /// The call is answered with this HTTP status …
    Status {
        /// The HTTP status.
        http: u16,
        /// … after it has taken effect, if true; else without.
        #[serde(default)]
        after: bool,
        /// Seconds for a `Retry-After` header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// The reply takes longer.
    Latency {
        /// By this.
        millis: u64,
    },
    /// The call takes effect and its reply is lost.
    LoseReply {
        /// The connection stays open and silent, if true; else it is closed.
        #[serde(default)]
        hang: bool,
    },
    /// The call takes effect and its reply is cut off within, so that nobody can read it.
    Unreadable,
    /// The request with the device in it is refused whole, with 400.
    Poison,
    /// The device's item fails with this status and changes nothing.
    DeviceStatus {
        /// With or without the prefix `SINGLE_DEVICE_STATUS_`.
        status: String,
        /// `errorIdentifier`.
        #[serde(default)]
        error_identifier: String,
    },
    /// That many of the last items count as unparsed: neither carried out nor reported.
    DropItems {
        /// How many.
        count: usize,
    },
    /// That many results are missing, chosen by chance.
    ShortResult {
        /// How many.
        count: usize,
    },
    /// That many results appear twice.
    DuplicateResult {
        /// How many.
        count: usize,
    },
    /// Results are in an order of chance.
    ReorderResult,
    /// That many results lack the echo of their item; without `count`: all.
    MissingEcho {
        /// How many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<usize>,
    },
    /// The operation never ends and changes nothing.
    NeverDone,
    /// The operation carries out its changes, reaches 100 %, and never says `done`.
    StuckAtHundred,
    /// The operation ends with an error in place of results and changes nothing.
    OperationError {
        /// RPC code.
        code: i32,
    },
    /// The operation carries out its changes, but cannot be read: 404.
    Vanish,
}

impl Fault {
    /// Its name in logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Status { after: false, .. } => "status",
            Self::Status { after: true, .. } => "statusAfter",
            Self::Latency { .. } => "latency",
            Self::LoseReply { .. } => "loseReply",
            Self::Unreadable => "unreadable",
            Self::Poison => "poison",
            Self::DeviceStatus { .. } => "deviceStatus",
            Self::DropItems { .. } => "dropItems",
            Self::ShortResult { .. } => "shortResult",
            Self::DuplicateResult { .. } => "duplicateResult",
            Self::ReorderResult => "reorderResult",
            Self::MissingEcho { .. } => "missingEcho",
            Self::NeverDone => "neverDone",
            Self::StuckAtHundred => "stuckAtHundred",
            Self::OperationError { .. } => "operationError",
            Self::Vanish => "vanish",
        }
    }

    const fn is_about_batches(&self) -> bool {
        !matches!(
            self,
            Self::Status { .. } | Self::Latency { .. } | Self::LoseReply { .. } | Self::Unreadable
        )
    }
}

impl Rule {
    /// A rule that hits every call.
    #[must_use]
    pub const fn of(fault: Fault) -> Self {
        Self { method: None, partner: None, device: None, probability: 1.0, times: None, fault }
    }

    /// What is wrong with the rule.
    ///
    /// # Errors
    /// In words for whoever wrote it.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(format!("probability is {}, must be from 0 to 1", self.probability));
        }
        match &self.fault {
            Fault::Status { http, .. } if !(400..=599).contains(http) => {
                Err(format!("http is {http}, must be from 400 to 599"))
            }
            Fault::DeviceStatus { status, .. } if status.is_empty() => {
                Err("status of a deviceStatus fault is empty".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The rules, with their ids.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rules: Vec<(u64, Rule)>,
    next_id: u64,
}

/// What goes wrong with one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Extra time of the reply.
    pub delay: Duration,
    /// Whether the reply arrives.
    pub delivery: Delivery,
    /// Answered in place of taking effect.
    pub before: Option<ApiError>,
    /// Answered after taking effect.
    pub after: Option<ApiError>,
    /// Faults of the operation that the call begins.
    pub operation: Vec<Fault>,
    /// Faults of single items: index, status, identifier.
    pub items: Vec<(usize, String, String)>,
    /// Kinds of everything that was hit.
    pub kinds: Vec<&'static str>,
}

impl Faults {
    /// Adds a rule and gives its id.
    pub fn add(&mut self, rule: Rule) -> u64 {
        self.next_id += 1;
        self.rules.push((self.next_id, rule));
        self.next_id
    }

    /// Removes a rule; whether it was there.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|(known, _)| *known != id);
        self.rules.len() < before
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules that can still hit, with their ids.
    #[must_use]
    pub fn rules(&self) -> &[(u64, Rule)] {
        &self.rules
    }

    /// Draws what goes wrong with a call. `devices` are the keys of its items, in order; those of
    /// the operation for a call that reads one. A rule
    /// about a device is drawn and counted once for each item that names it; a batch's faults are
    /// drawn for batches only, `poison` and `deviceStatus` also for calls about one device.
    pub fn draw(
        &mut self,
        method: Method,
        partner: &str,
        devices: &[&str],
        rng: &mut ChaCha8Rng,
    ) -> Drawn {
        let mut drawn = Drawn::default();
        let is_batch = matches!(
            method,
            Method::ClaimAsync | Method::UnclaimAsync | Method::UpdateMetadataAsync
        );
        for (_, rule) in &mut self.rules {
            let is_per_item = matches!(rule.fault, Fault::DeviceStatus { .. });
            let is_single = is_per_item || rule.fault == Fault::Poison;
            if rule.method.is_some_and(|wanted| wanted != method)
                || rule.partner.as_ref().is_some_and(|wanted| wanted != partner)
                || (rule.fault.is_about_batches() && !is_batch && !is_single)
                || (is_single && devices.is_empty())
            {
                continue;
            }
            let named = |device: &&str| rule.device.as_ref().is_none_or(|wanted| wanted == device);
            if is_per_item {
                for (index, _) in devices.iter().enumerate().filter(|(_, device)| named(device)) {
                    if hits(rule.probability, &mut rule.times, rng) {
                        drawn.take_item(index, &rule.fault);
                    }
                }
            } else if (rule.device.is_none() || devices.iter().any(named))
                && hits(rule.probability, &mut rule.times, rng)
            {
                drawn.take(&rule.fault);
            }
        }
        self.rules.retain(|(_, rule)| rule.times != Some(0));
        drawn
    }
}

fn hits(probability: f64, times: &mut Option<u64>, rng: &mut ChaCha8Rng) -> bool {
    if *times == Some(0) || (probability < 1.0 && !rng.random_bool(probability.clamp(0.0, 1.0))) {
        return false;
    }
    if let Some(left) = times {
        *left -= 1;
    }
    true
}

impl Drawn {
    fn take_item(&mut self, index: usize, fault: &Fault) {
        if let Fault::DeviceStatus { status, error_identifier } = fault
            && !self.items.iter().any(|(known, ..)| *known == index)
        {
            let status = status.trim_start_matches("SINGLE_DEVICE_STATUS_").to_owned();
            self.items.push((index, status, error_identifier.clone()));
            self.kinds.push(fault.kind());
        }
    }

    fn take(&mut self, fault: &Fault) {
        self.kinds.push(fault.kind());
        match fault {
            Fault::Status { http, after, retry_after } => {
                let mut error = ApiError::new(*http, "injected fault");
                error.retry_after = retry_after.map(Duration::from_secs);
                let slot = if *after { &mut self.after } else { &mut self.before };
                slot.get_or_insert(error);
            }
            Fault::Latency { millis } => self.delay += Duration::from_millis(*millis),
            Fault::LoseReply { hang } => {
                self.delivery = if *hang { Delivery::Hung } else { Delivery::Closed };
            }
            Fault::Unreadable => self.delivery = Delivery::CutOff,
            Fault::Poison => {
                self.before.get_or_insert(ApiError::invalid(
                    "INVALID_PARAMETER",
                    "Request contains an invalid argument.",
                ));
            }
            other => self.operation.push(other.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).unwrap()
    }

    fn draw(faults: &mut Faults, method: Method, devices: &[&str]) -> Drawn {
        faults.draw(method, "1", devices, &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn a_rule_with_times_hits_that_many_calls_of_its_method_and_no_others() {
        let mut faults = Faults::default();
        faults
            .add(rule(r#"{"method":"claimAsync","times":2,"fault":{"kind":"status","http":503}}"#));
        assert!(draw(&mut faults, Method::UnclaimAsync, &["a"]).before.is_none());
        for _ in 0..2 {
            assert_eq!(draw(&mut faults, Method::ClaimAsync, &["a"]).before.unwrap().code, 503);
        }
        assert_eq!(draw(&mut faults, Method::ClaimAsync, &["a"]), Drawn::default());
        assert!(faults.rules().is_empty());
    }

    #[test]
    fn a_device_fault_hits_only_its_device_and_counts_attempts() {
        let mut faults = Faults::default();
        faults.add(rule(
            r#"{"device":"b","times":1,"fault":{"kind":"deviceStatus","status":"OTHER_ERROR"}}"#,
        ));
        assert!(draw(&mut faults, Method::ClaimAsync, &["a"]).items.is_empty());
        assert_eq!(draw(&mut faults, Method::ClaimAsync, &["a", "b"]).items[0].0, 1);
        assert!(draw(&mut faults, Method::ClaimAsync, &["a", "b"]).items.is_empty());
    }

    #[test]
    fn poison_refuses_the_request_that_holds_the_device() {
        let mut faults = Faults::default();
        faults.add(rule(r#"{"device":"b","fault":{"kind":"poison"}}"#));
        assert!(draw(&mut faults, Method::ClaimAsync, &["a"]).before.is_none());
        assert_eq!(draw(&mut faults, Method::ClaimAsync, &["a", "b"]).before.unwrap().code, 400);
    }

    #[test]
    fn a_share_of_calls_is_hit_and_the_seed_decides_which() {
        let run = || {
            let mut faults = Faults::default();
            faults.add(rule(r#"{"probability":0.3,"fault":{"kind":"loseReply"}}"#));
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            (0..1000)
                .map(|_| faults.draw(Method::Claim, "1", &[], &mut rng).delivery)
                .collect::<Vec<_>>()
        };
        let lost = run().iter().filter(|d| **d == Delivery::Closed).count();
        assert!((200..400).contains(&lost), "{lost}");
        assert_eq!(run(), run());
    }

    #[test]
    fn a_rule_out_of_range_is_refused() {
        assert!(rule(r#"{"probability":1.5,"fault":{"kind":"vanish"}}"#).check().is_err());
        assert!(rule(r#"{"fault":{"kind":"status","http":200}}"#).check().is_err());
        assert!(
            serde_json::from_str::<Rule>(r#"{"metod":"x","fault":{"kind":"vanish"}}"#).is_err()
        );
    }
}
