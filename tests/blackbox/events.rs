//! Order events and devices, made up.

use serde_json::{Value, json};

/// An IMEI with a right check digit; a number gives always the same.
pub(crate) fn imei(number: u64) -> String {
    let digits = format!("35{number:012}");
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0') * if place % 2 == 0 { 2 } else { 1 };
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

pub(crate) fn key(number: u64) -> String {
    format!("imei:{}", imei(number))
}

/// An event about devices with these numbers.
pub(crate) fn event(kind: &str, id: &str, order: &str, devices: &[u64]) -> Value {
    let devices: Vec<Value> = devices.iter().map(|n| json!({"imei": imei(*n)})).collect();
    json!({
        "eventId": id,
        "type": kind,
        "occurredAt": "2026-05-04T08:00:00Z",
        "orderId": order,
        "devices": devices,
    })
}

pub(crate) fn sale(id: &str, order: &str, customer: &str, devices: &[u64]) -> Value {
    let mut event = event("sale", id, order, devices);
    event["customer"] = json!({"customerId": customer});
    event
}

/// Sales of one device each, each with an order of its own.
pub(crate) fn single_sales(devices: std::ops::Range<u64>) -> Vec<Value> {
    let one = |n: u64| sale(&format!("sale-{n}"), &format!("order-{n}"), "100", &[n]);
    devices.map(one).collect()
}
