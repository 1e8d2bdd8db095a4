//! Device records: who holds a device, and how one is found.

mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::model::{Customer, DeviceKey};
use crate::sandbox::customers::Customers;
use crate::sandbox::identifiers::{self};
use crate::sandbox::options::Listing;
use crate::wire::google::{Device, DeviceClaim, DeviceIdentifier, DeviceMetadata};

pub use changes::{Applied, Change};

/// The first device id: beyond what a double can count, so that a client that reads ids as numbers
/// is found out.
const FIRST_ID: u64 = 9_007_199_254_740_993;

/// Who holds a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The customer.
    #[serde(flatten)]
    pub customer: Customer,
    /// The reseller that made the claim.
    pub reseller_id: String,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The canonical key of its identifiers.
    pub device: Arc<str>,
    /// The API's id.
    pub device_id: String,
    /// What identifies it.
    pub identifiers: DeviceIdentifier,
    /// Who holds it.
    pub claim: Option<Holder>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Partners that have claimed it at some time: they may still find it.
    pub registered_by: BTreeSet<String>,
}

/// All records.
#[derive(Clone, Debug)]
pub struct Devices {
    records: BTreeMap<u64, Record>,
    by_token: BTreeMap<String, BTreeSet<u64>>,
    next_id: u64,
}

impl Default for Devices {
    fn default() -> Self {
        Self { records: BTreeMap::new(), by_token: BTreeMap::new(), next_id: FIRST_ID }
    }
}

impl Devices {
    /// Every record, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The record of an id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Record> {
        self.records.get(&id)
    }

    /// The key by which logs and faults know the device of a change: the record's if there is one.
    #[must_use]
    pub fn key_of(&self, change: &Change) -> Arc<str> {
        let (ids, device_id) = change.target();
        self.record_of(ids, device_id).map_or_else(
            || {
                let ids = ids.cloned().unwrap_or_default();
                identifiers::key(&ids, device_id)
                    .as_ref()
                    .map_or_else(|| "unidentified:".into(), |key| key.as_str().into())
            },
            |record| Arc::clone(&record.device),
        )
    }

    /// The record that one of the identifiers or the id names.
    fn record_of(
        &self,
        ids: Option<&DeviceIdentifier>,
        device_id: Option<&str>,
    ) -> Option<&Record> {
        if let Some(id) = device_id {
            return self.records.get(&id.parse().ok()?);
        }
        self.find(&naming_part(ids?)).next()
    }

    /// Every record of which all that `ids` names is true.
    pub fn find(&self, ids: &DeviceIdentifier) -> impl Iterator<Item = &Record> {
        let candidates = identifiers::tokens(ids)
            .first()
            .and_then(|token| self.by_token.get(token))
            .cloned()
            .unwrap_or_default();
        let ids = ids.clone();
        candidates
            .into_iter()
            .filter_map(|id| self.records.get(&id))
            .filter(move |record| identifiers::matches(&record.identifiers, &ids))
    }

    /// Whether searches of the partner show the record.
    #[must_use]
    pub fn is_visible(
        record: &Record,
        partner: &str,
        customers: &Customers,
        listing: Listing,
    ) -> bool {
        match &record.claim {
            Some(holder) => may_act(partner, &holder.reseller_id, customers),
            None => listing == Listing::Listed && record.registered_by.contains(partner),
        }
    }

    fn insert(&mut self, ids: DeviceIdentifier) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        for token in identifiers::tokens(&ids) {
            self.by_token.entry(token).or_default().insert(id);
        }
        let key = identifiers::key(&ids, None);
        let record = Record {
            device: key.as_ref().map_or("unidentified:", DeviceKey::as_str).into(),
            device_id: id.to_string(),
            identifiers: ids,
            claim: None,
            metadata: BTreeMap::new(),
            registered_by: BTreeSet::new(),
        };
        self.records.insert(id, record);
        id
    }

    /// Gives the device a new record, as if it had never been claimed.
    fn renew(&mut self, old: &Record) -> u64 {
        let old_id = old.device_id.parse().unwrap_or_default();
        self.records.remove(&old_id);
        for token in identifiers::tokens(&old.identifiers) {
            if let Some(ids) = self.by_token.get_mut(&token) {
                ids.remove(&old_id);
            }
        }
        let id = self.insert(old.identifiers.clone());
        if let Some(record) = self.records.get_mut(&id) {
            record.metadata.clone_from(&old.metadata);
            record.registered_by.clone_from(&old.registered_by);
        }
        id
    }

    fn merge(&mut self, id: u64, metadata: Option<&DeviceMetadata>) {
        let (Some(record), Some(metadata)) = (self.records.get_mut(&id), metadata) else { return };
        for (key, value) in &metadata.entries {
            if value.is_empty() {
                record.metadata.remove(key);
            } else {
                record.metadata.insert(key.clone(), value.clone());
            }
        }
    }

    /// Puts a device there as if it had been claimed (or, without a holder, once claimed by
    /// `registered_by` and unclaimed since), whatever its state was.
    pub fn seed(
        &mut self,
        ids: DeviceIdentifier,
        holder: Option<Holder>,
        registered_by: &str,
        metadata: BTreeMap<String, String>,
    ) -> Applied {
        let known = self.record_of(Some(&ids), None).and_then(|r| r.device_id.parse().ok());
        let id = known.unwrap_or_else(|| self.insert(ids));
        let mut from = None;
        if let Some(record) = self.records.get_mut(&id) {
            from = std::mem::replace(&mut record.claim, holder);
            record.registered_by.insert(registered_by.to_owned());
            record.metadata = metadata;
        }
        Applied { id, from }
    }
}

impl Record {
    /// The record as a partner sees it.
    #[must_use]
    pub fn view(&self, partner: &str) -> Device {
        let claims = self.claim.iter().map(|holder| {
            let (company, workspace) = match &holder.customer {
                Customer::ZeroTouch(id) => (Some(id.clone()), None),
                Customer::Workspace(id) => (None, Some(id.clone())),
            };
            DeviceClaim {
                owner_company_id: company,
                google_workspace_customer_id: workspace,
                reseller_id: Some(holder.reseller_id.clone()),
                section_type: Some("SECTION_TYPE_ZERO_TOUCH".into()),
            }
        });
        Device {
            device_id: Some(self.device_id.clone()),
            name: Some(format!("partners/{partner}/devices/{}", self.device_id)),
            device_identifier: Some(self.identifiers.clone()),
            device_metadata: (!self.metadata.is_empty())
                .then(|| DeviceMetadata { entries: self.metadata.clone() }),
            claims: claims.collect(),
        }
    }
}

/// The part of an identifier that says which device it is: modems or attested id if there are any,
/// else the serial number with its makers.
fn naming_part(ids: &DeviceIdentifier) -> DeviceIdentifier {
    if ids.imei.is_some() || ids.meid.is_some() || ids.chrome_os_attested_device_id.is_some() {
        return DeviceIdentifier {
            imei: ids.imei.clone(),
            meid: ids.meid.clone(),
            chrome_os_attested_device_id: ids.chrome_os_attested_device_id.clone(),
            ..Default::default()
        };
    }
    ids.clone()
}

fn may_act(partner: &str, reseller: &str, customers: &Customers) -> bool {
    partner == reseller || customers.is_vendor_of(reseller, partner)
}
