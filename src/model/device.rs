//! Device identifiers: normalised, validated, and reduced to one canonical key.
//!
//! Holds I10 for the whole program: a key prints masked; only [`DeviceKey::as_str`] shows it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FailureCode, spelling};

/// Kind of device, as the API spells it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum DeviceType {
    /// Android.
    #[serde(rename = "DEVICE_TYPE_ANDROID")]
    Android,
    /// ChromeOS.
    #[serde(rename = "DEVICE_TYPE_CHROME_OS")]
    ChromeOs,
}

/// What identifies a device. Field names are the API's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identifiers {
    /// First modem's IMEI, 15 digits.
    pub imei: Option<String>,
    /// Second modem's IMEI, 15 digits.
    pub imei2: Option<String>,
    /// First modem's MEID, 14 hexadecimal digits.
    pub meid: Option<String>,
    /// Second modem's MEID, 14 hexadecimal digits.
    pub meid2: Option<String>,
    /// Serial number; case sensitive.
    pub serial_number: Option<String>,
    /// `Build.MANUFACTURER`.
    pub manufacturer: Option<String>,
    /// `Build.MODEL`.
    pub model: Option<String>,
    /// ChromeOS attested device id.
    pub chrome_os_attested_device_id: Option<String>,
    /// Android or ChromeOS; absent means Android.
    pub device_type: Option<DeviceType>,
}

/// Why identifiers cannot be sent. The text says what to correct; it never repeats a full id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct IdentifierError {
    /// The code of the outcome.
    pub code: FailureCode,
    /// For a person.
    pub message: String,
}

impl IdentifierError {
    fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Identifiers {
    /// Trims every field, strips separators from IMEI and MEID, drops empty fields, and checks
    /// that what is left identifies a device. A check digit is verified, never computed.
    ///
    /// `has_device_id`: an API device id stands in for identifiers (not for a claim).
    ///
    /// # Errors
    /// The first thing that is wrong, with the outcome code it stands for.
    pub fn normalise(mut self, has_device_id: bool) -> Result<Self, IdentifierError> {
        for field in [
            &mut self.serial_number,
            &mut self.manufacturer,
            &mut self.model,
            &mut self.chrome_os_attested_device_id,
        ] {
            *field = field.take().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        }
        for (name, field) in [("imei", &mut self.imei), ("imei2", &mut self.imei2)] {
            *field = field.take().map(|v| imei(name, &v)).transpose()?.flatten();
        }
        for (name, field) in [("meid", &mut self.meid), ("meid2", &mut self.meid2)] {
            *field = field.take().map(|v| meid(name, &v)).transpose()?.flatten();
        }
        self.check_set(has_device_id)?;
        Ok(self)
    }

    /// Whether this is a ChromeOS device, said or implied.
    #[must_use]
    pub fn is_chrome_os(&self) -> bool {
        self.device_type == Some(DeviceType::ChromeOs)
            || self.chrome_os_attested_device_id.is_some()
    }

    /// Whether nothing at all is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { device_type: self.device_type, ..Self::default() }
    }

    fn check_set(&self, has_device_id: bool) -> Result<(), IdentifierError> {
        let has_modem = self.imei.is_some() || self.meid.is_some();
        let has_makers = self.manufacturer.is_some() && self.model.is_some();
        if self.imei.is_some() && self.meid.is_some() {
            return Err(IdentifierError::new(
                FailureCode::InvalidField,
                "give either imei or meid for the first modem, not both",
            ));
        }
        if self.imei2.is_some() && self.meid2.is_some() {
            return Err(IdentifierError::new(
                FailureCode::InvalidField,
                "give either imei2 or meid2 for the second modem, not both",
            ));
        }
        if self.is_chrome_os() {
            let complete = self.chrome_os_attested_device_id.is_some()
                && self.serial_number.is_some()
                && self.model.is_some();
            return if complete || has_device_id {
                Ok(())
            } else {
                Err(IdentifierError::new(
                    FailureCode::IncompleteChromeOs,
                    "a ChromeOS device needs chromeOsAttestedDeviceId, serialNumber and model",
                ))
            };
        }
        if let Some(serial) = self.serial_number.as_ref().filter(|_| !has_makers) {
            let advice = match spelling::is_imei(serial) {
                true => "; this one looks like an IMEI, give it as imei",
                false => "",
            };
            return Err(IdentifierError::new(
                FailureCode::IncompleteSerial,
                format!("serialNumber needs manufacturer and model beside it{advice}"),
            ));
        }
        if (self.imei2.is_some() || self.meid2.is_some()) && !has_modem {
            return Err(IdentifierError::new(
                FailureCode::InvalidField,
                "imei2 or meid2 needs imei or meid beside it",
            ));
        }
        if has_modem || self.serial_number.is_some() || has_device_id {
            Ok(())
        } else {
            Err(IdentifierError::new(
                FailureCode::NoIdentifier,
                "give imei, meid, or serialNumber with manufacturer and model",
            ))
        }
    }
}

fn strip_separators(value: &str) -> String {
    value.chars().filter(|c| !spelling::is_separator(*c)).collect()
}

