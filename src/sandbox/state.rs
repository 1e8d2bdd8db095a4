//! The double itself: takes calls with the time they come at, and gives replies.
//!
//! Deterministic: the same options, calls and times give the same replies and the same log. Time
//! moves only through the `now` of a call; whatever was due until then happens first, in order and
//! at its own time, so it does not matter whether anybody polls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::api::{ApiError, Body, Call, Method, Reply, Request};
use super::customers::Customers;
use super::devices::{Applied, Change, Devices};
use super::faults::{Drawn, Fault, Faults};
use super::log::{CallEntry, ChangeEntry, ItemEntry, Log, OperationEntry};
use super::operations::{Item, Operations, Running, failure, later, success};
use super::options::{BadItem, Duplicates, Effect, Options};
use super::quota::Quota;
use crate::wire::google::{PerDeviceStatus, UpdateMetadataArguments};

/// The state of the API.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) options: Options,
    pub(super) devices: Devices,
    pub(super) customers: Customers,
    pub(super) operations: Operations,
    pub(super) faults: Faults,
    pub(super) log: Log,
    pub(super) revoked: BTreeSet<String>,
    pub(super) now: Timestamp,
    quota: Quota,
    rng: ChaCha8Rng,
}

/// What a call was found to be about, before it is carried out.
struct Prepared {
    method: Method,
    items: Vec<Item>,
    operation: Option<String>,
}

