//! The methods that only read devices, and what tests see and do besides calls.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::State;
use crate::model::Customer;
use crate::sandbox::api::{ApiError, Body, Method, Paging};
use crate::sandbox::devices::{Devices, Holder, Record};
use crate::sandbox::faults::Faults;
use crate::sandbox::log::Log;
use crate::sandbox::{identifiers, paging};
use crate::wire::google::{
    DeviceIdentifier, FindByIdentifierRequest, FindByOwnerRequest, FindDevicesResponse,
};

impl State {
    pub(super) fn find_by_identifier(
        &self,
        partner: &str,
        body: &FindByIdentifierRequest,
    ) -> Result<Body, ApiError> {
        let paging = paging::limit(&body.limit, body.page_token.as_ref())?;
        let ids = &body.device_identifier;
        if identifiers::tokens(ids).is_empty() {
            return Err(ApiError::invalid("INVALID_IDENTIFIER_SET", "identifiers are not enough"));
        }
        let found = self.devices.find(ids).filter(|record| self.is_visible(record, partner));
        devices_page(found, partner, &format!("identifier/{partner}/{ids:?}"), &paging)
    }

    pub(super) fn find_by_owner(
        &self,
        partner: &str,
        body: &FindByOwnerRequest,
    ) -> Result<Body, ApiError> {
        let paging = paging::limit(&body.limit, body.page_token.as_ref())?;
        if body.section_type.as_deref() != Some("SECTION_TYPE_ZERO_TOUCH") {
            return Err(ApiError::invalid("INVALID_SECTION_TYPE", "sectionType is needed"));
        }
        if body.customer_id.is_empty() && body.google_workspace_customer_id.is_empty() {
            return Err(ApiError::invalid("INVALID_CUSTOMER_ID", "customerId is needed"));
        }
        let is_owned = |record: &&Record| match record.claim.as_ref().map(|c| &c.customer) {
            Some(Customer::ZeroTouch(id)) => body.customer_id.contains(id),
            Some(Customer::Workspace(id)) => body.google_workspace_customer_id.contains(id),
            None => false,
        };
        let found = self.devices.iter().filter(is_owned).filter(|r| self.is_visible(r, partner));
        let list = format!(
            "owner/{partner}/{:?}/{:?}",
            body.customer_id, body.google_workspace_customer_id
        );
        devices_page(found, partner, &list, &paging)
    }

    pub(super) fn get_device(&self, partner: &str, device_id: &str) -> Result<Body, ApiError> {
        let record = device_id.parse().ok().and_then(|id| self.devices.get(id));
        record
            .filter(|record| self.is_visible(record, partner))
            .map(|record| Body::Device(Box::new(record.view(partner))))
            .ok_or_else(|| {
                ApiError::new(404, "there is no such device").because("INVALID_DEVICE_ID")
            })
    }

    fn is_visible(&self, record: &Record, partner: &str) -> bool {
        Devices::is_visible(record, partner, &self.customers, self.options.semantics.listing)
    }

    /// Every device record, in the order of ids.
    pub fn devices(&self) -> impl Iterator<Item = &Record> {
        self.devices.iter()
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The latest time that a call or [`State::advance`] came with.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Operations that have not ended by [`State::now`].
    #[must_use]
    pub fn operations_in_flight(&self) -> usize {
        self.operations.in_flight()
    }

    /// The fault rules, to read and to change.
    pub const fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// The fault rules.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Revokes a bearer token: calls with it get 401.
    pub fn revoke_token(&mut self, token: impl Into<String>) {
        self.revoked.insert(token.into());
    }

    /// Takes a revocation back; whether there was one.
    pub fn restore_token(&mut self, token: &str) -> bool {
        self.revoked.remove(token)
    }

    /// Puts a device there, claimed by `customer` through `partner` (or by nobody), whatever its
    /// state was. Gives the device id.
    pub fn seed_device(
        &mut self,
        now: Timestamp,
        partner: &str,
        identifiers: DeviceIdentifier,
        customer: Option<Customer>,
        metadata: BTreeMap<String, String>,
    ) -> u64 {
        self.advance(now);
        let holder = customer.map(|customer| Holder { customer, reseller_id: partner.to_owned() });
        let applied = self.devices.seed(identifiers, holder, partner, metadata);
        self.note(self.now, partner, Method::None, None, &applied);
        applied.id
    }

    /// Begins anew with the options it was made with: no devices, operations, log, created
    /// customers or revoked tokens; faults as at the start. Time goes on, and operation names are
    /// not used again.
    pub fn reset(&mut self) {
        let fresh = Self::new(self.options.clone());
        let old = std::mem::replace(self, fresh);
        self.now = old.now;
        self.operations = old.operations.emptied();
    }
}

fn devices_page<'a>(
    found: impl Iterator<Item = &'a Record>,
    partner: &str,
    list: &str,
    paging: &Paging,
) -> Result<Body, ApiError> {
    let page = paging::page(found.collect(), list, paging)?;
    Ok(Body::Devices(FindDevicesResponse {
        devices: page.items.into_iter().map(|record| record.view(partner)).collect(),
        next_page_token: (!page.next_page_token.is_empty()).then_some(page.next_page_token),
        total_size: i32::try_from(page.total_size).unwrap_or(i32::MAX),
    }))
}
