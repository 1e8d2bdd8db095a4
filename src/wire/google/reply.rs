//! The reply to a poll, read as a stream: what it takes in memory depends on what was sent, and not
//! on what came back.
//!
//! Each result becomes ours at once and is forgotten in the API's form. A result that cannot be
//! read is no result: its device is looked up, the others count. Of more results than there can be,
//! those beyond are not kept, but they are read: one that contradicts a kept one makes both
//! worthless.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::lenient::{Fields, Id, Place, Read, Words};
use super::{
    DeviceIdentifier, OperationPerDevice, PartnerClaim, PartnerUnclaim, PerDeviceStatus,
    UpdateMetadataArguments, results,
};
use crate::model::{DeviceHash, DeviceResult};

/// What a reply to a poll holds, as far as it is used.
#[derive(Debug, Default)]
pub(super) struct PollReply {
    pub(super) done: bool,
    pub(super) progress: Option<i64>,
    pub(super) results: Option<Results>,
    pub(super) error: Option<(i32, String)>,
}

/// The results of an operation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    pub(super) kept: Vec<DeviceResult>,
    /// Results beyond those that there can be.
    pub(super) beyond: usize,
    /// Results that cannot be read.
    pub(super) unreadable: usize,
}

/// Reads a reply of which at most `results_max` results are kept.
///
/// # Errors
/// It is no JSON, or not that of an operation.
pub(super) fn read(body: &[u8], results_max: usize) -> Result<PollReply, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let reply = ReplySeed { results_max }.deserialize(&mut json)?;
    json.end()?;
    Ok(reply)
}

struct ReplySeed {
    results_max: usize,
}

impl<'de> DeserializeSeed<'de> for ReplySeed {
    type Value = PollReply;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PollReply, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReplySeed {
    type Value = PollReply;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PollReply, A::Error> {
        const NAMES: &[&str] = &["done", "metadata", "response", "error"];
        let (mut reply, mut seen) = (PollReply::default(), [false; NAMES.len()]);
        while let Some(place) = map.next_key_seed(Place(NAMES))? {
            let Some(at) = place else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut seen[at], true) {
                return Err(A::Error::custom(format_args!("`{}` is there twice", NAMES[at])));
            }
            match at {
                0 => reply.done = map.next_value()?,
                1 => {
                    let progress = map.next_value::<Read<Progress>>()?.value;
                    reply.progress = progress.and_then(|progress| progress.0);
                }
                2 => {
                    let results_max = self.results_max;
                    reply.results = map.next_value_seed(ResponseSeed { results_max })?;
                }
                _ => {
                    let error = map.next_value::<Read<RpcError>>()?.value;
                    reply.error = error.map(|error| (error.code, error.message));
                }
            }
        }
        Ok(reply)
    }
}

/// `progress` of the metadata of an operation.
#[derive(Default)]
struct Progress(Option<i64>);

impl Fields for Progress {
    const NAMES: &'static [&'static str] = &["progress"];

    fn read<'de, A: MapAccess<'de>>(&mut self, _: usize, map: &mut A) -> Result<bool, A::Error> {
        let read: Read<Id> = map.next_value()?;
        self.0 = read.value.and_then(|id| id.0.parse().ok());
        Ok(true)
    }
}

#[derive(Default)]
struct RpcError {
    code: i32,
    message: String,
}

impl Fields for RpcError {
    const NAMES: &'static [&'static str] = &["code", "message"];

    fn read<'de, A: MapAccess<'de>>(&mut self, at: usize, map: &mut A) -> Result<bool, A::Error> {
        if at == 0 {
            let code: Read<Id> = map.next_value()?;
            self.code = code.value.and_then(|id| id.0.parse().ok()).unwrap_or_default();
        } else {
            let words: Read<Words> = map.next_value()?;
            self.message = words.value.map_or(String::new(), |words| words.0);
        }
        Ok(true)
    }
}

/// `response`; `None` if it is null.
struct ResponseSeed {
    results_max: usize,
}

impl<'de> DeserializeSeed<'de> for ResponseSeed {
    type Value = Option<Results>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ResponseSeed {
    type Value = Option<Results>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response of an operation")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut results = None;
        while let Some(place) = map.next_key_seed(Place(&["perDeviceStatus"]))? {
            if place.is_none() {
                map.next_value::<IgnoredAny>()?;
            } else if results.is_some() {
                return Err(A::Error::custom("`perDeviceStatus` is there twice"));
            } else {
                let results_max = self.results_max;
                results = Some(map.next_value_seed(ResultsSeed { results_max })?);
            }
        }
        Ok(Some(results.unwrap_or_default()))
    }
}

struct ResultsSeed {
    results_max: usize,
}

impl<'de> DeserializeSeed<'de> for ResultsSeed {
    type Value = Results;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Results, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ResultsSeed {
    type Value = Results;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of results")
    }

