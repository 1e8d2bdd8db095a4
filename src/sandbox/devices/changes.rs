//! What a claim, an unclaim and a metadata update do to a device, and when they may not.

use super::{Devices, Holder, may_act};
use crate::sandbox::customers::Customers;
use crate::sandbox::identifiers::{self, ItemError};
use crate::sandbox::options::{DeviceIds, Reclaim, Semantics, UnclaimedUnclaim};
use crate::wire::google::{
    DeviceIdentifier, PartnerClaim, PartnerUnclaim, UpdateMetadataArguments,
};

/// One change of one device, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of `claim` and `claimAsync`.
    Claim(PartnerClaim),
    /// Of `unclaim` and `unclaimAsync`.
    Unclaim(PartnerUnclaim),
    /// Of `metadata` and `updateMetadataAsync`.
    Metadata(UpdateMetadataArguments),
}

impl Change {
    pub(super) fn target(&self) -> (Option<&DeviceIdentifier>, Option<&str>) {
        match self {
            Self::Claim(claim) => (claim.device_identifier.as_ref(), None),
            Self::Unclaim(unclaim) => {
                (unclaim.device_identifier.as_ref(), unclaim.device_id.as_deref())
            }
            Self::Metadata(update) => {
                (update.device_identifier.as_ref(), update.device_id.as_deref())
            }
        }
    }

    /// What is wrong with the item whatever the state of the device.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ItemError> {
        let section = match self {
            Self::Claim(PartnerClaim { section_type, .. })
            | Self::Unclaim(PartnerUnclaim { section_type, .. }) => section_type.as_deref(),
            Self::Metadata(_) => Some("SECTION_TYPE_ZERO_TOUCH"),
        };
        if section != Some("SECTION_TYPE_ZERO_TOUCH") {
            return Err(ItemError::new(
                "INVALID_SECTION_TYPE",
                "INVALID_SECTION_TYPE",
                "only SECTION_TYPE_ZERO_TOUCH is served",
            ));
        }
        match self.target() {
            (Some(ids), None) => identifiers::check(ids),
            (None, Some(id)) if id.parse::<i64>().is_ok() => Ok(()),
            _ => Err(ItemError::new(
                "INVALID_DEVICE_IDENTIFIER",
                "INVALID_IDENTIFIER_SET",
                "give exactly one of deviceIdentifier and deviceId",
            )),
        }
    }
}

/// What a change that worked did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The record.
    pub id: u64,
    /// Who held it before.
    pub from: Option<Holder>,
}

impl Devices {
    /// Carries out a change that [`Change::check`] has passed.
    ///
    /// # Errors
    /// As the result of the item.
    pub fn apply(
        &mut self,
        partner: &str,
        change: &Change,
        customers: &Customers,
        semantics: &Semantics,
    ) -> Result<Applied, ItemError> {
        match change {
            Change::Claim(claim) => self.claim(partner, claim, customers, semantics),
            Change::Unclaim(_) => self.unclaim(partner, change, customers, semantics),
            Change::Metadata(update) => {
                let id = self.held(partner, change, customers)?;
                let from = self.records.get(&id).and_then(|record| record.claim.clone());
                self.merge(id, update.device_metadata.as_ref());
                Ok(Applied { id, from })
            }
        }
    }

    fn claim(
        &mut self,
        partner: &str,
        claim: &PartnerClaim,
        customers: &Customers,
        semantics: &Semantics,
    ) -> Result<Applied, ItemError> {
        let customer = customers.of_claim(partner, claim)?;
        let ids = claim.device_identifier.clone().unwrap_or_default();
        let holder = Holder { customer, reseller_id: partner.to_owned() };
        let known = self.record_of(Some(&ids), None).cloned();
        if let Some(record) = &known {
            if let Some(field) = identifiers::conflict(&record.identifiers, &ids) {
                return Err(ItemError::new("OTHER_ERROR", field, "Precondition check failed."));
            }
            match &record.claim {
                Some(other) if other.reseller_id != partner => {
                    return Err(not_yours("the device is claimed by another reseller"));
                }
                Some(other) if other.customer != holder.customer => {
                    return Err(exists("the device is claimed by another customer"));
                }
                Some(_) if semantics.reclaim == Reclaim::Error => {
                    return Err(exists("the device is already claimed by this customer"));
                }
                Some(_) | None => {}
            }
        }
        let from = known.as_ref().and_then(|record| record.claim.clone());
        let id = match known {
            Some(record) if from.is_none() && semantics.device_ids == DeviceIds::Renewed => {
                self.renew(&record)
            }
            Some(record) => record.device_id.parse().unwrap_or_default(),
            None => self.insert(ids),
        };
        if let Some(record) = self.records.get_mut(&id) {
            record.claim = Some(holder);
            record.registered_by.insert(partner.to_owned());
        }
        self.merge(id, claim.device_metadata.as_ref());
        Ok(Applied { id, from })
    }

    fn unclaim(
        &mut self,
        partner: &str,
        change: &Change,
        customers: &Customers,
        semantics: &Semantics,
    ) -> Result<Applied, ItemError> {
        let (ids, device_id) = change.target();
        let record = self.record_of(ids, device_id);
        let Some((id, holder)) = record.map(|r| (&r.device_id, &r.claim)) else {
            return Err(if semantics.unclaimed == UnclaimedUnclaim::NotYours {
                not_yours("the device is not claimed")
            } else {
                unknown_device()
            });
        };
        let id = id.parse().unwrap_or_default();
        let from = holder.clone();
        match &from {
            Some(holder) if may_act(partner, &holder.reseller_id, customers) => {}
            Some(_) => return Err(not_yours("the device is claimed by another reseller")),
            None => match semantics.unclaimed {
                UnclaimedUnclaim::Success => return Ok(Applied { id, from }),
                UnclaimedUnclaim::NotYours => {
                    return Err(not_yours("the device is not claimed"));
                }
                UnclaimedUnclaim::NotFound => return Err(unknown_device()),
            },
        }
        if let Some(record) = self.records.get_mut(&id) {
            record.claim = None;
            if !semantics.keep_metadata {
                record.metadata.clear();
            }
        }
        Ok(Applied { id, from })
    }

    /// The record of a change, if the partner itself holds it.
    fn held(
        &self,
        partner: &str,
        change: &Change,
        customers: &Customers,
    ) -> Result<u64, ItemError> {
        let (ids, device_id) = change.target();
        let record = self.record_of(ids, device_id).ok_or_else(unknown_device)?;
        match &record.claim {
            Some(holder) if holder.reseller_id == partner => {
                Ok(record.device_id.parse().unwrap_or_default())
            }
            Some(holder) if may_act(partner, &holder.reseller_id, customers) => {
                Err(ItemError::new(
                    "PERMISSION_DENIED",
                    "AUTHORIZATION_FAIL",
                    "the device was claimed by a vendor",
                ))
            }
            _ => Err(not_yours("the device is not claimed by this reseller")),
        }
    }
}

fn not_yours(message: &str) -> ItemError {
    ItemError::new("SECTION_NOT_YOURS", "AUTHORIZATION_FAIL", message)
}

fn exists(message: &str) -> ItemError {
    ItemError::new("OTHER_ERROR", "DEVICE_ALREADY_EXISTS", message)
}

fn unknown_device() -> ItemError {
    ItemError::new("OTHER_ERROR", "INVALID_DEVICE_ID", "there is no such device")
}
