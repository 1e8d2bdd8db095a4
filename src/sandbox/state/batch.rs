//! Changes: batches that become operations, their items carried out, and the three methods that
//! change one device at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;

use super::{Prepared, State};
use crate::sandbox::api::{ApiError, Body, Method};
use crate::sandbox::devices::{Applied, Change};
use crate::sandbox::faults::{Drawn, Fault};
use crate::sandbox::identifiers::ItemError;
use crate::sandbox::log::{ChangeEntry, ItemEntry, OperationEntry};
use crate::sandbox::operations::{Item, Running, failure, later, success};
use crate::sandbox::options::{BadItem, Duplicates, Effect};
use crate::wire::google::{DeviceMetadata, PerDeviceStatus};

impl State {
    /// Accepts a batch as an operation.
    pub(super) fn begin(
        &mut self,
        partner: &str,
        prepared: &mut Prepared,
        drawn: &Drawn,
    ) -> Result<Body, ApiError> {
        let mut items = std::mem::take(&mut prepared.items);
        self.check_batch(&items)?;
        refuse_duplicates(&mut items, self.options.semantics.duplicates);
        for (index, status, identifier) in &drawn.items {
            items[*index].refused = Some(injected(status, identifier));
        }
        for fault in &drawn.operation {
            if let Fault::DropItems { count } = fault {
                items.truncate(items.len().saturating_sub(*count));
            }
        }
        let mut operation = Running {
            number: self.operations.next_number(),
            partner: partner.to_owned(),
            method: prepared.method,
            accepted_at: self.now,
            ends_at: later(self.now, self.duration_of(items.len())),
            items,
            faults: drawn.operation.clone(),
        };
        prepared.operation = Some(operation.name());
        self.log.accepted(OperationEntry {
            name: operation.name(),
            partner: partner.to_owned(),
            method: operation.method,
            accepted_at: operation.accepted_at,
            ends_at: operation.ends_at,
            ended: false,
            faults: drawn.kinds.clone(),
            delivery: drawn.delivery,
            items: entries(&operation),
        });
        if self.options.semantics.effect == Effect::Acceptance && operation.changes_anything() {
            self.apply_all(self.now, &mut operation);
        }
        let view = operation.accepted_view();
        self.operations.accept(operation);
        Ok(Body::Operation(Box::new(view)))
    }

    fn check_batch(&self, items: &[Item]) -> Result<(), ApiError> {
        if items.is_empty() {
            return Err(ApiError::invalid("INVALID_PARAMETER", "the request has no items"));
        }
        if items.len() > self.options.batch_items_max {
            let max = self.options.batch_items_max;
            return Err(ApiError::invalid(
                "INVALID_PARAMETER",
                format!("the request has {} items, at most {max} are allowed", items.len()),
            ));
        }
        let bad = items.iter().position(|item| item.refused.is_some());
        if let (BadItem::Request, Some(index)) = (self.options.semantics.bad_item, bad) {
            return Err(ApiError::invalid(
                "INVALID_PARAMETER",
                format!("item {index} is not valid"),
            ));
        }
        Ok(())
    }

    fn duration_of(&mut self, items: usize) -> Duration {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        let time = self
            .options
            .operation_time
            .saturating_add(self.options.operation_time_per_device.saturating_mul(items));
        if self.options.operation_jitter > 0.0 {
            time.mul_f64(1.0 + self.options.operation_jitter * self.rng.random::<f64>())
        } else {
            time
        }
    }

    /// Carries out all items of an operation, in order.
    pub(super) fn apply_all(&mut self, at: Timestamp, operation: &mut Running) {
        let name = operation.name();
        for index in 0..operation.items.len() {
            let item = &operation.items[index];
            let result = match &item.refused {
                Some(refused) => refused.clone(),
                None => match self.apply(&operation.partner, &item.change) {
                    Ok(applied) => {
                        let place = Some((name.as_str(), index));
                        self.note(at, &operation.partner, operation.method, place, &applied);
                        success(applied.id)
                    }
                    Err(error) => failure(&error),
                },
            };
            operation.items[index].result = Some(result);
        }
    }