    fn visit_unit<E: Error>(self) -> Result<Results, E> {
        Ok(Results::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Results, A::Error> {
        let mut results = Results::default();
        // Of the results that are kept, once there are too many: the place of each device's.
        let mut places: Option<HashMap<DeviceHash, usize>> = None;
        while let Some(item) = seq.next_element::<Read<OperationPerDevice>>()? {
            let item = match item {
                Read { value: Some(item), is_sound: true } => item,
                _ => {
                    results.unreadable += 1;
                    continue;
                }
            };
            if results.kept.len() < self.results_max && places.is_none() {
                results.kept.push(results::device_result(item));
                continue;
            }
            results.beyond += 1;
            if item.claim.is_none() && item.unclaim.is_none() && item.update_metadata.is_none() {
                continue;
            }
            let result = results::device_result(item);
            let places = places.get_or_insert_with(|| {
                let kept = results.kept.iter().enumerate();
                kept.filter_map(|(at, result)| Some((result.device?, at))).collect()
            });
            let place = result.device.and_then(|device| places.get(&device).copied());
            let contradicts = place.is_some_and(|at| results.kept[at].verdict != result.verdict);
            if let (true, Some(device)) = (contradicts, result.device) {
                // Both are there now, so that neither counts; once is enough.
                places.remove(&device);
                results.kept.push(result);
            }
        }
        Ok(results)
    }
}

impl Fields for OperationPerDevice {
    const NAMES: &'static [&'static str] = &["claim", "unclaim", "updateMetadata", "result"];

    fn read<'de, A: MapAccess<'de>>(&mut self, at: usize, map: &mut A) -> Result<bool, A::Error> {
        Ok(match at {
            0 => map.next_value::<Read<_>>()?.into_place(&mut self.claim),
            1 => map.next_value::<Read<_>>()?.into_place(&mut self.unclaim),
            2 => map.next_value::<Read<_>>()?.into_place(&mut self.update_metadata),
            _ => {
                let read = map.next_value::<Read<_>>()?;
                self.result = read.value.unwrap_or_default();
                read.is_sound
            }
        })
    }
}

/// Of the echoes only what names the device.
impl Fields for PartnerClaim {
    const NAMES: &'static [&'static str] = &["deviceIdentifier"];

    fn read<'de, A: MapAccess<'de>>(&mut self, _: usize, map: &mut A) -> Result<bool, A::Error> {
        Ok(map.next_value::<Read<_>>()?.into_place(&mut self.device_identifier))
    }
}

impl Fields for PartnerUnclaim {
    const NAMES: &'static [&'static str] = &["deviceIdentifier", "deviceId"];

    fn read<'de, A: MapAccess<'de>>(&mut self, at: usize, map: &mut A) -> Result<bool, A::Error> {
        match at {
            0 => Ok(map.next_value::<Read<_>>()?.into_place(&mut self.device_identifier)),
            _ => id(map, &mut self.device_id),
        }
    }
}

impl Fields for UpdateMetadataArguments {
    const NAMES: &'static [&'static str] = PartnerUnclaim::NAMES;

    fn read<'de, A: MapAccess<'de>>(&mut self, at: usize, map: &mut A) -> Result<bool, A::Error> {
        match at {
            0 => Ok(map.next_value::<Read<_>>()?.into_place(&mut self.device_identifier)),
            _ => id(map, &mut self.device_id),
        }
    }
}

impl Fields for DeviceIdentifier {
    const NAMES: &'static [&'static str] = &[
        "imei",
        "imei2",
        "meid",
        "meid2",
        "serialNumber",
        "manufacturer",
        "model",
        "chromeOsAttestedDeviceId",
        "deviceType",
    ];

    fn read<'de, A: MapAccess<'de>>(&mut self, at: usize, map: &mut A) -> Result<bool, A::Error> {
        let places = [
            &mut self.imei,
            &mut self.imei2,
            &mut self.meid,
            &mut self.meid2,
            &mut self.serial_number,
            &mut self.manufacturer,
            &mut self.model,
            &mut self.chrome_os_attested_device_id,
            &mut self.device_type,
        ];
        match places.into_iter().nth(at) {
            Some(place) => id(map, place),
            None => map.next_value::<IgnoredAny>().map(|_| false),
        }
    }
}

impl Fields for PerDeviceStatus {
    const NAMES: &'static [&'static str] =
        &["deviceId", "errorIdentifier", "errorMessage", "status"];

    fn read<'de, A: MapAccess<'de>>(&mut self, at: usize, map: &mut A) -> Result<bool, A::Error> {
        if at == 0 {
            return id(map, &mut self.device_id);
        }
        let Read { value, is_sound } = map.next_value::<Read<Words>>()?;
        let text = value.map(|words| words.0);
        match at {
            1 => self.error_identifier = text,
            2 => self.error_message = text,
            _ => self.status = text.unwrap_or_default(),
        }
        Ok(is_sound)
    }
}

fn id<'de, A: MapAccess<'de>>(map: &mut A, place: &mut Option<String>) -> Result<bool, A::Error> {
    let Read { value, is_sound } = map.next_value::<Read<Id>>()?;
    *place = value.map(|id| id.0);
    Ok(is_sound)
}
