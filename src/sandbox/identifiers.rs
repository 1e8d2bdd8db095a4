//! What the API accepts as a device identifier, and when two identifiers mean one device.
//!
//! Written apart from the model's validation on purpose: a double that shares the rules of the
//! program under test would share its mistakes. Only the key's spelling comes from the model.

use crate::model::{DeviceKey, DeviceType, Identifiers};
use crate::wire::google::DeviceIdentifier;

/// Why one item of a batch fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemError {
    /// `SINGLE_DEVICE_STATUS_` and this.
    pub status: &'static str,
    /// `errorIdentifier`: a `CustomErrorCode`.
    pub identifier: &'static str,
    /// For developers.
    pub message: String,
}

impl ItemError {
    /// An error.
    #[must_use]
    pub fn new(status: &'static str, identifier: &'static str, message: impl Into<String>) -> Self {
        Self { status, identifier, message: message.into() }
    }

    fn bad(identifier: &'static str, message: impl Into<String>) -> Self {
        Self::new("INVALID_DEVICE_IDENTIFIER", identifier, message)
    }
}

/// Checks the identifiers of an item.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn check(ids: &DeviceIdentifier) -> Result<(), ItemError> {
    for imei in [&ids.imei, &ids.imei2].into_iter().flatten() {
        if imei.len() != 15 || !imei.bytes().all(|b| b.is_ascii_digit()) || !luhn(imei) {
            return Err(ItemError::bad("INVALID_IMEI", "the IMEI is not valid"));
        }
    }
    for meid in [&ids.meid, &ids.meid2].into_iter().flatten() {
        if meid.len() != 14 || !meid.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ItemError::bad("INVALID_MEID", "the MEID is not valid"));
        }
    }
    if (ids.imei.is_some() && ids.meid.is_some()) || (ids.imei2.is_some() && ids.meid2.is_some()) {
        return Err(ItemError::bad("INVALID_IDENTIFIER_SET", "both IMEI and MEID for one modem"));
    }
    let blank = |field: &Option<String>| field.as_ref().is_none_or(|text| text.trim().is_empty());
    if let Some(attested) = &ids.chrome_os_attested_device_id {
        if attested.is_empty() || blank(&ids.serial_number) || blank(&ids.model) {
            return Err(ItemError::bad(
                "INVALID_IDENTIFIER_SET",
                "a ChromeOS device needs its attested id, serial number and model",
            ));
        }
        return Ok(());
    }
    if ids.device_type.as_deref() == Some("DEVICE_TYPE_CHROME_OS") {
        return Err(ItemError::bad(
            "INVALID_IDENTIFIER_SET",
            "a ChromeOS device needs its attested id",
        ));
    }
    if let Some(serial) = &ids.serial_number {
        if serial.trim().is_empty() {
            return Err(ItemError::bad("INVALID_SERIAL", "the serial number is empty"));
        }
        if blank(&ids.manufacturer) {
            return Err(ItemError::bad("INVALID_MANUFACTURER", "a serial needs a manufacturer"));
        }
        if blank(&ids.model) {
            return Err(ItemError::bad("INVALID_MODEL", "a serial number needs a model"));
        }
    }
    if ids.imei.is_none() && ids.meid.is_none() && ids.serial_number.is_none() {
        return Err(ItemError::bad("INVALID_IDENTIFIER_SET", "identifiers are not enough"));
    }
    Ok(())
}

/// The Luhn rule for a text of ASCII digits.
fn luhn(digits: &str) -> bool {
    let mut sum = 0;
    for (place, byte) in digits.bytes().rev().enumerate() {
        let mut digit = u32::from(byte - b'0');
        if place % 2 == 1 {
            digit *= 2;
            if digit > 9 {
                digit -= 9;
            }
        }
        sum += digit;
    }
    sum % 10 == 0
}

/// The key under which logs and faults know a device; not validated.
#[must_use]
pub(super) fn key(ids: &DeviceIdentifier, device_id: Option<&str>) -> Option<DeviceKey> {
    let upper = |meid: &Option<String>| meid.as_ref().map(|m| m.to_ascii_uppercase());
    let device_type = match ids.device_type.as_deref() {
        Some("DEVICE_TYPE_CHROME_OS") => Some(DeviceType::ChromeOs),
        Some("DEVICE_TYPE_ANDROID") => Some(DeviceType::Android),
        _ => None,
    };
    let ids = Identifiers {
        imei: ids.imei.clone(),
        imei2: ids.imei2.clone(),
        meid: upper(&ids.meid),
        meid2: upper(&ids.meid2),
        serial_number: ids.serial_number.clone(),
        manufacturer: ids.manufacturer.clone(),
        model: ids.model.clone(),
        chrome_os_attested_device_id: ids.chrome_os_attested_device_id.clone(),
        device_type,
    };
    DeviceKey::of(&ids, device_id)
}

