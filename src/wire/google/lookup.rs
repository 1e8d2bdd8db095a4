//! Which of the devices found is the command's, and who holds it.
//!
//! A device overlooked here would make an unclaim look unnecessary or a claim look undone, so the
//! match is generous as far as the hardware ids allow, and picks the closest.

use super::{Device, DeviceClaim, SECTION_ZERO_TOUCH};
use crate::model::{Command, Customer, DeviceKey, DeviceState, Identifiers};

/// The state of the command's device, given the devices that the API found for it; `None` if it is
/// not among them.
#[must_use]
pub fn device_state(command: &Command, found: &[Device]) -> Option<DeviceState> {
    let device = found
        .iter()
        .filter_map(|device| {
            let distance = distance(command, device)?;
            // Of equals, one that is held says more than one that is not.
            Some(((distance, zero_touch_claim(device).is_none()), device))
        })
        .min_by_key(|(rank, _)| *rank)?
        .1;
    let claim = zero_touch_claim(device);
    Some(DeviceState {
        device_id: device.device_id.clone(),
        owner: claim.and_then(|claim| owner(claim, command.customer.as_ref())),
        reseller: claim.and_then(|claim| present(&claim.reseller_id)),
        metadata: device.device_metadata.clone().unwrap_or_default().entries,
    })
}

/// How far a device is from the command's; `None` if it is another one.
fn distance(command: &Command, device: &Device) -> Option<u8> {
    let ours = &command.device;
    if DeviceKey::of(ours, None).is_none() {
        let is_same = command.device_id.is_some() && command.device_id == device.device_id;
        return is_same.then_some(0);
    }
    let theirs: Identifiers = device.device_identifier.clone()?.into();
    let device_key = DeviceKey::of(&theirs, None);
    if device_key.is_some() && device_key == command.device_key() {
        return Some(0);
    }
    if shares(modems(ours), modems(&theirs)) {
        return Some(1);
    }
    if has_modem(ours) && has_modem(&theirs) {
        return None;
    }
    let same = |a: &Option<String>, b: &Option<String>, how: fn(&str, &str) -> bool| match (a, b) {
        (Some(a), Some(b)) => how(a, b),
        _ => false,
    };
    let exactly: fn(&str, &str) -> bool = |a, b| a == b;
    let loosely: fn(&str, &str) -> bool = str::eq_ignore_ascii_case;
    let is_cros = ours.chrome_os_attested_device_id.is_some();
    if is_cros {
        let (a, b) = (&ours.chrome_os_attested_device_id, &theirs.chrome_os_attested_device_id);
        return same(a, b, exactly).then_some(0);
    }
    let is_kind = same(&ours.manufacturer, &theirs.manufacturer, loosely)
        && same(&ours.model, &theirs.model, loosely);
    let (a, b) = (&ours.serial_number, &theirs.serial_number);
    match (is_kind, same(a, b, exactly), same(a, b, loosely)) {
        (true, true, _) => Some(2),
        (true, false, true) => Some(3),
        _ => None,
    }
}

/// Modem ids: a phone may be registered with one of two, or with both in the other order.
fn modems(ids: &Identifiers) -> [Option<&String>; 4] {
    [ids.imei.as_ref(), ids.imei2.as_ref(), ids.meid.as_ref(), ids.meid2.as_ref()]
}

fn has_modem(ids: &Identifiers) -> bool {
    modems(ids).iter().any(Option::is_some)
}

fn shares(ours: [Option<&String>; 4], theirs: [Option<&String>; 4]) -> bool {
    ours.iter().flatten().any(|id| theirs.iter().flatten().any(|other| id == other))
}

fn zero_touch_claim(device: &Device) -> Option<&DeviceClaim> {
    let section = |claim: &&DeviceClaim| claim.section_type.clone().unwrap_or_default();
    let named = device.claims.iter().find(|claim| section(claim) == SECTION_ZERO_TOUCH);
    // A claim that does not say its section may be ours: better to see an owner too many.
    let unnamed =
        |claim: &&DeviceClaim| matches!(section(claim).as_str(), "" | "SECTION_TYPE_UNSPECIFIED");
    named.or_else(|| device.claims.iter().find(unnamed))
}

/// The claim's customer; if it has ids of both kinds, the kind the command speaks of.
fn owner(claim: &DeviceClaim, asked: Option<&Customer>) -> Option<Customer> {
    let company = present(&claim.owner_company_id).map(Customer::ZeroTouch);
    let workspace = present(&claim.google_workspace_customer_id).map(Customer::Workspace);
    match asked {
        Some(Customer::ZeroTouch(_)) => company.or(workspace),
        Some(Customer::Workspace(_)) | None => workspace.or(company),
    }
}

fn present(id: &Option<String>) -> Option<String> {
    id.clone().filter(|id| !id.is_empty() && id != "0")
}
