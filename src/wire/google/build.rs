//! Commands to the bodies of the asynchronous calls: which fields are sent, and which never.
//!
//! An item names its device so that the echo in the operation's result leads back to the command's
//! device key: by identifiers if they make up the key, else by the API's device id.

use serde::Serialize;

use super::{
    ClaimDevicesRequest, DeviceIdentifier, DeviceMetadata, FindByIdentifierRequest,
    FindByOwnerRequest, PartnerClaim, PartnerUnclaim, SECTION_ZERO_TOUCH, UnclaimDevicesRequest,
    UpdateMetadataArguments, UpdateMetadataRequest,
};
use crate::model::{Action, Command, Customer, DeviceKey, DeviceType, Identifiers};

/// Largest page the API gives of devices found.
const FIND_LIMIT: &str = "100";

/// Body of one asynchronous call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SubmitRequest {
    /// Of `devices:claimAsync`.
    Claim(ClaimDevicesRequest),
    /// Of `devices:unclaimAsync`.
    Unclaim(UnclaimDevicesRequest),
    /// Of `devices:updateMetadataAsync`.
    UpdateMetadata(UpdateMetadataRequest),
}

impl SubmitRequest {
    /// Builds the body; items stand in the order of the commands. The batch's action decides, not
    /// the commands'.
    pub fn new(action: Action, commands: impl IntoIterator<Item = Command>) -> Self {
        let commands = commands.into_iter();
        match action {
            Action::Claim => {
                Self::Claim(ClaimDevicesRequest { claims: commands.map(claim).collect() })
            }
            Action::Unclaim => {
                Self::Unclaim(UnclaimDevicesRequest { unclaims: commands.map(unclaim).collect() })
            }
            Action::UpdateMetadata => Self::UpdateMetadata(UpdateMetadataRequest {
                updates: commands.map(update_metadata).collect(),
            }),
        }
    }
}

fn claim(command: Command) -> PartnerClaim {
    let (customer_id, google_workspace_customer_id) = match command.customer {
        Some(Customer::ZeroTouch(id)) => (Some(id), None),
        Some(Customer::Workspace(id)) => (None, Some(id)),
        None => (None, None),
    };
    PartnerClaim {
        device_identifier: Some(command.device.into()),
        section_type: Some(SECTION_ZERO_TOUCH.to_owned()),
        customer_id,
        google_workspace_customer_id,
        device_metadata: (!command.metadata.is_empty())
            .then_some(DeviceMetadata { entries: command.metadata }),
        configuration_id: command.configuration_id,
        pre_provisioning_token: command.pre_provisioning_token,
    }
}

fn unclaim(command: Command) -> PartnerUnclaim {
    let (device_id, device_identifier) = device(command.device, command.device_id);
    let section_type = Some(SECTION_ZERO_TOUCH.to_owned());
    PartnerUnclaim { device_id, device_identifier, section_type }
}

fn update_metadata(command: Command) -> UpdateMetadataArguments {
    let (device_id, device_identifier) = device(command.device, command.device_id);
    let device_metadata = Some(DeviceMetadata { entries: command.metadata });
    UpdateMetadataArguments { device_id, device_identifier, device_metadata }
}

/// Exactly one of the two ways to name a device.
fn device(
    ids: Identifiers,
    device_id: Option<String>,
) -> (Option<String>, Option<DeviceIdentifier>) {
    // Not "any field is set": a model name alone beside a device id identifies nothing.
    if device_id.is_none() || DeviceKey::of(&ids, None).is_some() {
        (None, Some(ids.into()))
    } else {
        (device_id, None)
    }
}

