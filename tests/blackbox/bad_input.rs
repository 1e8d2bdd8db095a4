//! Records and devices that are wrong harm only themselves.

use serde_json::{Value, json};

use crate::client::Record;
use crate::events::{event, imei, key, sale};
use crate::invariants;
use crate::process::wait_for;
use crate::world::{Outcome, SOON, Setup, World};

const TWO_MEBIBYTES: usize = 2 << 20;

/// What is wrong with a record: its value, the class of its dead letter, and words of the reason.
fn wrong_records() -> Vec<(&'static str, Option<Vec<u8>>, &'static str)> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let no_devices = event("sale", "e", "o", &[]).to_string();
    vec![
        ("garbage", text("}{ not json at all"), "not_json"),
        ("empty", text(""), "empty"),
        ("white-space", text(" \n "), "empty"),
        ("large", Some(vec![b'x'; TWO_MEBIBYTES]), "not_json"),
        ("array", text("[1, 2]"), "not_an_object"),
        ("number", text("42"), "not_an_object"),
        ("unknown-type", text(&event("refund", "e", "o", &[1]).to_string()), "unknown_type"),
        ("not-utf8", Some(vec![0xff, 0xfe, b'{', b'}']), "not_utf8"),
        ("no-order", text(r#"{"type": "sale", "devices": [{"imei": "1"}]}"#), "missing_field"),
        (
            "order-is-a-list",
            text(r#"{"type": "sale", "orderId": [], "devices": []}"#),
            "invalid_field",
        ),
        ("no-devices", text(&no_devices), "no_devices"),
    ]
}

/// The line of a log that holds all of these.
fn log_line(log: &str, parts: &[&str]) -> Option<String> {
    let found = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
    found.map(str::to_owned)
}

#[test]
fn records_that_cannot_be_understood_become_dead_letters_and_nothing_stops() {
    let mut world = World::new("dead-letters", Setup::default());
    let worker = world.worker();
    let orders = world.topic("orders");
    let wrong = wrong_records();
    let before = sale("before", "order-1", "100", &[1]);
    let after = sale("after", "order-2", "100", &[2]);
    let record = |key: &str, value: Option<Vec<u8>>| Record {
        topic: orders.clone(),
        partition: Some(0),
        key: Some(key.as_bytes().to_vec()),
        value,
        headers: vec![("tenant".into(), b"north".to_vec())],
        ..Record::default()
    };
    let good = |event: &Value| record("good", Some(event.to_string().into_bytes()));
    world.send_records(std::slice::from_ref(&before), &[good(&before)]);
    let bad: Vec<Record> =
        wrong.iter().map(|(name, value, _)| record(name, value.clone())).collect();
    let places = world.client.produce(&bad);
    world.send_records(std::slice::from_ref(&after), &[good(&after)]);

    world.wait_until_quiet(SOON);
    assert_eq!(world.outcome_of("before").status(), "succeeded");
    assert_eq!(world.outcome_of("after").status(), "succeeded");
    assert_eq!(world.dead_letters.len(), wrong.len());
    for ((name, value, class), (partition, offset)) in wrong.iter().zip(places) {
        let letter = world
            .dead_letters
            .iter()
            .find(|letter| letter.key_text() == *name)
            .unwrap_or_else(|| panic!("no dead letter of {name}"));
        let header = |name: &str| letter.header(name).unwrap_or_default().to_owned();
        assert_eq!(header("dead-letter-class"), *class, "{name}");
        let reason = header("dead-letter-reason");
        assert!(reason.split(' ').count() >= 3, "{name}: {reason:?} is no sentence");
        assert_eq!(header("dead-letter-source-topic"), orders);
        assert_eq!(header("dead-letter-source-partition"), partition.to_string());
        assert_eq!(header("dead-letter-source-offset"), offset.to_string());
        assert_eq!(header("tenant"), "north", "{name}: its own headers are kept");
        // Two mebibytes are more than the topic of dead letters takes; the order topic has them.
        let kept = if *name == "large" { &None } else { value };
        assert!(letter.value == *kept, "{name}: its bytes are not as they were");
        let said = (*name == "large").then_some("dropped, 2097152 bytes");
        assert_eq!(letter.header("dead-letter-value"), said, "{name}");
        let place = format!("partition={partition} offset={offset} class=\"{class}\"");
        wait_for(&format!("the log's line of {name}"), SOON, || {
            log_line(&worker.stderr(), &["is a dead letter now", &orders, &place])
        });
    }
    invariants::hold(&world);
}

#[test]
fn a_foreign_record_among_the_commands_becomes_a_dead_letter_and_the_lane_goes_on() {
    let mut world = World::new("foreign-commands", Setup::default());
    let worker = world.worker();
    world.send(&[sale("before", "order-1", "100", &[1])]);
    world.wait_for_outcomes(1, SOON);
    let topic = world.topic("commands");
    let record = |value: Option<&[u8]>, partition| Record {
        topic: topic.clone(),
        partition: Some(partition),
        key: Some(b"somebody".to_vec()),
        value: value.map(<[u8]>::to_vec),
        ..Record::default()
    };
    let values: [Option<&[u8]>; 3] = [Some(b"no command"), Some(b"\xff\xfe"), None];
    let mut records = Vec::new();
    for partition in 0..crate::world::PARTITIONS {
        records.extend(values.map(|value| record(value, partition)));
    }
    world.client.produce(&records);
    let after: Vec<Value> =
        (2..12).map(|n| sale(&format!("after-{n}"), &format!("o-{n}"), "100", &[n])).collect();
    world.send(&after);

    world.wait_until_quiet(SOON);
    assert_eq!(world.outcomes.len(), 11);
    assert_eq!(world.statuses()["succeeded"], 11);
    assert_eq!(world.dead_letters.len(), records.len());
    for letter in &world.dead_letters {
        assert_eq!(letter.header("dead-letter-class"), Some("invalid_command"));
        assert_eq!(letter.header("dead-letter-source-topic"), Some(&*topic));
        assert!(letter.header("dead-letter-reason").unwrap().split(' ').count() >= 3);
        assert_eq!(letter.key_text(), "somebody");
        assert!(values.contains(&letter.value.as_deref()), "{letter:?}");
    }
    let line = wait_for("the log's line of a foreign record", SOON, || {
        log_line(&worker.stderr(), &["is a dead letter now", "class=\"invalid_command\""])
    });
    assert!(line.contains(&topic) && line.contains("offset="), "{line}");
    invariants::hold(&world);
}

#[test]
fn a_bad_device_fails_alone_with_an_input_code() {
    let mut world = World::new("bad-devices", Setup::default());
    let worker = world.worker();

    let mut mixed = sale("mixed", "order-1", "100", &[1, 2, 2, 3]);
    let wrong_check_digit = {
        let right = imei(50);
        let (head, last) = right.split_at(14);
        format!("{head}{}", (last.parse::<u8>().unwrap() + 1) % 10)
    };
    let devices = mixed["devices"].as_array_mut().unwrap();
    devices.push(json!({"imei": wrong_check_digit}));
    devices.push(json!({"serialNumber": "S1", "manufacturer": "Samsung"}));
    devices.push(json!({"imei": imei(60), "metadata": {"n": 5}}));
    devices.push(json!("a word"));
    devices.push(json!({}));
    let mut both = sale("both", "order-2", "100", &[4]);
    both["customer"]["googleWorkspaceCustomerId"] = json!("C1");
    let mut account = sale("account", "order-3", "100", &[5]);
    account["account"] = json!("nobody");
    let nobody = event("sale", "nobody", "order-4", &[6]);
    world.send(&[mixed, both, account, nobody]);
    world.wait_until_quiet(SOON);

    for line in ["0", "1", "3"] {
        assert_eq!(world.outcome_at("mixed", line).status(), "succeeded");
    }
    let refused = |outcome: &Outcome, code: &str| {
        assert_eq!((outcome.status(), outcome.code()), ("failed", code), "{:#}", outcome.json);
        assert!(outcome.text("/failure/message").split(' ').count() >= 3);
        assert_eq!(outcome.json["failure"]["retryable"], false);
        assert_eq!(outcome.json["attempts"], 0);
    };
    refused(world.outcome_at("mixed", "2"), "input.duplicate_device");
    refused(world.outcome_at("mixed", "4"), "input.invalid_imei");
    refused(world.outcome_at("mixed", "5"), "input.incomplete_serial");
    assert!(world.outcome_at("mixed", "6").code().starts_with("input."));
    assert!(world.outcome_at("mixed", "7").code().starts_with("input."));
    refused(world.outcome_at("mixed", "8"), "input.no_identifier");
    refused(world.outcome_of("both"), "input.invalid_customer");
    refused(world.outcome_of("account"), "input.unknown_account");
    refused(world.outcome_of("nobody"), "input.invalid_customer");

    let said = |parts: &[&str]| {
        wait_for("the log's line of a refused device", SOON, || {
            let all = [&["a line of an order is refused", "orders", "offset="], parts].concat();
            log_line(&worker.stderr(), &all)
        })
    };
    said(&["event_id=\"mixed\"", "order_id=\"order-1\"", "code=\"input.invalid_imei\""]);
    let duplicate = said(&["line=\"2\"", "code=\"input.duplicate_device\""]);
    let masked = format!("device=\"imei:…{}\"", &imei(2)[11..]);
    assert!(duplicate.contains(&masked) && !duplicate.contains(&imei(2)), "{duplicate}");
    said(&["order_id=\"order-3\"", "account=\"nobody\"", "code=\"input.unknown_account\""]);

    assert_eq!(world.commands.len(), 3, "what is refused is no command");
    assert_eq!(world.sandbox.device(&key(3)).unwrap()["claim"]["customerId"], "100");
    assert_eq!(world.sandbox.device(&key(5)), None);
    invariants::hold(&world);
}

#[test]
fn no_hardware_id_is_whole_in_the_log() {
    let settings = [("log.level", "\"debug\"")];
    let mut world = World::new("masked", Setup { settings: &settings, ..Setup::default() });
    let poison = json!({"kind": "deviceStatus", "status": "OTHER_ERROR"});
    world.sandbox.rule(&json!({"device": key(77), "fault": poison}));
    let worker = world.worker();
    let mut events = vec![sale("sale", "order-1", "100", &[77, 78])];
    events[0]["devices"].as_array_mut().unwrap().push(json!({"imei": "490154203237510"}));
    world.send(&events);
    world.wait_until_quiet(SOON);
    let log = wait_for("a log", SOON, || Some(worker.stderr()).filter(|log| !log.is_empty()));
    for id in [imei(77), imei(78), "490154203237510".to_owned()] {
        assert!(!log.contains(&id), "{id} is in the log");
    }
}
