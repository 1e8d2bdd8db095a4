//! Which items of its request a refusal names: by the place in the list (`claims[3].…`, as in
//! `google.rpc.BadRequest`), or by a device's identifier in the message.

use serde_json::Value;

use crate::model::{DeviceHash, DeviceKey, Identifiers, Named};

/// A refusal that names more than this names nobody in particular.
const NAMED_MAX: usize = 100;

/// The lists of the requests.
const LISTS: [&str; 3] = ["claims", "unclaims", "updates"];

/// What a message and the details beside it name.
pub(super) fn named(message: &str, details: &[Value]) -> Named {
    let fields = details
        .iter()
        .filter_map(|detail| detail.get("fieldViolations")?.as_array())
        .flatten()
        .flat_map(|violation| ["field", "description"].map(|key| violation.get(key)))
        .filter_map(|text| text?.as_str());
    let mut found = Named::default();
    for text in fields.chain([message]) {
        found.items.extend(items(text));
        found.devices.extend(devices(text));
    }
    found.items.sort_unstable();
    found.items.dedup();
    found.devices.sort_unstable();
    found.devices.dedup();
    if found.items.len().max(found.devices.len()) > NAMED_MAX { Named::default() } else { found }
}

/// Places such as the 3 of `claims[3].customerId` and of `claims.3`.
fn items(text: &str) -> impl Iterator<Item = usize> + '_ {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"[]._".contains(c));
    words.flat_map(|word| {
        let mut parts = word.split(['[', ']', '.']).filter(|part| !part.is_empty());
        let is_list = parts.next().is_some_and(|list| LISTS.contains(&list));
        parts.next().filter(|_| is_list).and_then(|place| place.parse().ok())
    })
}

/// Devices by IMEI or MEID; a serial number alone is no key.
fn devices(text: &str) -> impl Iterator<Item = DeviceHash> + '_ {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(|word| {
        let ids = match word.len() {
            15 if word.bytes().all(|b| b.is_ascii_digit()) => {
                Identifiers { imei: Some(word.to_owned()), ..Identifiers::default() }
            }
            14 if word.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Identifiers { meid: Some(word.to_owned()), ..Identifiers::default() }
            }
            _ => return None,
        };
        DeviceKey::of(&ids, None).map(|key| key.hash())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_is_named_by_its_place_in_a_field_or_in_the_message() {
        let details = [json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": "claims[3].deviceIdentifier.imei", "description": "no"}]
        })];
        assert_eq!(named("bad", &details).items, [3]);
        let message = "Invalid value at 'unclaims[12].section_type' (TYPE_ENUM), and updates.0";
        assert_eq!(named(message, &[]).items, [0, 12]);
        for nothing in ["claims", "claims[x]", "12 claims", "claims[]", "reclaims[3]", "[3]"] {
            assert!(named(nothing, &[]).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_device_is_named_by_its_identifier_in_the_message() {
        let named = named("IMEI 490154203237518 is blocked; order 12345", &[]);
        let ids = Identifiers { imei: Some("490154203237518".into()), ..Identifiers::default() };
        assert_eq!(named.devices, [DeviceKey::of(&ids, None).unwrap().hash()]);
    }

    #[test]
    fn a_message_that_names_nearly_everything_names_nothing() {
        let message: String = (0..101).map(|place| format!("claims[{place}] ")).collect();
        assert!(named(&message, &[]).is_empty());
    }
}
