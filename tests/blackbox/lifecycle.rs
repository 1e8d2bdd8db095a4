//! Workers that are told to end, are killed, come and go: nothing is lost, nothing comes twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::asking::{ADMIN, Admin, value};
use crate::events::{event, key, sale, single_sales};
use crate::invariants;
use crate::kafka::Kafka;
use crate::process::wait_for;
use crate::world::{PARTITIONS, SOON, Setup, World};

pub(crate) const DRAINED: i32 = 0;
const CUT_SHORT: i32 = 75;

/// How often each device was sent: the number of devices, and of accepted batches that hold a
/// device sent before.
pub(crate) fn sent(world: &World) -> (usize, usize) {
    let mut devices = BTreeSet::new();
    let mut repeated = 0;
    for operation in world.sandbox.entries("operations?method=claimAsync") {
        let items = operation["items"].as_array().unwrap();
        let mut again = false;
        for item in items {
            again |= !devices.insert(item["device"].as_str().unwrap().to_owned());
        }
        repeated += usize::from(again);
    }
    (devices.len(), repeated)
}

#[test]
fn sigterm_drains_within_the_grace_and_the_next_start_finishes_without_sending_twice() {
    let settings = [("batch.items_max", "50"), ("shutdown.grace", "\"20s\"")];
    let mut world = World::new(
        "drains",
        Setup { sandbox: &["--operation-time", "5s"], settings: &settings, ..Setup::default() },
    );
    // So that some call is under way when the signal comes, and some are still to be made.
    let slow = json!({"kind": "latency", "millis": 500});
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": slow}));
    let mut worker = world.worker();
    world.send(&single_sales(0..500));
    wait_for("calls", SOON, || (world.sandbox.batches("claimAsync") >= 3).then_some(()));
    let signalled = Instant::now();
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), DRAINED);
    assert!(signalled.elapsed() < Duration::from_secs(20), "{:?}", signalled.elapsed());
    invariants::watermarks_pass_nothing_undecided(&mut world);
    let sent_before = world.sandbox.batches("claimAsync");
    assert!(sent_before < 10, "the signal came after everything was sent: it shows nothing");

    world.sandbox.clear_faults();
    let _worker = world.worker();
    world.wait_for_outcomes(500, SOON);
    world.wait_until_quiet(SOON);
    assert_eq!(world.statuses()["succeeded"], 500);
    assert_eq!(sent(&world), (500, 0), "devices, and batches sent twice");
    invariants::hold(&world);
}

#[test]
fn a_second_signal_ends_the_worker_at_once_and_the_next_start_recovers() {
    let settings = [("shutdown.grace", "\"60s\""), ("retry.ambiguous_grace", "\"2s\"")];
    let mut world = World::new("second-signal", Setup { settings: &settings, ..Setup::default() });
    let never = json!({"kind": "loseReply", "hang": true});
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": never}));
    let mut worker = world.worker();
    world.send(&single_sales(0..20));
    wait_for("a call", SOON, || (world.sandbox.batches("claimAsync") >= 1).then_some(()));
    worker.signal("-TERM");
    wait_for("draining", SOON, || worker.stderr().contains("draining").then_some(()));
    assert!(worker.ended().is_none(), "the call is still under way");
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(10)), CUT_SHORT);

    world.sandbox.clear_faults();
    let _worker = world.worker();
    world.wait_for_outcomes(20, SOON);
    world.wait_until_quiet(SOON);
    assert_eq!(world.statuses()["succeeded"], 20);
    invariants::hold(&world);
}

/// A moment that nobody has chosen, so that many runs see many places to die in.
fn pass_a_moment(longest: Duration) -> Duration {
    let longest = u64::try_from(longest.as_millis()).unwrap();
    let moment = Duration::from_millis(rand::random_range(0..longest));
    std::thread::park_timeout(moment);
    moment
}

#[test]
fn killed_again_and_again_the_worker_loses_nothing_and_publishes_nothing_twice() {
    const KILLS: u64 = 6;
    const EACH: u64 = 330;
    let settings = [
        ("batch.items_max", "100"),
        ("retry.ambiguous_grace", "\"3s\""),
        // The same name after each start, as in a stateful set: the partitions are back at once.
        ("kafka.group_instance_id", "\"pod-0\""),
    ];
    let mut world = World::new(
        "killed",
        Setup { sandbox: &["--operation-time", "1s"], settings: &settings, ..Setup::default() },
    );
    for round in 0..KILLS {
        let mut worker = world.worker();
        let before = world.sandbox.batches("claimAsync");
        world.send(&single_sales(round * EACH..(round + 1) * EACH));
        // Some kills fall into recovery, some into the work after it.
        if round % 2 == 0 {
            wait_for("calls", SOON, || {
                (world.sandbox.batches("claimAsync") > before).then_some(())
            });
        }
        let moment = pass_a_moment(Duration::from_millis(1_500));
        eprintln!("round {round}: killed after {moment:?}");
        worker.kill9();
        invariants::watermarks_pass_nothing_undecided(&mut world);
    }
    world.send(&single_sales(KILLS * EACH..2_000));
    let _worker = world.worker();
    world.wait_for_outcomes(2_000, 2 * SOON);
    world.wait_until_quiet(SOON);

    assert_eq!(world.statuses()["succeeded"], 2_000);
    let (sent, repeated) = sent(&world);
    assert_eq!(sent, 2_000);
    // A kill between a call and the record of its operation's name leaves one call in doubt, which
    // each lane makes again for its own devices.
    let most = usize::try_from(KILLS).unwrap() * usize::try_from(PARTITIONS).unwrap();
    eprintln!("{repeated} batches were sent again after {KILLS} kills");
    assert!(repeated <= most, "{repeated} batches sent again after {KILLS} kills");
    invariants::hold(&world);
    invariants::watermarks_pass_nothing_undecided(&mut world);
}

