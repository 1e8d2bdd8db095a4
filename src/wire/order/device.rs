//! One element of `devices`: what could be read, and the first thing that has a wrong type.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::leaf::{Leaf, MetadataField, scalars_are_wrong, skip_list};
use crate::model::{DeviceType, FailureCode, InputFault, OrderDevice};

/// The members of a device that this worker knows.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Member {
    Line,
    Imei,
    Imei2,
    Meid,
    Meid2,
    SerialNumber,
    Manufacturer,
    Model,
    ChromeOsAttestedDeviceId,
    DeviceType,
    DeviceId,
    Metadata,
    ConfigurationId,
    PreProvisioningToken,
    SectionType,
    #[serde(other)]
    Unknown,
}

/// A device of whatever JSON stands in its place. Of a repeated member the last counts.
#[derive(Debug, Default)]
pub(super) struct DeviceElement(pub(super) OrderDevice);

impl DeviceElement {
    fn wrong(what: &str) -> Self {
        Self(OrderDevice {
            fault: Some(InputFault::new(
                FailureCode::InvalidField,
                format!("the device is {what}, needs to be an object"),
            )),
            ..Default::default()
        })
    }
}

impl<'de> Deserialize<'de> for DeviceElement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DeviceVisitor)
    }
}

struct DeviceVisitor;

impl<'de> Visitor<'de> for DeviceVisitor {
    type Value = DeviceElement;

    scalars_are_wrong!(DeviceElement, DeviceElement::wrong("null"));

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<DeviceElement, A::Error> {
        skip_list(seq)?;
        Ok(DeviceElement::wrong("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DeviceElement, A::Error> {
        let mut device = OrderDevice::default();
        let mut faults = Faults(None);
        while let Some(member) = map.next_key::<Member>()? {
            match member {
                Member::Line => device.line = faults.text_or_integer("line", map.next_value()?),
                Member::Imei => device.ids.imei = faults.text("imei", map.next_value()?),
                Member::Imei2 => device.ids.imei2 = faults.text("imei2", map.next_value()?),
                Member::Meid => device.ids.meid = faults.text("meid", map.next_value()?),
                Member::Meid2 => device.ids.meid2 = faults.text("meid2", map.next_value()?),
                Member::SerialNumber => {
                    device.ids.serial_number = faults.text("serialNumber", map.next_value()?);
                }
                Member::Manufacturer => {
                    device.ids.manufacturer = faults.text("manufacturer", map.next_value()?);
                }
                Member::Model => device.ids.model = faults.text("model", map.next_value()?),
                Member::ChromeOsAttestedDeviceId => {
                    device.ids.chrome_os_attested_device_id =
                        faults.text("chromeOsAttestedDeviceId", map.next_value()?);
                }
                Member::DeviceType => {
                    let text = faults.text("deviceType", map.next_value()?);
                    device.ids.device_type = faults.device_type(text.as_deref());
                }
                Member::DeviceId => {
                    device.device_id = faults.text_or_integer("deviceId", map.next_value()?);
                }
                Member::Metadata => device.metadata = faults.metadata(map.next_value()?),
                Member::ConfigurationId => {
                    device.configuration_id =
                        faults.text_or_integer("configurationId", map.next_value()?);
                }
                Member::PreProvisioningToken => {
                    device.pre_provisioning_token =
                        faults.text("preProvisioningToken", map.next_value()?);
                }
                Member::SectionType => {
                    device.section_type = faults.text("sectionType", map.next_value()?);
                }
                Member::Unknown => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        device.fault = faults.0;
        Ok(DeviceElement(device))
    }
}

/// The first fault found.
struct Faults(Option<InputFault>);

impl Faults {
    fn note<T: Default>(&mut self, code: FailureCode, message: String) -> T {
        let _ = self.0.get_or_insert_with(|| InputFault::new(code, message));
        T::default()
    }

    fn text(&mut self, name: &str, leaf: Leaf) -> Option<String> {
        leaf.into_text().unwrap_or_else(|what| {
            self.note(FailureCode::InvalidField, format!("{name} is {what}, needs to be text"))
        })
    }

    fn text_or_integer(&mut self, name: &str, leaf: Leaf) -> Option<String> {
        leaf.into_text_or_integer().unwrap_or_else(|what| {
            let message = format!("{name} is {what}, needs to be text or an integer");
            self.note(FailureCode::InvalidField, message)
        })
    }

    fn device_type(&mut self, text: Option<&str>) -> Option<DeviceType> {
        match text? {
            "DEVICE_TYPE_ANDROID" => Some(DeviceType::Android),
            "DEVICE_TYPE_CHROME_OS" => Some(DeviceType::ChromeOs),
            _ => self.note(
                FailureCode::InvalidField,
                "deviceType needs to be DEVICE_TYPE_ANDROID or DEVICE_TYPE_CHROME_OS".to_owned(),
            ),
        }
    }

    fn metadata(&mut self, field: MetadataField) -> crate::model::Metadata {
        field.into_metadata().unwrap_or_else(|what| self.note(FailureCode::InvalidMetadata, what))
    }
}