impl State {
    /// An API without devices.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut faults = Faults::default();
        for rule in &options.faults {
            faults.add(rule.clone());
        }
        Self {
            devices: Devices::default(),
            customers: Customers::new(&options.customers, options.auto_customers),
            operations: Operations::default(),
            faults,
            log: Log::new(options.log_max),
            revoked: BTreeSet::new(),
            now: Timestamp::UNIX_EPOCH,
            quota: Quota::default(),
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            options,
        }
    }

    /// Answers a call that comes at `now`. Time does not go back: an earlier `now` counts as the
    /// latest one so far.
    pub fn call(&mut self, now: Timestamp, call: Call) -> Reply {
        self.advance(now);
        let mut prepared = self.prepare(&call.request);
        let partner = self.partner_of(&call);
        let mut drawn = Drawn::default();
        let size = prepared.items.len();
        let result = self.admit(&call, &partner).and_then(|()| {
            let devices: Vec<&str> = prepared.items.iter().map(|item| &*item.device).collect();
            drawn = self.faults.draw(prepared.method, &call.partner, &devices, &mut self.rng);
            if let Some(error) = drawn.before.take() {
                return Err(error);
            }
            self.carry_out(call.request, &partner, &mut prepared, &drawn)
        });
        let result = match (result, drawn.after.take()) {
            (Ok(_), Some(error)) => Err(error),
            (result, _) => result,
        };
        self.log.call(CallEntry {
            sequence: 0,
            time: self.now,
            method: prepared.method,
            partner,
            status: result.as_ref().map_or_else(|error| error.code, |_| 200),
            delivery: drawn.delivery,
            items: size,
            operation: prepared.operation,
            faults: drawn.kinds,
        });
        Reply { delay: drawn.delay, delivery: drawn.delivery, result }
    }

    /// Lets everything happen that is due until `now`.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(mut operation) = self.operations.next_ended(now) {
            if self.options.semantics.effect == Effect::Completion && operation.changes_anything() {
                self.apply_all(operation.ends_at, &mut operation);
            }
            self.log.ended(&operation.name(), entries(&operation));
            self.operations.settle(operation, self.options.operation_retention);
        }
        self.operations.expire(now);
        self.now = self.now.max(now);
    }

    /// When something happens next without a call, if anything does.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        self.operations.next_end()
    }

    /// The partner whose quota and rights a call has: of the path, or of the operation it reads.
    fn partner_of(&self, call: &Call) -> String {
        match &call.request {
            Request::GetOperation { name } => {
                self.operations.get(name).map(|found| found.partner.clone()).unwrap_or_default()
            }
            _ => call.partner.clone(),
        }
    }

    fn prepare(&self, request: &Request) -> Prepared {
        let changes: Vec<Change> = match request {
            Request::Claim(claim) => vec![Change::Claim(claim.clone())],
            Request::ClaimAsync(body) => body.claims.iter().cloned().map(Change::Claim).collect(),
            Request::Unclaim(unclaim) => vec![Change::Unclaim(unclaim.clone())],
            Request::UnclaimAsync(body) => {
                body.unclaims.iter().cloned().map(Change::Unclaim).collect()
            }
            Request::UpdateMetadataAsync(body) => {
                body.updates.iter().cloned().map(Change::Metadata).collect()
            }
            Request::Metadata { device_id, metadata } => {
                vec![Change::Metadata(UpdateMetadataArguments {
                    device_id: Some(device_id.clone()),
                    device_metadata: Some(metadata.clone()),
                    ..Default::default()
                })]
            }
            _ => Vec::new(),
        };
        let item = |change: Change| Item {
            device: self.devices.key_of(&change),
            refused: change.check().err().as_ref().map(failure),
            result: None,
            change,
        };
        Prepared {
            method: request.method(),
            items: changes.into_iter().map(item).collect(),
            operation: match request {
                Request::GetOperation { name } => Some(name.clone()),
                _ => None,
            },
        }
    }

    /// Token, partner and quota.
    fn admit(&mut self, call: &Call, partner: &str) -> Result<(), ApiError> {
        if let Request::Malformed { error, .. } = &call.request {
            return Err(error.clone());
        }
        let token = call.token.as_ref();
        if token.is_some_and(|token| self.revoked.contains(token))
            || (self.options.auth_required && token.is_none())
        {
            return Err(ApiError::new(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token.",
            )
            .because("AUTHORIZATION_FAIL"));
        }
        if !matches!(call.request, Request::GetOperation { .. }) {
            if call.partner.parse::<i64>().is_err() {
                return Err(ApiError::invalid("INVALID_RESELLER_ID", "the partner id is no int64"));
            }
            let partners = &self.options.partners;
            if !partners.is_empty() && !partners.contains(&call.partner) {
                return Err(ApiError::new(403, "The caller does not have permission")
                    .because("AUTHORIZATION_FAIL"));
            }
        }
        let (max, window) = (self.options.quota_calls, self.options.quota_window);
        self.quota.take(self.now, partner, max, window).map_err(|wait| {
            let mut error = ApiError::new(429, "Quota exceeded for quota metric 'Queries'");
            error.retry_after = self.options.retry_after.then_some(wait);
            error
        })
    }

    fn carry_out(
        &mut self,
        request: Request,
        partner: &str,
        prepared: &mut Prepared,
        drawn: &Drawn,
    ) -> Result<Body, ApiError> {
        match request {
            Request::ClaimAsync(_) | Request::UnclaimAsync(_) | Request::UpdateMetadataAsync(_) => {
                self.begin(partner, prepared, drawn)
            }
            Request::Claim(_) | Request::Unclaim(_) | Request::Metadata { .. } => {
                self.change_one(partner, prepared, drawn)
            }
            Request::FindByIdentifier(body) => self.find_by_identifier(partner, &body),
            Request::FindByOwner(body) => self.find_by_owner(partner, &body),
            Request::GetDevice { device_id } => self.get_device(partner, &device_id),
            Request::CreateCustomer(company) => self.customers.create(partner, company),
            Request::ListCustomers(paging) => self.customers.list(partner, &paging),
            Request::ListVendors(paging) => self.customers.list_vendors(partner, &paging),
            Request::ListVendorCustomers { vendor, paging } => {
                self.customers.list_of_vendor(partner, &vendor, &paging)
            }
            Request::GetOperation { name } => self
                .operations
                .get(&name)
                .map(|found| Body::Operation(Box::new(found.view(self.now))))
                .ok_or_else(|| {
                    ApiError::new(404, "the operation is not known").because("INVALID_OPERATION_ID")
                }),
            Request::Malformed { error, .. } => Err(error),
        }
    }

    /// Accepts a batch as an operation.
    fn begin(
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
    fn apply_all(&mut self, at: Timestamp, operation: &mut Running) {
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

    fn apply(
        &mut self,
        partner: &str,
        change: &Change,
    ) -> Result<Applied, super::identifiers::ItemError> {
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
    fn change_one(
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
                    Method::Metadata => Body::Metadata(crate::wire::google::DeviceMetadata {
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

fn entries(operation: &Running) -> Vec<ItemEntry> {
    let entry = |item: &Item| ItemEntry {
        device: Arc::clone(&item.device),
        status: item.result.as_ref().map(|result| result.status.clone()),
    };
    operation.items.iter().map(entry).collect()
}

#[cfg(test)]
mod tests;