/// Everything that can happen to the devices of a range within a moment, mixed.
fn mixed_events(round: u64, devices: std::ops::Range<u64>) -> Vec<Value> {
    let mut events = single_sales(devices.clone());
    for n in devices {
        let order = format!("order-{n}");
        let mut amended = event("amendment", &format!("amend-{n}"), &order, &[n]);
        amended["metadata"] = json!({"round": round.to_string()});
        let mut returned = event("return", &format!("return-{n}"), &order, &[n]);
        let second_order = format!("second-{n}");
        let second = sale(&second_order, &second_order, "200", &[n]);
        match n % 6 {
            0 => events.push(amended),
            1 => events.push(event("cancellation", &format!("cancel-{n}"), &order, &[n])),
            2 => events.extend([amended, returned]),
            3 => {
                returned["metadata"] = json!({"reason": "broken"});
                events.push(returned);
            }
            4 => events.extend([returned, second]),
            _ => {}
        }
    }
    events
}

#[test]
fn devices_end_as_their_commands_say_although_the_worker_is_killed_in_between() {
    const KILLS: u64 = 5;
    const EACH: u64 = 120;
    let settings = [
        ("batch.items_max", "40"),
        ("retry.ambiguous_grace", "\"2s\""),
        ("kafka.transaction_timeout", "\"2s\""),
        ("kafka.commit_timeout", "\"1500ms\""),
    ];
    let mut world = World::new(
        "killed-mixed",
        Setup { sandbox: &["--operation-time", "500ms"], settings: &settings, ..Setup::default() },
    );
    for round in 0..KILLS {
        let mut worker = world.worker();
        world.send(&mixed_events(round, round * EACH..(round + 1) * EACH));
        let done = world.outcomes.len();
        world.wait_for_outcomes(done + 1, SOON);
        let moment = pass_a_moment(Duration::from_millis(1_500));
        eprintln!("round {round}: killed after {moment:?}");
        worker.kill9();
        invariants::watermarks_pass_nothing_undecided(&mut world);
    }
    let _worker = world.worker();
    world.wait_until_quiet(2 * SOON);
    let statuses = world.statuses();
    eprintln!("{statuses:?}");
    assert!(!statuses.contains_key("unresolved"));
    // The second sale is in another partition: it may arrive before the return, and is refused.
    for failed in world.outcomes.iter().filter(|outcome| outcome.status() == "failed") {
        assert_eq!(failed.code(), "device.claimed_by_other_customer", "{:#}", failed.json);
    }
    for n in (0..KILLS * EACH).filter(|n| n % 6 == 1 || n % 6 == 3) {
        let device = world.sandbox.device(&key(n));
        let holder = device.map_or(Value::Null, |device| device["claim"].clone());
        assert_eq!(holder, Value::Null, "device {n} was cancelled or returned");
    }
    invariants::hold(&world);
    invariants::watermarks_pass_nothing_undecided(&mut world);
}

/// Two accounts, of which all orders are for the first.
const ACCOUNTS: &str = r#"
[[accounts]]
name = "main"
partner_id = 1001
auth = { kind = "none" }
quota_calls = 100000

[[accounts]]
name = "held"
partner_id = 1002
auth = { kind = "none" }
"#;