/// Bodies of the `findByIdentifier` calls that look for a device, best first; empty if there is
/// nothing to look for. The next is only needed when the one before found nothing.
///
/// One hardware id each, since it is not documented whether several must all match: a phone may be
/// registered with either of its two IMEIs.
#[must_use]
pub fn find_by_identifier(ids: &Identifiers) -> Vec<FindByIdentifierRequest> {
    let mut searches = Vec::new();
    if let Some(id) = &ids.chrome_os_attested_device_id {
        searches.push(DeviceIdentifier {
            chrome_os_attested_device_id: Some(id.clone()),
            serial_number: ids.serial_number.clone(),
            model: ids.model.clone(),
            ..DeviceIdentifier::default()
        });
    }
    let mut imeis: Vec<&String> = ids.imei.iter().chain(&ids.imei2).collect();
    imeis.sort_unstable();
    imeis.dedup();
    let imei = |id: &String| DeviceIdentifier { imei: Some(id.clone()), ..Default::default() };
    searches.extend(imeis.into_iter().map(imei));
    let mut meids: Vec<&String> = ids.meid.iter().chain(&ids.meid2).collect();
    meids.sort_unstable();
    meids.dedup();
    let meid = |id: &String| DeviceIdentifier { meid: Some(id.clone()), ..Default::default() };
    searches.extend(meids.into_iter().map(meid));
    if searches.is_empty() && ids.serial_number.is_some() {
        searches.push(DeviceIdentifier {
            serial_number: ids.serial_number.clone(),
            manufacturer: ids.manufacturer.clone(),
            model: ids.model.clone(),
            ..DeviceIdentifier::default()
        });
    }
    let request = |device_identifier| FindByIdentifierRequest {
        device_identifier,
        limit: FIND_LIMIT.to_owned(),
        page_token: None,
    };
    searches.into_iter().map(request).collect()
}

/// Body of a `findByOwner` call: the zero-touch devices of these customers.
#[must_use]
pub fn find_by_owner(customers: &[Customer], page_token: Option<String>) -> FindByOwnerRequest {
    let mut request = FindByOwnerRequest {
        limit: FIND_LIMIT.to_owned(),
        page_token,
        section_type: Some(SECTION_ZERO_TOUCH.to_owned()),
        ..FindByOwnerRequest::default()
    };
    for customer in customers {
        match customer {
            Customer::ZeroTouch(id) => request.customer_id.push(id.clone()),
            Customer::Workspace(id) => request.google_workspace_customer_id.push(id.clone()),
        }
    }
    request
}

impl From<Identifiers> for DeviceIdentifier {
    fn from(ids: Identifiers) -> Self {
        let device_type = ids.device_type.map(|kind| match kind {
            DeviceType::Android => DEVICE_TYPE_ANDROID.to_owned(),
            DeviceType::ChromeOs => DEVICE_TYPE_CHROME_OS.to_owned(),
        });
        Self {
            imei: ids.imei,
            imei2: ids.imei2,
            meid: ids.meid,
            meid2: ids.meid2,
            serial_number: ids.serial_number,
            manufacturer: ids.manufacturer,
            model: ids.model,
            chrome_os_attested_device_id: ids.chrome_os_attested_device_id,
            device_type,
        }
    }
}

const DEVICE_TYPE_ANDROID: &str = "DEVICE_TYPE_ANDROID";
const DEVICE_TYPE_CHROME_OS: &str = "DEVICE_TYPE_CHROME_OS";