    fn apply(&mut self, partner: &str, change: &Change) -> Result<Applied, ItemError> {
        self.devices.apply(partner, change, &self.customers, &self.options.semantics)
    }

    /// Writes a change into the log.
    pub(super) fn note(
        &mut self,
        time: Timestamp,
        partner: &str,
        method: Method,
        place: Option<(&str, usize)>,
        applied: &Applied,
    ) {
        let Some(record) = self.devices.get(applied.id) else { return };
        self.log.change(ChangeEntry {
            sequence: 0,
            time,
            device: Arc::clone(&record.device),
            device_id: record.device_id.clone(),
            partner: partner.to_owned(),
            method,
            operation: place.map(|(name, _)| name.to_owned()),
            index: place.map(|(_, index)| index),
            from: applied.from.clone(),
            to: record.claim.clone(),
            metadata: record.metadata.clone(),
        });
    }

    /// The three methods that change one device at once.
    pub(super) fn change_one(
        &mut self,
        partner: &str,
        prepared: &Prepared,
        drawn: &Drawn,
    ) -> Result<Body, ApiError> {
        let Some(item) = prepared.items.first() else {
            return Err(ApiError::invalid("INVALID_PARAMETER", "the request has no device"));
        };
        if let Some((_, status, _)) = drawn.items.first() {
            return Err(sync_error(status, "UNKNOWN_ERROR", "injected fault"));
        }
        item.change
            .check()
            .and_then(|()| self.apply(partner, &item.change))
            .map_err(|e| sync_error(e.status, e.identifier, &e.message))
            .map(|applied| {
                self.note(self.now, partner, prepared.method, None, &applied);
                let record = self.devices.get(applied.id);
                match prepared.method {
                    Method::Claim => Body::Claimed {
                        device_id: applied.id.to_string(),
                        device_name: format!("partners/{partner}/devices/{}", applied.id),
                    },
                    Method::Metadata => Body::Metadata(DeviceMetadata {
                        entries: record.map(|r| r.metadata.clone()).unwrap_or_default(),
                    }),
                    _ => Body::Empty {},
                }
            })
    }
}

/// The HTTP error that a synchronous method gives for what a batch reports as a device's result.
fn sync_error(status: &str, identifier: &'static str, message: &str) -> ApiError {
    let error = |code| ApiError::new(code, message).because(identifier);
    match (status, identifier) {
        ("SECTION_NOT_YOURS" | "PERMISSION_DENIED", _) => error(403),
        (_, "INVALID_DEVICE_ID") => error(404),
        ("INVALID_DEVICE_IDENTIFIER" | "INVALID_SECTION_TYPE" | "INVALID_TOKEN", _)
        | (_, "INVALID_CUSTOMER_ID") => error(400),
        _ => ApiError { status: "FAILED_PRECONDITION", ..error(400) },
    }
}

fn injected(status: &str, identifier: &str) -> PerDeviceStatus {
    PerDeviceStatus {
        device_id: None,
        error_identifier: (!identifier.is_empty()).then(|| identifier.to_owned()),
        error_message: Some("injected fault".into()),
        status: format!("SINGLE_DEVICE_STATUS_{status}"),
    }
}

fn refuse_duplicates(items: &mut [Item], duplicates: Duplicates) {
    if duplicates == Duplicates::Process {
        return;
    }
    let mut seen = BTreeSet::new();
    for item in items {
        if !seen.insert(Arc::clone(&item.device)) && item.refused.is_none() {
            item.refused = Some(PerDeviceStatus {
                error_identifier: Some("INVALID_PARAMETER".into()),
                error_message: Some("the device is in the request twice".into()),
                status: "SINGLE_DEVICE_STATUS_OTHER_ERROR".into(),
                device_id: None,
            });
        }
    }
}

pub(super) fn entries(operation: &Running) -> Vec<ItemEntry> {
    let entry = |item: &Item| ItemEntry {
        device: Arc::clone(&item.device),
        status: item.result.as_ref().map(|result| result.status.clone()),
    };
    operation.items.iter().map(entry).collect()
}