#[test]
fn a_broker_that_hangs_delays_the_work_loses_none_of_it_and_no_pause_is_forgotten() {
    let kafka = Kafka::start();
    let settings = [
        ADMIN[0],
        ADMIN[1],
        ("default_account", "\"main\""),
        ("batch.items_max", "20"),
        ("retry.ambiguous_grace", "\"2s\""),
        ("kafka.transaction_timeout", "\"4s\""),
        ("kafka.commit_timeout", "\"2s\""),
    ];
    let setup = Setup {
        sandbox: &["--operation-time", "500ms"],
        settings: &settings,
        kafka: Some(&kafka),
        accounts: Some(ACCOUNTS),
    };
    let mut world = World::new("hanging-broker", setup);
    let mut worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    assert_eq!(admin.ask("POST", "/accounts/held/pause", "").0, 200);
    world.send(&single_sales(0..300));
    world.wait_for_outcomes(1, SOON);
    kafka.signal("-STOP");
    // Longer than a commit may take. If the broker has got half of it, its fate is unknown, and
    // dispatch begins anew; a pause holds either way.
    std::thread::park_timeout(Duration::from_secs(4));
    kafka.signal("-CONT");
    assert!(worker.ended().is_none(), "an outage of Kafka must not end the worker");
    world.wait_for_outcomes(300, 2 * SOON);
    world.wait_until_quiet(SOON);
    assert_eq!(world.statuses()["succeeded"], 300);
    assert_eq!(sent(&world).0, 300);
    invariants::hold(&world);
    invariants::watermarks_pass_nothing_undecided(&mut world);
    let scrape = admin.scrape();
    for (account, paused) in [("main", 0.0), ("held", 1.0)] {
        let series = format!("zerotouch_account_paused{{account=\"{account}\"}}");
        assert_eq!(value(&scrape, &series), paused, "{account}");
    }
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), DRAINED);
}

const QUOTA: &str = r#"
[[accounts]]
name = "main"
partner_id = 1001
auth = { kind = "none" }
quota_calls = 100
quota_window = "10s"
"#;

#[test]
fn workers_of_a_group_share_lanes_and_quota_and_every_command_gets_one_outcome() {
    one_joins_and_one_leaves("two-workers", "\"classic\"");
}

#[test]
fn workers_share_lanes_and_quota_with_the_consumer_protocol_too() {
    one_joins_and_one_leaves("two-consumers", "\"consumer\"");
}

/// Between its join and its first lanes a member owns nothing; a group that waits for it does so
/// until its session ends.
#[test]
fn a_worker_that_is_stopped_while_it_joins_leaves_its_groups_at_once() {
    const SESSION: Duration = Duration::from_secs(30);
    let settings = [("kafka.session_timeout", "\"30s\""), ADMIN[0], ADMIN[1]];
    let mut world =
        World::new("stopped-in-join", Setup { settings: &settings, ..Setup::default() });
    // So that the others hear of a rebalance soon, and the test sees many places in one.
    world.set("kafka.properties", "{ \"heartbeat.interval.ms\" = \"1000\" }");
    let first = world.worker();
    world.wait_for_shares(&[PARTITIONS]);
    for wait in [300, 600, 900, 1_200, 1_800] {
        let mut second = world.worker();
        // In the middle of the start, wherever that is on this machine.
        std::thread::park_timeout(Duration::from_millis(wait));
        second.signal("-TERM");
        assert_eq!(second.exit_code(SOON), DRAINED);
        let ended = Instant::now();
        for half in ["intake", "dispatch"] {
            let group = world.group(half);
            wait_for(&format!("{group} has one member with all partitions"), SESSION / 3, || {
                (world.client.members(&group) == [PARTITIONS]).then_some(())
            });
        }
        eprintln!("stopped after {wait} ms: whole again after {:?}", ended.elapsed());
    }
    let admin = Admin::of(&first);
    admin.wait_until_ready();
}

fn one_joins_and_one_leaves(name: &str, protocol: &str) {
    let settings = [
        ("kafka.group_protocol", protocol),
        ("batch.items_max", "20"),
        ("operation.poll_delay_min", "\"1s\""),
        ("operation.poll_delay_max", "\"2s\""),
    ];
    let mut world = World::new(
        name,
        Setup {
            sandbox: &["--quota-calls", "100", "--quota-window", "10s", "--operation-time", "1s"],
            settings: &settings,
            accounts: Some(QUOTA),
            ..Setup::default()
        },
    );
    let mut first = world.worker();
    world.wait_for_shares(&[PARTITIONS]);
    world.send(&single_sales(0..400));
    world.wait_for_outcomes(1, SOON);

    let mut second = world.worker();
    world.wait_for_shares(&[PARTITIONS / 2, PARTITIONS / 2]);
    world.send(&single_sales(400..800));
    invariants::watermarks_pass_nothing_undecided(&mut world);
    world.wait_for_outcomes(500, 2 * SOON);

    first.signal("-TERM");
    assert_eq!(first.exit_code(SOON), DRAINED);
    world.send(&single_sales(800..1_000));
    world.wait_for_shares(&[PARTITIONS]);
    invariants::watermarks_pass_nothing_undecided(&mut world);
    world.wait_for_outcomes(1_000, 2 * SOON);
    world.wait_until_quiet(SOON);
    second.signal("-TERM");
    assert_eq!(second.exit_code(SOON), DRAINED);

    world.read_rest();
    assert_eq!(world.statuses()["succeeded"], 1_000);
    assert_eq!(sent(&world), (1_000, 0), "devices, and batches sent twice");
    let throttled = world.sandbox.entries("calls").iter().filter(|c| c["status"] == 429).count();
    assert_eq!(throttled, 0, "together the two took more than the quota");
    invariants::hold(&world);
}
