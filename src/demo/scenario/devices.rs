//! Devices made from numbers: the same number gives the same device, and no two share an id.

use serde_json::{Map, Value, json};

use crate::verify::KeyText;

/// What kind of device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A phone with one IMEI.
    SingleSim,
    /// A phone with two.
    DualSim,
    /// A Wi-Fi tablet, known by its serial number.
    Tablet,
    /// A ChromeOS device.
    ChromeOs,
    /// A phone whose IMEI was written down wrongly.
    BadImei,
}

/// A device in as few bytes as can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) number: u64,
    pub(super) kind: Kind,
}

/// Turns units into identifiers.
#[derive(Debug)]
pub(super) struct Fleet {
    /// Where the IMEIs begin.
    base: u64,
}

const PHONES: [(&str, &str); 5] = [
    ("Google", "Pixel 9"),
    ("Google", "Pixel 9a"),
    ("Motorola", "moto g84"),
    ("Nokia", "G42"),
    ("Honeywell", "CT45"),
];
const TABLETS: [(&str, &str); 2] = [("Google", "Pixel Tablet"), ("Lenovo", "TB350FU")];

impl Fleet {
    pub(super) fn new(seed: u64) -> Self {
        Self { base: scatter(seed) % 1_000_000_000_000 }
    }

    /// The device's fields in an order event, and its key; no key if it is not valid.
    pub(super) fn describe(&self, unit: Unit) -> (Map<String, Value>, Option<KeyText>) {
        let chance = scatter(unit.number);
        let (fields, key) = match unit.kind {
            Kind::SingleSim | Kind::DualSim => self.phone(unit, chance),
            Kind::Tablet => {
                let (maker, model) = TABLETS[pick(chance, TABLETS.len())];
                let serial = format!("T{:010}", (self.base + unit.number) % 10_000_000_000);
                let key = format!("serial:{maker}/{model}/{serial}");
                let fields =
                    json!({ "serialNumber": serial, "manufacturer": maker, "model": model });
                (fields, Some(key))
            }
            Kind::ChromeOs => {
                let number = (self.base + unit.number) % 10_000_000_000;
                let attested = format!("ATTESTED{number:010}");
                let key = format!("cros:{attested}");
                let fields = json!({
                    "chromeOsAttestedDeviceId": attested,
                    "serialNumber": format!("CB{number:010}"),
                    "model": "Chromebook Plus 514",
                    "deviceType": "DEVICE_TYPE_CHROME_OS",
                });
                (fields, Some(key))
            }
            Kind::BadImei => (json!({ "imei": spoil(self.imei(unit.number, 0), chance) }), None),
        };
        // `json!` with braces makes an object.
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        (fields, key.map(KeyText::from))
    }

    fn phone(&self, unit: Unit, chance: u64) -> (Value, Option<String>) {
        let (maker, model) = PHONES[pick(chance, PHONES.len())];
        let one = self.imei(unit.number, 0);
        // Some systems write IMEIs with separators.
        let as_written = |imei: &str| {
            if chance >> 32 & 31 == 0 {
                format!("{}-{}-{}-{}", &imei[..2], &imei[2..8], &imei[8..14], &imei[14..])
            } else {
                imei.to_owned()
            }
        };
        if unit.kind == Kind::SingleSim {
            let fields = json!({ "imei": as_written(&one), "manufacturer": maker, "model": model });
            return (fields, Some(format!("imei:{one}")));
        }
        let two = self.imei(unit.number, 1);
        let lower = if one < two { &one } else { &two };
        let key = format!("imei:{lower}");
        let (first, second) = if chance >> 40 & 1 == 0 { (&one, &two) } else { (&two, &one) };
        let fields = json!({
            "imei": as_written(first), "imei2": second, "manufacturer": maker, "model": model,
        });
        (fields, Some(key))
    }

    /// Fourteen digits of our own and the check digit.
    fn imei(&self, number: u64, modem: u64) -> String {
        let body = format!("35{:012}", (self.base + 2 * number + modem) % 1_000_000_000_000);
        let check = check_digit(&body);
        format!("{body}{check}")
    }
}

/// The Luhn digit that makes the whole valid: every second digit, from the last, counts double.
fn check_digit(body: &str) -> u32 {
    let mut sum = 0;
    for (index, digit) in body.chars().rev().filter_map(|c| c.to_digit(10)).enumerate() {
        sum += match digit {
            _ if index % 2 == 1 => digit,
            0..=4 => 2 * digit,
            _ => 2 * digit - 9,
        };
    }
    (10 - sum % 10) % 10
}

/// The mistakes that people make with IMEIs.
fn spoil(mut imei: String, chance: u64) -> String {
    let last = imei.pop().and_then(|digit| digit.to_digit(10)).unwrap_or_default();
    match chance % 3 {
        0 => imei.push_str(&((last + 1) % 10).to_string()),
        1 => {}
        _ => imei.push('O'),
    }
    imei
}

fn pick(chance: u64, len: usize) -> usize {
    (chance % len as u64) as usize
}

/// Neighbouring numbers become unlike ones (splitmix64).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
