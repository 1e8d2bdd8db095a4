//! The checker finds what is wrong: records that no worker wrote, each with one fault.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Record;
use crate::events::{imei, key, sale};
use crate::judge::{Disturbances, report};
use crate::world::{Setup, World};

const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_8a52_9d3e_4b07_8c11_5e2a_7d90_b3f4);

/// Writes a command and its outcome as a worker would.
fn decide(world: &mut World, device: u64, place: (i32, i64), id_of: &str, outcomes: usize) {
    let (partition, offset) = place;
    let topic = world.topic("orders");
    let event = format!("s{device}");
    let name = format!("{topic}/{partition}/{offset}/1000/claim/{}/{event}/{id_of}", event.len());
    let id = Uuid::new_v5(&NAMESPACE, name.as_bytes());
    let mut record = json!({
        "commandId": id,
        "eventId": event,
        "recordedAt": "1970-01-01T00:00:01Z",
        "action": "claim",
        "line": "0",
        "source": {"topic": topic, "partition": partition, "offset": offset},
    });
    let of = |topic: String, value: &Value| Record {
        topic,
        partition: Some(0),
        key: Some(key(device).into_bytes()),
        value: Some(value.to_string().into_bytes()),
        ..Record::default()
    };
    let mut records = vec![of(world.topic("commands"), &record)];
    record["outcomeId"] = json!(Uuid::new_v5(&id, b"outcome"));
    record["status"] = json!("succeeded");
    let now = jiff::Timestamp::now().to_string();
    record["times"] = json!({"submittedAt": now, "completedAt": now});
    records.extend((0..outcomes).map(|_| of(world.topic("outcomes"), &record)));
    world.client.produce(&records);
}

/// Calls the API as nobody should: the claim of one device.
fn claim(world: &World, device: u64) {
    let url = world.sandbox.url();
    let address = url.strip_prefix("http://").unwrap();
    let claim = json!({"customerId": "100", "sectionType": "SECTION_TYPE_ZERO_TOUCH",
        "deviceIdentifier": {"imei": imei(device)}, "deviceMetadata": {"entries": {}}});
    let body = json!({"claims": [claim]}).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/partners/1001/devices:claimAsync HTTP/1.1\r\nHost: {address}\r\n\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

#[test]
fn the_checker_finds_what_is_lost_doubled_wrong_and_overlapping() {
    let setup = Setup { sandbox: &["--operation-time", "2s"], ..Setup::default() };
    let mut world = World::new("judged", setup);
    let events: Vec<Value> =
        (0..5).map(|n| sale(&format!("s{n}"), &format!("o{n}"), "100", &[n])).collect();
    let places = world.send(&events);
    // The first is lost, the second decided twice, the third has a foreign id; the fourth is sound
    // but for its device, and so is the fifth but for its calls.
    decide(&mut world, 1, places[1], "0", 2);
    decide(&mut world, 2, places[2], "another line", 1);
    decide(&mut world, 3, places[3], "0", 1);
    for device in [1, 2, 4] {
        let (order, imei) = (format!("o{device}"), imei(device));
        world.sandbox.seed(&json!([{"partnerId": "1001", "customerId": "100",
            "deviceIdentifier": {"imei": imei}, "metadata": {"ordernumber": order}}]));
    }
    claim(&world, 4);
    claim(&world, 4);
    decide(&mut world, 4, places[4], "0", 1);
    claim(&world, 4);

    let report = report(&world, &Disturbances::default());
    let found: Vec<&str> =
        report["violations"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let place = |n: usize| format!("{}, {}, '0', 'claim')", places[n].0, places[n].1);
    for (rule, part) in [
        ("I1: command without", place(0)),
        ("I1: outcome without", place(0)),
        ("I6: outcome twice", place(1)),
        ("I1: the command id of", place(2)),
        ("I2", format!("{} is (None, {{}})", key(3))),
        ("I3", key(4)),
        ("twice", key(4)),
        ("I6", format!("{}: claim in", key(4))),
    ] {
        let is_found = found.iter().any(|one| one.starts_with(rule) && one.contains(&part));
        assert!(is_found, "{rule} … {part} is not in {report:#}");
    }
    assert_eq!(report["outcomes_missing"], 1, "{report:#}");
    assert_eq!(report["outcomes_doubled"], 1, "{report:#}");
    assert_eq!(report["devices_exact"], 3, "{report:#}");
}
