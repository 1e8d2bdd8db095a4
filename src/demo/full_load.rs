//! A stream of nothing but sales of single devices, all due at once: how full do batches get?

use serde_json::json;

use super::scenario::{Item, ItemKind};
use crate::model::{Action, Cause, Customer, Metadata};
use crate::verify::{Expectation, ExpectedCommand};

const CUSTOMER: &str = "1001";

/// The stream.
pub(super) fn items(devices: u64, seed: u64) -> impl Iterator<Item = Item> {
    (0..devices).map(move |number| {
        let order_id = format!("F-{seed}-{number}");
        let imei = imei(seed.wrapping_mul(1_000_003).wrapping_add(number) % 1_000_000_000_000);
        let payload = json!({
            "type": "sale",
            "eventId": format!("sale-{order_id}"),
            "occurredAt": "2026-01-01T00:00:00Z",
            "orderId": order_id,
            "customer": { "customerId": CUSTOMER },
            "devices": [{ "line": "1", "imei": imei }],
        });
        let expected = ExpectedCommand {
            line: "1".into(),
            action: Action::Claim,
            cause: Cause::Sale,
            device: Some(format!("imei:{imei}").into()),
            customer: Some(Customer::ZeroTouch(CUSTOMER.into())),
            metadata: Metadata::from([("ordernumber".to_owned(), order_id.clone())]),
            order_id: order_id.clone(),
        };
        Item {
            kind: ItemKind::Event(Cause::Sale),
            event_id: format!("sale-{order_id}"),
            key: order_id,
            headers: Vec::new(),
            payload: payload.to_string().into_bytes(),
            lines: 1,
            sold: 1,
            expectation: Expectation::Commands(vec![expected]),
        }
    })
}

/// Fourteen digits and their check digit.
fn imei(number: u64) -> String {
    let body = format!("35{number:012}");
    let doubled = |(place, digit): (usize, u32)| {
        if place % 2 == 0 { digit } else { [0, 2, 4, 6, 8, 1, 3, 5, 7, 9][digit as usize] }
    };
    let digits = body.chars().filter_map(|digit| digit.to_digit(10));
    let sum: u32 = digits.enumerate().map(doubled).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}
