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
    let ranked = found.iter().filter_map(|device| Some((rank(command, device)?, device)));
    let device = ranked.min_by_key(|(rank, _)| *rank)?.1;
    let claim = zero_touch_claim(device);
    Some(DeviceState {
        device_id: device.device_id.clone(),
        owner: claim.and_then(|claim| owner(claim, command.customer.as_ref())),
        reseller: claim.and_then(|claim| present(&claim.reseller_id)),
        metadata: device.device_metadata.clone().unwrap_or_default().entries,
    })
}

/// The one of these devices of which [`device_state`] would tell; so that a lookup of many pages
/// keeps no more than one.
#[must_use]
pub fn closest(command: &Command, found: impl IntoIterator<Item = Device>) -> Option<Device> {
    let ranked = found.into_iter().filter_map(|device| Some((rank(command, &device)?, device)));
    Some(ranked.min_by_key(|(rank, _)| *rank)?.1)
}

/// The less the better; `None` if it is another device.
fn rank(command: &Command, device: &Device) -> Option<(u8, bool)> {
    // Of equals, one that is held says more than one that is not.
    Some((distance(command, device)?, zero_touch_claim(device).is_none()))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Action;
    use crate::wire::google::{DeviceMetadata, samples};

    fn device(id: &str, ids: Identifiers) -> Device {
        let device_identifier = Some(ids.into());
        Device { device_id: Some(id.into()), device_identifier, ..Device::default() }
    }

    fn claimed(mut device: Device, company: &str, section: &str) -> Device {
        device.claims.push(DeviceClaim {
            owner_company_id: Some(company.into()),
            reseller_id: Some("12".into()),
            section_type: Some(section.into()),
            ..DeviceClaim::default()
        });
        device
    }

    fn phone(imei: &str) -> Identifiers {
        Identifiers { imei: Some(imei.into()), ..Default::default() }
    }

    fn tablet(maker: &str, model: &str, serial: &str) -> Identifiers {
        Identifiers {
            manufacturer: Some(maker.into()),
            model: Some(model.into()),
            serial_number: Some(serial.into()),
            ..Default::default()
        }
    }

    fn picked(command_ids: Identifiers, found: &[Device]) -> Option<String> {
        let command = samples::command(Action::Unclaim, command_ids, None);
        device_state(&command, found)?.device_id
    }

    const A: &str = "356938035643809";
    const B: &str = "490154203237518";

    #[test]
    fn the_exact_serial_number_wins_over_another_letter_case_and_other_models_are_not_it() {
        let found = [
            device("1", tablet("Google", "Other", "s1")),
            device("2", tablet("Google", "M", "S1")),
            device("3", tablet("Google", "M", "s1")),
        ];
        assert_eq!(picked(tablet("Google", "M", "s1"), &found).as_deref(), Some("3"));
        assert_eq!(picked(tablet("google", "m", "s1"), &found).as_deref(), Some("3"));
        assert_eq!(picked(tablet("Google", "M", "s1"), &found[..2]).as_deref(), Some("2"));
        assert_eq!(picked(tablet("Google", "M", "s1"), &found[..1]), None);
    }

    #[test]
    fn a_dual_sim_phone_is_found_by_either_imei() {
        let both = Identifiers { imei2: Some(B.into()), ..phone(A) };
        assert_eq!(picked(phone(B), &[device("1", both.clone())]).as_deref(), Some("1"));
        assert_eq!(picked(both, &[device("1", phone(B))]).as_deref(), Some("1"));
        assert_eq!(picked(phone(A), &[device("1", phone(B))]), None);
    }

    #[test]
    fn a_command_with_only_a_device_id_takes_the_device_with_that_id() {
        let command = samples::command(Action::Unclaim, Identifiers::default(), Some("2"));
        let found = [device("1", phone(A)), device("2", phone(B))];
        assert_eq!(device_state(&command, &found).unwrap().device_id.as_deref(), Some("2"));
        assert_eq!(device_state(&command, &found[..1]), None);
    }

    #[test]
    fn the_owner_is_the_customer_of_the_zero_touch_claim() {
        let command = samples::command(Action::Unclaim, phone(A), None);
        let sim_lock = claimed(device("1", phone(A)), "5", "SECTION_TYPE_SIM_LOCK");
        assert_eq!(device_state(&command, std::slice::from_ref(&sim_lock)).unwrap().owner, None);
        let mut both = claimed(sim_lock, "7", SECTION_ZERO_TOUCH);
        both.device_metadata =
            Some(DeviceMetadata { entries: [("k".to_owned(), "v".to_owned())].into() });
        let state = device_state(&command, &[both]).unwrap();
        assert_eq!(state.owner, Some(Customer::ZeroTouch("7".into())));
        assert_eq!(state.reseller.as_deref(), Some("12"));
        assert_eq!(state.metadata["k"], "v");
    }

    #[test]
    fn an_owner_with_both_kinds_of_id_is_named_by_the_kind_the_command_speaks_of() {
        let mut device = claimed(device("1", phone(A)), "7", SECTION_ZERO_TOUCH);
        device.claims[0].google_workspace_customer_id = Some("C01".into());
        let mut command = samples::command(Action::Unclaim, phone(A), None);
        let owner = |command: &Command| device_state(command, &[device.clone()]).unwrap().owner;
        assert_eq!(owner(&command), Some(Customer::ZeroTouch("7".into())));
        command.customer = Some(Customer::Workspace("C02".into()));
        assert_eq!(owner(&command), Some(Customer::Workspace("C01".into())));
    }

    #[test]
    fn of_two_records_of_one_device_the_held_one_is_taken() {
        let held = claimed(device("2", phone(A)), "7", SECTION_ZERO_TOUCH);
        let found = [device("1", phone(A)), held];
        assert_eq!(picked(phone(A), &found).as_deref(), Some("2"));
    }

    proptest! {
        #[test]
        fn a_device_registered_as_the_command_names_it_is_always_found(
            (ids, device_id) in samples::identifiers(),
        ) {
            let command = samples::command(Action::Unclaim, ids.clone(), device_id.as_deref());
            let registered = device(device_id.as_deref().unwrap_or("1"), ids);
            prop_assert!(device_state(&command, &[registered]).is_some());
        }
    }
}