fn imei(name: &str, value: &str) -> Result<Option<String>, IdentifierError> {
    let digits = strip_separators(value);
    if digits.is_empty() {
        return Ok(None);
    }
    let Some(fault) = spelling::imei_fault(value, &digits) else { return Ok(Some(digits)) };
    Err(IdentifierError::new(FailureCode::InvalidImei, format!("{name} {} {fault}", mask(&digits))))
}

fn meid(name: &str, value: &str) -> Result<Option<String>, IdentifierError> {
    let digits = strip_separators(value).to_ascii_uppercase();
    if digits.is_empty() {
        return Ok(None);
    }
    let Some(fault) = spelling::meid_fault(value, &digits) else { return Ok(Some(digits)) };
    Err(IdentifierError::new(FailureCode::InvalidMeid, format!("{name} {} {fault}", mask(&digits))))
}

/// Hides all but the last four characters of an id.
fn mask(id: &str) -> String {
    let shown = id.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    format!("…{}", &id[shown..])
}

/// Canonical identity of a device: `imei:…`, `meid:…`, `serial:<manufacturer>/<model>/<serial>`,
/// `cros:…` or, when the event gave nothing else, `device-id:…`.
///
/// Prints masked. A device that is named once by one kind of id and once by another has two keys:
/// nothing in the API could tell us that they are one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey(String);

impl DeviceKey {
    /// The key of normalised identifiers. Of two IMEIs the numerically lower one counts, as Google
    /// registers dual-SIM devices.
    #[must_use]
    pub fn of(ids: &Identifiers, device_id: Option<&str>) -> Option<Self> {
        let lower = |a: &Option<String>, b: &Option<String>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        };
        let key = if let Some(id) = &ids.chrome_os_attested_device_id {
            format!("cros:{id}")
        } else if let Some(imei) = lower(&ids.imei, &ids.imei2) {
            format!("imei:{imei}")
        } else if let Some(meid) = lower(&ids.meid, &ids.meid2) {
            format!("meid:{meid}")
        } else if let (Some(serial), Some(maker), Some(model)) =
            (&ids.serial_number, &ids.manufacturer, &ids.model)
        {
            format!("serial:{maker}/{model}/{serial}")
        } else {
            format!("device-id:{}", device_id?)
        };
        Some(Self(key))
    }

    /// The whole key: for Kafka keys and events, never for logs, traces or metrics.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as a number that fits in a register pair.
    #[must_use]
    pub fn hash(&self) -> DeviceHash {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3::hash(self.0.as_bytes()).as_bytes()[..16]);
        DeviceHash(u128::from_le_bytes(bytes))
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, id) = self.0.split_once(':').unwrap_or(("device", &self.0));
        write!(f, "{kind}:{}", mask(id))
    }
}

/// A device key in 128 bits of a collision-resistant hash, so that the hot path compares numbers.
/// Aligned like a 64-bit number, or every command in memory would be padded to 16 bytes.
#[repr(Rust, packed(8))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceHash(pub u128);

impl std::fmt::Debug for DeviceHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceHash({:08x})", self.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(imei: &str) -> Identifiers {
        Identifiers { imei: Some(imei.into()), ..Default::default() }
    }

    #[test]
    fn separators_are_stripped_and_the_check_digit_is_verified() {
        let ids = phone(" 49-015420-323751-8 ").normalise(false).unwrap();
        assert_eq!(ids.imei.as_deref(), Some("490154203237518"));
    }

    #[test]
    fn a_wrong_or_missing_check_digit_is_refused_and_the_message_masks_the_imei() {
        for bad in ["490154203237517", "49015420323751", "4901542032375180", "49015420323751A"] {
            let error = phone(bad).normalise(false).unwrap_err();
            assert_eq!(error.code, FailureCode::InvalidImei);
            assert!(!error.message.contains("4901542"), "{}", error.message);
        }
    }

    #[test]
    fn a_serial_number_needs_its_maker_and_model() {
        let mut ids = Identifiers { serial_number: Some("S1".into()), ..Default::default() };
        assert_eq!(ids.clone().normalise(false).unwrap_err().code, FailureCode::IncompleteSerial);
        ids.manufacturer = Some("Google".into());
        ids.model = Some("Pixel 9".into());
        let ids = ids.normalise(false).unwrap();
        assert_eq!(DeviceKey::of(&ids, None).unwrap().as_str(), "serial:Google/Pixel 9/S1");
    }

    #[test]
    fn nothing_but_spaces_identifies_nothing() {
        assert_eq!(phone("  ").normalise(false).unwrap_err().code, FailureCode::NoIdentifier);
        assert!(phone("  ").normalise(true).is_ok());
    }

    #[test]
    fn of_two_imeis_the_lower_one_is_the_key_whichever_comes_first() {
        let (a, b) = ("490154203237518", "356938035643809");
        let ids = |x: &str, y: &str| Identifiers { imei2: Some(y.into()), ..phone(x) };
        let key = DeviceKey::of(&ids(a, b).normalise(false).unwrap(), None).unwrap();
        assert_eq!(key.as_str(), "imei:356938035643809");
        assert_eq!(Some(key), DeviceKey::of(&ids(b, a).normalise(false).unwrap(), None));
    }

    #[test]
    fn a_key_prints_masked() {
        let key = DeviceKey::of(&phone("490154203237518"), None).unwrap();
        assert_eq!(format!("{key} {key:?}"), "imei:…7518 imei:…7518");
    }
}
