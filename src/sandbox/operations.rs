//! Long-running operations: when they end, what they show until then, and how faults bend results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::api::Method;
use super::devices::Change;
use super::faults::Fault;
use super::identifiers::ItemError;
use crate::wire::google::{
    DevicesOperationMetadata, DevicesOperationResponse, Operation, OperationPerDevice,
    PerDeviceStatus, RpcStatus,
};

/// The first operation number.
const FIRST_NUMBER: u64 = 1_200_000_000_000_000_001;

/// One item of a batch, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// The change, as it came.
    pub change: Change,
    /// The device's key.
    pub device: Arc<str>,
    /// A failure that was certain when the call was accepted.
    pub refused: Option<PerDeviceStatus>,
    /// The result, once carried out.
    pub result: Option<PerDeviceStatus>,
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// Its number.
    pub number: u64,
    /// Who began it.
    pub partner: String,
    /// By which method.
    pub method: Method,
    /// When.
    pub accepted_at: Timestamp,
    /// When it ends; if a fault keeps it from that, when it would have.
    pub ends_at: Timestamp,
    /// Its items.
    pub items: Vec<Item>,
    /// Its faults.
    pub faults: Vec<Fault>,
}

/// All operations that can still be read or have yet to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Operations {
    all: BTreeMap<u64, Running>,
    ends: BTreeMap<(Timestamp, u64), ()>,
    expiries: BTreeMap<(Timestamp, u64), ()>,
    accepted: u64,
}

impl Operations {
    /// No operations, but none of the numbers used so far is used again.
    #[must_use]
    pub(super) fn emptied(&self) -> Self {
        Self { accepted: self.accepted, ..Self::default() }
    }

    /// The number that the next operation will have.
    #[must_use]
    pub(super) const fn next_number(&self) -> u64 {
        FIRST_NUMBER + self.accepted
    }

    /// Takes in an operation whose number is [`Operations::next_number`].
    pub(super) fn accept(&mut self, operation: Running) {
        self.accepted += 1;
        self.ends.insert((operation.ends_at, operation.number), ());
        self.all.insert(operation.number, operation);
    }

    /// Takes out the next operation that ends at or before `now`, in order of time and number.
    /// The caller carries it out and gives it back with [`Operations::settle`].
    pub(super) fn next_ended(&mut self, now: Timestamp) -> Option<Running> {
        let (&(ends_at, number), ()) = self.ends.first_key_value()?;
        if ends_at > now {
            return None;
        }
        self.ends.pop_first();
        self.all.remove(&number)
    }

    /// Keeps an ended operation for as long as it can be read.
    pub(super) fn settle(&mut self, operation: Running, retention: Option<Duration>) {
        if let Some(retention) = retention {
            let until = later(operation.ends_at, retention);
            self.expiries.insert((until, operation.number), ());
        }
        self.all.insert(operation.number, operation);
    }

    /// Forgets what can no longer be read.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((&(at, number), ())) = self.expiries.first_key_value() {
            if at > now {
                break;
            }
            self.expiries.pop_first();
            self.all.remove(&number);
        }
    }

    /// Operations that have not ended.
    #[must_use]
    pub(super) fn in_flight(&self) -> usize {
        self.ends.len()
    }

    /// When the next operation ends.
    #[must_use]
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ends.first_key_value().map(|((at, _), ())| *at)
    }

    /// The operation of a name, unless it has vanished or expired.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&Running> {
        let digits = name.strip_prefix("operations/apibatchoperation/")?;
        let running = self.all.get(&digits.parse().ok()?)?;
        (!running.has(&Fault::Vanish)).then_some(running)
    }
}

/// `at` plus `span`, at most the end of time.
#[must_use]
pub(super) fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

impl Running {
    /// `operations/…`.
    #[must_use]
    pub(super) fn name(&self) -> String {
        format!("operations/apibatchoperation/{}", self.number)
    }

