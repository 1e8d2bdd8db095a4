//! Workers that are told to end, are killed, come and go: nothing is lost, nothing comes twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::events::single_sales;
use crate::invariants;
use crate::process::wait_for;
use crate::world::{PARTITIONS, SOON, Setup, World};

const DRAINED: i32 = 0;
const CUT_SHORT: i32 = 75;

/// How often each device was sent: the number of devices, and of accepted batches that hold a
/// device sent before.
fn sent(world: &World) -> (usize, usize) {
    let mut devices = BTreeSet::new();
    let mut repeated = 0;
    for operation in world.sandbox.entries("operations?method=claimAsync") {
        let items = operation["items"].as_array().unwrap();
        let keys = items.iter().map(|item| item["device"].as_str().unwrap().to_owned());
        // Every key is to be inserted.
        let again = keys.fold(false, |again, key| !devices.insert(key) || again);
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

#[test]
fn killed_again_and_again_the_worker_loses_nothing_and_publishes_nothing_twice() {
    const KILLS: usize = 6;
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
    let mut devices = 0..2_000;
    for round in 0..KILLS {
        let mut worker = world.worker();
        let some: Vec<u64> = devices.by_ref().take(2_000 / KILLS).collect();
        world.send(&single_sales(some[0]..some[some.len() - 1] + 1));
        // Some kills fall into recovery, some into the work after it.
        if round % 2 == 0 {
            let before = world.sandbox.batches("claimAsync");
            wait_for("calls", SOON, || {
                (world.sandbox.batches("claimAsync") > before).then_some(())
            });
        }
        let moment = Duration::from_millis(rand::random_range(0..1_500));
        eprintln!("round {round}: killed after {moment:?}");
        std::thread::park_timeout(moment);
        worker.kill9();
        invariants::watermarks_pass_nothing_undecided(&mut world);
    }
    world.send(&single_sales(devices.start..2_000));
    let _worker = world.worker();
    world.wait_for_outcomes(2_000, 2 * SOON);
    world.wait_until_quiet(SOON);

    assert_eq!(world.statuses()["succeeded"], 2_000);
    let (sent, repeated) = sent(&world);
    assert_eq!(sent, 2_000);
    // A kill between a call and the record of its operation's name leaves one call in doubt, which
    // each lane makes again for its own devices.
    let most = KILLS * usize::try_from(PARTITIONS).unwrap();
    eprintln!("{repeated} batches were sent again after {KILLS} kills");
    assert!(repeated <= most, "{repeated} batches sent again after {KILLS} kills");
    invariants::hold(&world);
    invariants::watermarks_pass_nothing_undecided(&mut world);
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
    let settings = [
        ("batch.items_max", "20"),
        ("operation.poll_delay_min", "\"1s\""),
        ("operation.poll_delay_max", "\"2s\""),
    ];
    let mut world = World::new(
        "two-workers",
        Setup {
            sandbox: &["--quota-calls", "100", "--quota-window", "10s", "--operation-time", "1s"],
            settings: &settings,
            accounts: Some(QUOTA),
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
