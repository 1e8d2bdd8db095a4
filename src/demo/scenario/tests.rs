//! The stream is the same for a seed, has the mix it promises, and expects what it says.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::{DeviceKey, Identifiers};

fn scenario(devices: u64, seed: u64) -> Scenario {
    Scenario::new(ScenarioOptions { devices, seed, start: Timestamp::UNIX_EPOCH })
}

fn expected(item: &Item) -> &[crate::verify::ExpectedCommand] {
    match &item.expectation {
        Expectation::Commands(commands) => commands,
        Expectation::DeadLetter => &[],
    }
}

/// The order event, whatever form the record has.
fn body(item: &Item) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_slice(&item.payload).unwrap();
    if value.get("specversion").is_some() { value["data"].clone() } else { value }
}

#[test]
fn a_seed_gives_the_same_stream_and_another_seed_other_devices() {
    let (one, two): (Vec<_>, Vec<_>) = (scenario(500, 7).collect(), scenario(500, 7).collect());
    assert_eq!(one, two);
    let devices = |seed| -> BTreeSet<_> {
        let items: Vec<Item> = scenario(500, seed).collect();
        items.iter().flat_map(|i| expected(i).iter().filter_map(|c| c.device.clone())).collect()
    };
    assert!(devices(7).is_disjoint(&devices(8)));
}

#[test]
fn as_many_different_devices_are_sold_as_were_asked_for() {
    for wanted in [0, 1, 30, 10_000] {
        let (mut valid, mut invalid, mut sold) = (BTreeSet::new(), 0, 0);
        for item in scenario(wanted, 1) {
            sold += item.sold as u64;
            for command in expected(&item) {
                match &command.device {
                    Some(device) => drop(valid.insert(device.clone())),
                    None => invalid += 1,
                }
            }
        }
        assert_eq!(valid.len() as u64 + invalid, wanted);
        assert_eq!(sold, wanted, "devices sold again or named in other events count once");
    }
}

#[test]
fn the_mix_is_that_of_a_real_shop() {
    let mut kinds: BTreeMap<ItemKind, u32> = BTreeMap::new();
    let (mut small, mut hundreds, mut bad, mut lines, mut forms) = (0, 0, 0, 0, [0; 3]);
    for item in scenario(10_000, 42) {
        *kinds.entry(item.kind).or_default() += 1;
        assert!(item.lines <= 500);
        if item.kind == ItemKind::Event(Cause::Sale) {
            small += u32::from(item.lines <= 5);
            hundreds += u32::from(item.lines > 100);
            lines += item.lines;
            bad += expected(&item).iter().filter(|command| command.device.is_none()).count();
        }
        let has = |name| item.headers.iter().any(|(header, _)| *header == name);
        forms[usize::from(has("content-type")) + usize::from(has("ce_id"))] += 1;
    }
    let sales = kinds[&ItemKind::Event(Cause::Sale)];
    assert!(sales > 500 && small * 10 > sales * 8 && hundreds >= 3, "{small} of {sales}");
    assert!((lines / 500..lines / 100).contains(&bad), "{bad} of {lines}");
    for cause in [Cause::Return, Cause::Cancellation, Cause::Amendment] {
        assert!(kinds[&ItemKind::Event(cause)] >= 20, "{kinds:?}");
    }
    assert_eq!((kinds[&ItemKind::Garbage], kinds[&ItemKind::UnknownType]), (1, 1));
    assert!(forms.iter().all(|count| *count > 50), "{forms:?}");
}

#[test]
fn keys_and_faults_are_those_the_rules_of_identifiers_give() {
    let mut checked = BTreeMap::new();
    for item in scenario(5_000, 3) {
        if !matches!(item.kind, ItemKind::Event(_)) {
            continue;
        }
        let body = body(&item);
        for device in body["devices"].as_array().unwrap() {
            let text = |field: &str| device[field].as_str().map(str::to_owned);
            let ids = Identifiers {
                imei: text("imei"),
                imei2: text("imei2"),
                serial_number: text("serialNumber"),
                manufacturer: text("manufacturer"),
                model: text("model"),
                chrome_os_attested_device_id: text("chromeOsAttestedDeviceId"),
                ..Identifiers::default()
            };
            let key = ids.normalise(false).ok().and_then(|ids| DeviceKey::of(&ids, None));
            let key = key.map(|key| key.as_str().to_owned());
            let line = device["line"].as_str().unwrap();
            let of_line = || expected(&item).iter().filter(|command| command.line == line);
            assert!(of_line().count() > 0);
            for command in of_line() {
                assert_eq!(command.device.as_ref().map(|k| k.as_str().to_owned()), key);
            }
            let kind = key.map_or("bad".into(), |k| k.split(':').next().unwrap().to_owned());
            *checked.entry(kind).or_insert(0) += 1;
        }
    }
    assert_eq!(checked.keys().collect::<Vec<_>>(), ["bad", "cros", "imei", "serial"]);
}

#[test]
fn a_resale_goes_to_another_customer_after_the_return() {
    let mut holders: BTreeMap<String, Option<Customer>> = BTreeMap::new();
    let (mut resales, mut at_once) = (0, 0);
    let mut before: Option<Item> = None;
    for item in scenario(10_000, 5) {
        for command in expected(&item) {
            let Some(device) = &command.device else { continue };
            let holder = holders.get(device.as_str());
            match command.cause {
                Cause::Sale => {
                    assert!(holder.is_none_or(Option::is_none), "sold twice");
                    resales += u32::from(holder.is_some());
                    holders.insert(device.as_str().to_owned(), command.customer.clone());
                }
                Cause::Return | Cause::Cancellation => {
                    assert!(holder.is_some_and(Option::is_some), "given back unsold");
                    if command.action == crate::model::Action::Unclaim {
                        holders.insert(device.as_str().to_owned(), None);
                    }
                }
                Cause::Amendment => assert!(holder.is_some_and(Option::is_some)),
            }
        }
        let is_of_order = before.as_ref().is_some_and(|before| before.key == item.key);
        let is_cancellation = item.kind == ItemKind::Event(Cause::Cancellation);
        at_once += u32::from(is_of_order && is_cancellation);
        before = Some(item);
    }
    assert!(resales >= 20 && at_once >= 10, "{resales} resales, {at_once} cancelled at once");
}

#[test]
fn little_is_kept_in_memory_however_long_the_stream() {
    let mut scenario = scenario(50_000, 9);
    let mut most = 0;
    while scenario.next().is_some() {
        most = most.max(scenario.due.len());
    }
    assert!((1..300).contains(&most), "{most}");
}
