//! Commands and devices for the tests of this folder.

use jiff::Timestamp;
use proptest::prelude::*;

use crate::model::{Action, Cause, Command, Customer, Identifiers, Source};

/// A command with as little as possible in it.
pub(super) fn command(action: Action, device: Identifiers, device_id: Option<&str>) -> Command {
    Command {
        action,
        cause: Cause::Sale,
        event_id: "e".into(),
        order_id: "o".into(),
        line: "1".into(),
        account: "main".into(),
        customer: Some(Customer::ZeroTouch("7".into())),
        device,
        device_id: device_id.map(Into::into),
        metadata: Default::default(),
        configuration_id: None,
        pre_provisioning_token: None,
        recorded_at: None,
        occurred_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
        source: Source { topic: "t".into(), partition: 0, offset: 0 },
        traceparent: None,
    }
}

/// An IMEI: 14 digits and their check digit.
pub(super) fn imei(body: u64) -> String {
    let body = format!("{body:014}");
    (0..10).map(|check| format!("{body}{check}")).find(|imei| phone(imei).is_some()).unwrap()
}

fn phone(imei: &str) -> Option<Identifiers> {
    Identifiers { imei: Some(imei.into()), ..Default::default() }.normalise(false).ok()
}

/// Identifiers as validation lets them through, beside a device id or alone.
pub(super) fn identifiers() -> impl Strategy<Value = (Identifiers, Option<String>)> {
    let modem = || prop::option::of((0..100_000_000_000_000u64).prop_map(imei));
    let meid = || prop::option::of("[0-9a-fA-F]{14}");
    let text = || prop::option::of("[A-Za-z0-9 /]{0,6}");
    let device_id = prop::option::of("[1-9][0-9]{0,8}");
    (modem(), modem(), meid(), meid(), text(), text(), text(), text(), device_id).prop_filter_map(
        "refused by validation",
        |(imei, imei2, meid, meid2, serial_number, manufacturer, model, cros, device_id)| {
            let ids = Identifiers {
                imei,
                imei2,
                meid,
                meid2,
                serial_number,
                manufacturer,
                model,
                chrome_os_attested_device_id: cros,
                device_type: None,
            };
            Some((ids.normalise(device_id.is_some()).ok()?, device_id))
        },
    )
}
