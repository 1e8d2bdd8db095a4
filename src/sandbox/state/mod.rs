//! The double itself: takes calls with the time they come at, and gives replies.
//!
//! Deterministic: the same options, calls and times give the same replies and the same log. Time
//! moves only through the `now` of a call; whatever was due until then happens first, in order and
//! at its own time, so it does not matter whether anybody polls.

mod batch;
mod lookups;

use std::collections::BTreeSet;

use jiff::Timestamp;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::batch::entries;
use crate::sandbox::api::{ApiError, Body, Call, Method, Reply, Request};
use crate::sandbox::customers::Customers;
use crate::sandbox::devices::{Change, Devices};
use crate::sandbox::faults::{Drawn, Faults};
use crate::sandbox::log::{CallEntry, Log};
use crate::sandbox::operations::{Item, Operations, failure};
use crate::sandbox::options::{Effect, Options};
use crate::sandbox::quota::Quota;
use crate::wire::google::UpdateMetadataArguments;

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
            let read = prepared.operation.as_ref().and_then(|name| self.operations.get(name));
            let items = read.map_or(&prepared.items, |operation| &operation.items);
            let devices: Vec<&str> = items.iter().map(|item| &*item.device).collect();
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
}

#[cfg(test)]
mod tests;