impl From<DeviceIdentifier> for Identifiers {
    /// As the server spelled them, but normalised where that is possible, so that keys compare.
    fn from(ids: DeviceIdentifier) -> Self {
        let device_type = match ids.device_type.as_deref() {
            Some(DEVICE_TYPE_ANDROID) => Some(DeviceType::Android),
            Some(DEVICE_TYPE_CHROME_OS) => Some(DeviceType::ChromeOs),
            _ => None,
        };
        let raw = Self {
            imei: ids.imei,
            imei2: ids.imei2,
            meid: ids.meid,
            meid2: ids.meid2,
            serial_number: ids.serial_number,
            manufacturer: ids.manufacturer,
            model: ids.model,
            chrome_os_attested_device_id: ids.chrome_os_attested_device_id,
            device_type,
        };
        raw.clone().normalise(true).unwrap_or(raw)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::google::samples;

    fn body(action: Action, command: Command) -> serde_json::Value {
        serde_json::to_value(SubmitRequest::new(action, [command])).unwrap()
    }

    fn phone(imei: &str) -> Identifiers {
        Identifiers { imei: Some(imei.into()), ..Default::default() }
    }

    #[test]
    fn a_bare_claim_has_the_device_the_section_and_the_customer_and_nothing_else() {
        let command = samples::command(Action::Claim, phone("490154203237518"), Some("9"));
        assert_eq!(
            body(Action::Claim, command),
            json!({"claims": [{
                "deviceIdentifier": {"imei": "490154203237518"},
                "sectionType": "SECTION_TYPE_ZERO_TOUCH",
                "customerId": "7",
            }]})
        );
    }

    #[test]
    fn a_full_claim_carries_metadata_configuration_token_and_workspace_customer() {
        let ids = Identifiers {
            chrome_os_attested_device_id: Some("A".into()),
            serial_number: Some("S".into()),
            model: Some("M".into()),
            device_type: Some(DeviceType::ChromeOs),
            ..Default::default()
        };
        let mut command = samples::command(Action::Claim, ids, None);
        command.customer = Some(Customer::Workspace("C01".into()));
        command.metadata = [("ordernumber".to_owned(), "A-1".to_owned())].into();
        command.configuration_id = Some("5".into());
        command.pre_provisioning_token = Some("t".into());
        assert_eq!(
            body(Action::Claim, command),
            json!({"claims": [{
                "deviceIdentifier": {
                    "serialNumber": "S", "model": "M", "chromeOsAttestedDeviceId": "A",
                    "deviceType": "DEVICE_TYPE_CHROME_OS",
                },
                "sectionType": "SECTION_TYPE_ZERO_TOUCH",
                "googleWorkspaceCustomerId": "C01",
                "deviceMetadata": {"entries": {"ordernumber": "A-1"}},
                "configurationId": "5",
                "preProvisioningToken": "t",
            }]})
        );
    }

    #[test]
    fn an_unclaim_names_the_device_by_identifiers_if_it_can_else_by_id_never_by_both() {
        let by_ids = samples::command(Action::Unclaim, phone("490154203237518"), Some("9"));
        assert_eq!(
            body(Action::Unclaim, by_ids),
            json!({"unclaims": [{
                "deviceIdentifier": {"imei": "490154203237518"},
                "sectionType": "SECTION_TYPE_ZERO_TOUCH",
            }]})
        );
        let model_only = Identifiers { model: Some("M".into()), ..Default::default() };
        let by_id = samples::command(Action::Unclaim, model_only, Some("9"));
        assert_eq!(
            body(Action::Unclaim, by_id),
            json!({"unclaims": [{"deviceId": "9", "sectionType": "SECTION_TYPE_ZERO_TOUCH"}]})
        );
    }

    #[test]
    fn a_metadata_update_always_has_its_metadata() {
        let command = samples::command(Action::UpdateMetadata, Identifiers::default(), Some("9"));
        assert_eq!(
            body(Action::UpdateMetadata, command),
            json!({"updates": [{"deviceId": "9", "deviceMetadata": {"entries": {}}}]})
        );
    }

    #[test]
    fn a_phone_is_searched_by_its_lower_imei_first_and_by_one_id_at_a_time() {
        let ids = Identifiers {
            imei2: Some("356938035643809".into()),
            serial_number: Some("S".into()),
            manufacturer: Some("Google".into()),
            model: Some("M".into()),
            ..phone("490154203237518")
        };
        let found: Vec<_> = find_by_identifier(&ids)
            .iter()
            .map(|request| serde_json::to_value(request).unwrap())
            .collect();
        assert_eq!(
            found,
            [
                json!({"deviceIdentifier": {"imei": "356938035643809"}, "limit": "100"}),
                json!({"deviceIdentifier": {"imei": "490154203237518"}, "limit": "100"}),
            ]
        );
    }

    #[test]
    fn a_tablet_is_searched_by_serial_number_maker_and_model() {
        let ids = Identifiers {
            serial_number: Some("S".into()),
            manufacturer: Some("Google".into()),
            model: Some("M".into()),
            ..Default::default()
        };
        let searches = find_by_identifier(&ids);
        assert_eq!(searches.len(), 1);
        assert_eq!(Identifiers::from(searches[0].device_identifier.clone()), ids);
        assert!(find_by_identifier(&Identifiers::default()).is_empty());
    }
}