    /// Whether it has the fault.
    #[must_use]
    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }

    /// Whether its changes take effect at all.
    #[must_use]
    pub(super) fn changes_anything(&self) -> bool {
        !self.has(&Fault::NeverDone)
            && !self.faults.iter().any(|fault| matches!(fault, Fault::OperationError { .. }))
    }

    /// What the call that begins it is answered with: the name and nothing else.
    #[must_use]
    pub(super) fn accepted_view(&self) -> Operation {
        Operation { name: self.name(), ..Operation::default() }
    }

    /// What `operations.get` shows. Metadata is absent in the first tenth, then `PENDING` to one
    /// fifth, then `IN_PROGRESS` with a progress that reaches 100 only with the fault for it.
    #[must_use]
    pub(super) fn view(&self, now: Timestamp) -> Operation {
        let never = self.has(&Fault::NeverDone);
        let stuck = self.has(&Fault::StuckAtHundred);
        let total = self.ends_at.duration_since(self.accepted_at).as_millis().max(1);
        let elapsed = now.duration_since(self.accepted_at).as_millis();
        let percent = (elapsed.saturating_mul(100) / total).clamp(0, 100);
        let mut operation = self.accepted_view();
        operation.done = now >= self.ends_at && !never && !stuck;
        if percent < 10 && !operation.done {
            return operation;
        }
        let (status, progress) = if operation.done {
            ("PROCESSED", 100)
        } else if percent < 20 {
            ("PENDING", 0)
        } else if stuck {
            ("IN_PROGRESS", percent)
        } else {
            ("IN_PROGRESS", percent.min(99))
        };
        operation.metadata = Some(DevicesOperationMetadata {
            devices_count: i32::try_from(self.items.len()).unwrap_or(i32::MAX),
            processing_status: format!("BATCH_PROCESS_{status}"),
            progress: i32::try_from(progress).unwrap_or(100),
        });
        if operation.done {
            match self.faults.iter().find_map(|fault| match fault {
                Fault::OperationError { code } => Some(*code),
                _ => None,
            }) {
                Some(code) => {
                    operation.error = Some(RpcStatus { code, message: "injected fault".into() });
                }
                None => operation.response = Some(self.response()),
            }
        }
        operation
    }

    /// The results, bent by the faults; the same at every reading.
    fn response(&self) -> DevicesOperationResponse {
        let mut rng = ChaCha8Rng::seed_from_u64(self.number);
        let mut results: Vec<_> = self.items.iter().map(Item::view).collect();
        let good = results.iter().filter(|r| r.result.status == SUCCESS).count();
        for fault in &self.faults {
            match fault {
                Fault::ShortResult { count } => {
                    for index in some_of(results.len(), *count, &mut rng).into_iter().rev() {
                        results.remove(index);
                    }
                }
                Fault::DuplicateResult { count } => {
                    for index in some_of(results.len(), *count, &mut rng).into_iter().rev() {
                        results.insert(index, results[index].clone());
                    }
                }
                Fault::ReorderResult => {
                    let before = results.clone();
                    results.shuffle(&mut rng);
                    if results == before && !results.is_empty() {
                        results.rotate_left(1);
                    }
                }
                Fault::MissingEcho { count } => {
                    let count = count.unwrap_or(results.len());
                    for index in some_of(results.len(), count, &mut rng) {
                        let result = std::mem::take(&mut results[index].result);
                        results[index] = OperationPerDevice { result, ..Default::default() };
                    }
                }
                _ => {}
            }
        }
        DevicesOperationResponse {
            success_count: i32::try_from(good).unwrap_or(i32::MAX),
            per_device_status: results,
        }
    }
}

/// `count` of the places below `len`, by chance, ascending.
fn some_of(len: usize, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut places: Vec<_> = (0..len).collect();
    places.shuffle(rng);
    places.truncate(count);
    places.sort_unstable();
    places
}

const SUCCESS: &str = "SINGLE_DEVICE_STATUS_SUCCESS";

/// The result of an item that worked.
#[must_use]
pub(super) fn success(device_id: u64) -> PerDeviceStatus {
    PerDeviceStatus {
        device_id: Some(device_id.to_string()),
        status: SUCCESS.to_owned(),
        ..Default::default()
    }
}

/// The result of an item that failed.
#[must_use]
pub(super) fn failure(error: &ItemError) -> PerDeviceStatus {
    PerDeviceStatus {
        device_id: None,
        error_identifier: Some(error.identifier.to_owned()),
        error_message: Some(error.message.clone()),
        status: format!("SINGLE_DEVICE_STATUS_{}", error.status),
    }
}

impl Item {
    fn view(&self) -> OperationPerDevice {
        let mut view = OperationPerDevice {
            result: self.result.clone().unwrap_or_default(),
            ..Default::default()
        };
        match &self.change {
            Change::Claim(claim) => view.claim = Some(claim.clone()),
            Change::Unclaim(unclaim) => view.unclaim = Some(unclaim.clone()),
            Change::Metadata(update) => view.update_metadata = Some(update.clone()),
        }
        view
    }
}
