//! I1 to I4, judged from what anybody can see: records, committed offsets, the sandbox's log. Knows
//! nothing of the worker's code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::world::{Outcome, World};

/// What identifies a command for the eyes of a subscriber.
type CommandName = (i64, i64, String, String);

/// I1 and I2 of a quiet world; I3, too.
pub(crate) fn hold(world: &World) {
    every_line_and_command_has_one_outcome(world);
    devices_are_as_the_outcomes_say(world);
    let stats = world.sandbox.stats();
    assert!(
        stats["deviceInFlightMax"].as_u64().unwrap() <= 1,
        "I3: two operations in flight for {}",
        stats["devicesOverlapping"]
    );
}

pub(crate) fn every_line_and_command_has_one_outcome(world: &World) {
    let mut counts: BTreeMap<CommandName, usize> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for outcome in &world.outcomes {
        *counts.entry(name_of(&outcome.json)).or_default() += 1;
        assert!(ids.insert(outcome.text("/outcomeId")), "I1: twice: {:#}", outcome.json);
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "I1: more than one outcome: {twice:?}");

    let mut expected: BTreeSet<CommandName> = BTreeSet::new();
    for written in &world.written {
        let (partition, offset) = written.place;
        for (line, action) in lines_of(&written.event) {
            expected.insert((partition.into(), offset, line, action.to_owned()));
        }
    }
    let seen: BTreeSet<CommandName> = counts.into_keys().collect();
    let missing: Vec<_> = expected.difference(&seen).take(10).collect();
    let foreign: Vec<_> = seen.difference(&expected).take(10).collect();
    assert!(missing.is_empty(), "I1: lines without outcome: {missing:?}");
    assert!(foreign.is_empty(), "I1: outcomes of no line: {foreign:?}");

    let decided: BTreeSet<&str> = world.outcomes.iter().map(|o| o.text("/commandId")).collect();
    for command in commands(world) {
        let id = command["commandId"].as_str().unwrap();
        assert!(decided.contains(id), "I1: a command without outcome: {command:#}");
    }
}

/// I2: whoever the succeeded commands say holds the device, and with which metadata, in the order
/// of the commands topic.
pub(crate) fn devices_are_as_the_outcomes_say(world: &World) {
    let by_id: BTreeMap<&str, &Outcome> =
        world.outcomes.iter().map(|outcome| (outcome.text("/commandId"), outcome)).collect();
    let mut records = world.commands.clone();
    records.sort_by_key(|record| (record.partition, record.offset));
    let mut expected: BTreeMap<String, (Value, BTreeMap<String, String>)> = BTreeMap::new();
    for record in records.iter().filter(|record| is_command(record)) {
        let command = record.json();
        let outcome = by_id[command["commandId"].as_str().unwrap()];
        let device = expected.entry(record.key_text().to_owned()).or_default();
        let mut decider = by_id.get(outcome.text("/decidedBy"));
        while let Some(by) = decider.filter(|by| is_folded(by)) {
            decider = by_id.get(by.text("/decidedBy"));
        }
        let succeeded = outcome.status() == "succeeded";
        let rode_along = is_folded(outcome)
            && decider.is_some_and(|by| by.status() == "succeeded" && by.action() != "unclaim");
        if succeeded && outcome.action() == "claim" {
            device.0 = command["customer"]["customerId"].clone();
        }
        if succeeded && outcome.action() == "unclaim" {
            *device = Default::default();
        } else if succeeded || rode_along {
            for (name, value) in command["metadata"].as_object().into_iter().flatten() {
                match value.as_str().unwrap() {
                    "" => device.1.remove(name),
                    value => device.1.insert(name.clone(), value.to_owned()),
                };
            }
        }
    }
    let devices = world.sandbox.get("devices");
    let actual: BTreeMap<&str, &Value> = devices["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["device"].as_str().unwrap(), device))
        .collect();
    for (key, (customer, metadata)) in &expected {
        let there = actual.get(key.as_str());
        let holder = there.map_or(&Value::Null, |device| &device["claim"]["customerId"]);
        assert_eq!(holder, customer, "I2: the holder of {key}");
        let seen: BTreeMap<String, String> = there
            .map(|device| serde_json::from_value(device["metadata"].clone()).unwrap())
            .unwrap_or_default();
        assert_eq!(&seen, metadata, "I2: the metadata of {key}");
    }
}

fn is_folded(outcome: &Outcome) -> bool {
    matches!(outcome.status(), "merged" | "superseded")
}

/// I4, at any moment: whatever is below the committed offset has its outcome. The offsets are read
/// first, so that an outcome that comes in between harms nothing.
pub(crate) fn watermarks_pass_nothing_undecided(world: &mut World) {
    let (topic, group) = (world.topic("commands"), world.group("dispatch"));
    let committed = world.client.committed(&topic, &group);
    world.read_rest();
    let decided: BTreeSet<&str> = world.outcomes.iter().map(|o| o.text("/commandId")).collect();
    for record in world.commands.iter().filter(|record| is_command(record)) {
        let partition = record.partition.unwrap();
        if record.offset < committed[usize::try_from(partition).unwrap()] {
            let command = record.json();
            let id = command["commandId"].as_str().unwrap();
            assert!(
                decided.contains(id),
                "I4: the watermark of lane {partition} passed offset {}, which has no outcome",
                record.offset
            );
        }
    }
}

fn commands(world: &World) -> impl Iterator<Item = Value> {
    world.commands.iter().filter(|record| is_command(record)).map(crate::client::Record::json)
}

/// Tests write garbage into the commands topic as well.
fn is_command(record: &crate::client::Record) -> bool {
    let value = record.value.as_deref().unwrap_or_default();
    serde_json::from_slice(value).is_ok_and(|json: Value| json["commandId"].is_string())
}

fn name_of(outcome: &Value) -> CommandName {
    let text = |name: &str| outcome[name].as_str().unwrap().to_owned();
    let number = |name: &str| outcome["source"][name].as_i64().unwrap();
    (number("partition"), number("offset"), text("line"), text("action"))
}

/// The lines of an order event, and what has to be done for each.
fn lines_of(event: &Value) -> Vec<(String, &'static str)> {
    let mut lines = Vec::new();
    for (index, device) in event["devices"].as_array().unwrap().iter().enumerate() {
        let line = device["line"].as_str().map_or_else(|| index.to_string(), str::to_owned);
        let has_metadata = event["metadata"].is_object() || device["metadata"].is_object();
        match event["type"].as_str().unwrap() {
            "sale" => lines.push((line, "claim")),
            "return" if has_metadata => {
                lines.push((line.clone(), "update_metadata"));
                lines.push((line, "unclaim"));
            }
            "return" | "cancellation" => lines.push((line, "unclaim")),
            "amendment" => lines.push((line, "update_metadata")),
            other => panic!("no expectation for {other}"),
        }
    }
    lines
}
