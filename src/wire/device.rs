//! A device as commands and outcomes spell it: the API's field names, absent ones left out.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{DeviceType, Identifiers};

/// A device: its hardware ids and the API's id for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Device")]
pub struct DeviceJson<'a> {
    /// First modem's IMEI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imei: Option<Cow<'a, str>>,
    /// Second modem's IMEI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imei2: Option<Cow<'a, str>>,
    /// First modem's MEID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meid: Option<Cow<'a, str>>,
    /// Second modem's MEID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meid2: Option<Cow<'a, str>>,
    /// Serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<Cow<'a, str>>,
    /// `Build.MANUFACTURER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<Cow<'a, str>>,
    /// `Build.MODEL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Cow<'a, str>>,
    /// ChromeOS attested device id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chrome_os_attested_device_id: Option<Cow<'a, str>>,
    /// Android or ChromeOS; absent means Android.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<DeviceType>,
    /// The API's id of the device, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Cow<'a, str>>,
}

impl<'a> DeviceJson<'a> {
    /// Borrows a device.
    #[must_use]
    pub fn new(ids: &'a Identifiers, device_id: Option<&'a str>) -> Self {
        fn text(field: &Option<String>) -> Option<Cow<'_, str>> {
            field.as_deref().map(Cow::Borrowed)
        }
        Self {
            imei: text(&ids.imei),
            imei2: text(&ids.imei2),
            meid: text(&ids.meid),
            meid2: text(&ids.meid2),
            serial_number: text(&ids.serial_number),
            manufacturer: text(&ids.manufacturer),
            model: text(&ids.model),
            chrome_os_attested_device_id: text(&ids.chrome_os_attested_device_id),
            device_type: ids.device_type,
            device_id: device_id.map(Cow::Borrowed),
        }
    }

    /// The hardware ids, and the API's id.
    #[must_use]
    pub fn into_parts(self) -> (Identifiers, Option<String>) {
        fn text(field: Option<Cow<'_, str>>) -> Option<String> {
            field.map(Cow::into_owned)
        }
        let ids = Identifiers {
            imei: text(self.imei),
            imei2: text(self.imei2),
            meid: text(self.meid),
            meid2: text(self.meid2),
            serial_number: text(self.serial_number),
            manufacturer: text(self.manufacturer),
            model: text(self.model),
            chrome_os_attested_device_id: text(self.chrome_os_attested_device_id),
            device_type: self.device_type,
        };
        (ids, text(self.device_id))
    }
}
