//! Installations that share topics by mistake do not touch each other's work, and say so; records
//! of a newer version wait.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::asking::Admin;
use crate::client::Record;
use crate::events::{key, sale};
use crate::process::wait_for;
use crate::world::{PARTITIONS, SOON, Setup, World};

/// An account of another reseller under the same name.
const OTHER: &str = r#"
[[accounts]]
name = "main"
partner_id = 2002
auth = { kind = "none" }
quota_calls = 100000
"#;

/// A world whose workers use the topics and the API of another one, in this group; its order topic
/// is its own.
fn neighbour(of: &World, name: &str, accounts: &str, group: &str) -> World {
    let setup = Setup { accounts: Some(accounts), ..Setup::default() };
    let mut world = World::without_topics(name, setup);
    for (setting, topic) in [
        ("topics.commands", "commands"),
        ("topics.ledger", "ledger"),
        ("topics.outcomes", "outcomes"),
        ("topics.dead_letters", "dead-letters"),
    ] {
        world.set(setting, &format!("{:?}", of.topic(topic)));
    }
    world.set("kafka.group_id", &format!("{group:?}"));
    world.set("api.endpoint", &format!("{:?}", of.sandbox.url()));
    let orders = world.topic("orders");
    world.client.create_topic(&orders, PARTITIONS, &json!({}));
    world
}

fn sales(name: &str, devices: std::ops::Range<u64>) -> Vec<Value> {
    devices.map(|n| sale(&format!("{name}-{n}"), &format!("{name}-o{n}"), "100", &[n])).collect()
}

/// Devices that a partner has claimed, by the sandbox's own log.
fn claimed(world: &World, partner: &str) -> BTreeSet<String> {
    let operations = world.sandbox.entries("operations");
    let of = operations.iter().filter(|operation| operation["partner"] == partner);
    let items = of.flat_map(|operation| operation["items"].as_array().unwrap());
    items.map(|item| item["device"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn two_partners_in_one_group_on_the_same_topics_claim_nothing_for_each_other() {
    let mut one = World::new("shared-one", Setup::default());
    let mut two = neighbour(&one, "shared-two", OTHER, "shared-one");
    let (first, second) = (one.worker(), two.worker());
    one.wait_for_shares(&[PARTITIONS / 2, PARTITIONS / 2]);
    one.send(&sales("one", 0..40));
    // Half of the lanes are the other worker's, which does not do them.
    wait_for("claims", SOON, || (!claimed(&one, "1001").is_empty()).then_some(()));
    two.send(&sales("two", 100..140));
    wait_for("both to say so", SOON, || {
        let says = |text: String| text.contains("is meant for partner");
        (says(first.stderr()) && says(second.stderr())).then_some(())
    });
    wait_for("all commands", SOON, || (one.read_commands() >= 80).then_some(()));
    one.read_rest();
    assert!(one.dead_letters.is_empty(), "{:?}", one.dead_letters);
    let own: BTreeSet<String> = (0..40).map(key).collect();
    let others: BTreeSet<String> = (100..140).map(key).collect();
    assert!(claimed(&one, "1001").is_subset(&own));
    assert!(claimed(&one, "2002").is_subset(&others));
    // Nothing was failed for somebody else either.
    assert!(one.outcomes.iter().all(|outcome| outcome.status() == "succeeded"));
}

#[test]
fn another_group_does_not_do_the_history_again() {
    let mut one = World::new("history-one", Setup::default());
    let mut worker = one.worker();
    one.send(&sales("one", 0..30));
    one.wait_until_quiet(SOON);
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0);
    let calls = one.sandbox.batches("claimAsync");
    assert!(calls > 0);

    let mut two = neighbour(&one, "history-two", crate::world::ACCOUNT, "history-two");
    two.set("admin.listen", "\"127.0.0.1:0\"");
    two.set("admin.expose", "\"127.0.0.1:0\"");
    let mut other = two.worker();
    let asking = Admin::of(&other);
    let told = wait_for("the reason", SOON, || {
        asking.reason("topics").filter(|reason| reason.contains("meant for"))
    });
    for words in ["group history-one", "this worker's group is history-two", "its own `prefix`"] {
        assert!(told.contains(words), "{told}");
    }
    let said = two.run(&["check-config"], &["--connect"]);
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stdout.contains("FAILED  other installations"), "{}", said.stdout);
    other.signal("-TERM");
    assert_eq!(other.exit_code(SOON), 0);
    assert_eq!(one.sandbox.batches("claimAsync"), calls, "nothing was sent again");
    one.read_rest();
    assert_eq!(one.outcomes.len(), 30);
    // The first one goes on as before.
    let _worker = one.worker();
    one.send(&sales("more", 30..35));
    one.wait_until_quiet(SOON);
    assert_eq!(one.outcomes.len(), 35);
}

#[test]
fn a_command_of_a_newer_version_stops_its_lane_and_is_no_dead_letter() {
    let settings = [("admin.listen", "\"127.0.0.1:0\""), ("admin.expose", "\"127.0.0.1:0\"")];
    let mut world = World::new("newer", Setup { settings: &settings, ..Setup::default() });
    world.client.produce(&[Record {
        topic: world.topic("commands"),
        partition: Some(1),
        key: Some(b"imei:1".to_vec()),
        value: Some(br#"{"version": 3, "action": "relocate"}"#.to_vec()),
        ..Record::default()
    }]);
    let worker = world.worker();
    let asking = Admin::of(&worker);
    let told = wait_for("the reason", SOON, || {
        asking.reason("lanes").filter(|reason| reason.contains("stopped"))
    });
    for words in ["lane 1 is stopped", "offset 0 has version 3", "up to version 2", "upgrade"] {
        assert!(told.contains(words), "{told}");
    }
    world.send(&sales("other", 0..40));
    world.wait_for_commands(41);
    let elsewhere = world.commands.iter().filter(|command| command.partition != Some(1)).count();
    assert!(elsewhere > 0);
    world.wait_for_outcomes(elsewhere, SOON);
    world.read_rest();
    assert!(world.dead_letters.is_empty());
    let committed = world.client.committed(&world.topic("commands"), &world.group("dispatch"));
    assert!(committed[1] <= 0, "{committed:?}");
    let state = asking.state();
    let lanes = state.pointer("/dispatch/engine/lanes").or(state.pointer("/lanes"));
    assert!(lanes.is_none_or(|lanes| lanes.to_string().contains("version 3")), "{state:#}");
}