/// The words under which a record is indexed.
pub(super) fn tokens(ids: &DeviceIdentifier) -> Vec<String> {
    let mut tokens = Vec::with_capacity(2);
    for imei in [&ids.imei, &ids.imei2].into_iter().flatten() {
        tokens.push(format!("imei:{imei}"));
    }
    for meid in [&ids.meid, &ids.meid2].into_iter().flatten() {
        tokens.push(format!("meid:{}", meid.to_ascii_uppercase()));
    }
    if let Some(attested) = &ids.chrome_os_attested_device_id {
        tokens.push(format!("cros:{attested}"));
    }
    if let Some(serial) = &ids.serial_number {
        tokens.push(format!("serial:{}", serial.to_lowercase()));
    }
    tokens
}

/// Whether everything that `wanted` names is true of the record; modems may stand in either order,
/// serial numbers and MEIDs may differ in case.
pub(super) fn matches(record: &DeviceIdentifier, wanted: &DeviceIdentifier) -> bool {
    let same = |a: &Option<String>, b: &Option<String>| {
        a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
    };
    let field = |wanted: &Option<String>, has: &[&Option<String>]| {
        wanted.is_none() || has.iter().any(|has| same(wanted, has))
    };
    field(&wanted.imei, &[&record.imei, &record.imei2])
        && field(&wanted.imei2, &[&record.imei, &record.imei2])
        && field(&wanted.meid, &[&record.meid, &record.meid2])
        && field(&wanted.meid2, &[&record.meid, &record.meid2])
        && field(&wanted.serial_number, &[&record.serial_number])
        && field(&wanted.manufacturer, &[&record.manufacturer])
        && field(&wanted.model, &[&record.model])
        && field(&wanted.chrome_os_attested_device_id, &[&record.chrome_os_attested_device_id])
}

/// The first descriptive field in which a claim contradicts the record it would claim.
pub(super) fn conflict(
    record: &DeviceIdentifier,
    claim: &DeviceIdentifier,
) -> Option<&'static str> {
    let differs = |a: &Option<String>, b: &Option<String>| {
        a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| !a.eq_ignore_ascii_case(b))
    };
    if differs(&record.manufacturer, &claim.manufacturer) {
        Some("INVALID_MANUFACTURER")
    } else if differs(&record.model, &claim.model) {
        Some("INVALID_MODEL")
    } else if differs(&record.serial_number, &claim.serial_number) {
        Some("INVALID_SERIAL")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(imei: &str) -> DeviceIdentifier {
        DeviceIdentifier { imei: Some(imei.into()), ..Default::default() }
    }

    #[test]
    fn an_imei_needs_fifteen_digits_and_its_check_digit() {
        assert!(check(&phone("490154203237518")).is_ok());
        for bad in ["490154203237517", "49015420323751", "49-015420-323751-8", ""] {
            assert_eq!(check(&phone(bad)).unwrap_err().identifier, "INVALID_IMEI");
        }
    }

    #[test]
    fn a_serial_number_needs_manufacturer_and_model() {
        let mut ids = DeviceIdentifier { serial_number: Some("S".into()), ..Default::default() };
        assert_eq!(check(&ids).unwrap_err().identifier, "INVALID_MANUFACTURER");
        ids.manufacturer = Some("Google".into());
        assert_eq!(check(&ids).unwrap_err().identifier, "INVALID_MODEL");
        ids.model = Some("Pixel".into());
        assert!(check(&ids).is_ok());
    }

    #[test]
    fn a_meid_has_fourteen_hexadecimal_digits_and_nothing_at_all_is_not_enough() {
        let meid = |m: &str| DeviceIdentifier { meid: Some(m.into()), ..Default::default() };
        assert!(check(&meid("a0000000002329")).is_ok());
        assert_eq!(check(&meid("A000")).unwrap_err().identifier, "INVALID_MEID");
        let nothing = DeviceIdentifier::default();
        assert_eq!(check(&nothing).unwrap_err().identifier, "INVALID_IDENTIFIER_SET");
    }

    #[test]
    fn a_search_finds_the_second_modem_and_a_serial_number_in_another_case() {
        let record = DeviceIdentifier {
            imei2: Some("356938035643809".into()),
            serial_number: Some("abC".into()),
            ..phone("490154203237518")
        };
        assert!(matches(&record, &phone("356938035643809")));
        let serial = DeviceIdentifier { serial_number: Some("ABC".into()), ..Default::default() };
        assert!(matches(&record, &serial));
        assert!(!matches(&record, &DeviceIdentifier { model: Some("X".into()), ..serial }));
    }
}
