//! The broker is stopped, killed and restarted under load.
//!
//! `CHAOS_OUTAGES` makes the run longer. A broker that goes down can leave a partition behind a
//! transaction that Kafka itself takes for complete, which nobody can end rightly: the test runs on
//! a version that does not, and fails if one is left all the same.

use std::time::{Duration, Instant};

use crate::events::single_sales;
use crate::judge::{self, Disturbances};
use crate::kafka::Kafka;
use crate::random::of_environment;
use crate::scene::repeated;
use crate::world::{Progress, SOON, Setup, World};

/// Longer than any transaction may be open.
const OPEN_AT_MOST: Duration = Duration::from_secs(10);
const EACH: u64 = 300;

const SETTINGS: [(&str, &str); 6] = [
    ("batch.items_max", "20"),
    ("kafka.transaction_timeout", "\"3s\""),
    ("kafka.commit_timeout", "\"1500ms\""),
    ("kafka.max_poll_interval", "\"10s\""),
    ("retry.ambiguous_grace", "\"1s\""),
    ("operation.poll_delay_max", "\"200ms\""),
];

/// Waits until the work has come so far.
fn wait(world: &mut World, kafka: &Kafka, is_reached: impl Fn(&Progress) -> bool) {
    let deadline = Instant::now() + 4 * SOON;
    loop {
        let now = world.progress();
        if is_reached(&now) {
            return;
        }
        if Instant::now() > deadline {
            let (hanging, left_out) = (kafka.hanging(OPEN_AT_MOST), kafka.ends_left_out());
            panic!("{now:?}; hanging transactions, of {left_out} without an end: {hanging:#?}");
        }
    }
}

#[test]
fn a_broker_that_goes_down_and_comes_back_delays_the_work_and_loses_none_of_it() {
    let mut kafka = Kafka::start();
    let setup = Setup {
        sandbox: &["--operation-time", "300ms"],
        settings: &SETTINGS,
        kafka: Some(&kafka),
        ..Setup::default()
    };
    let mut world = World::new("broker-restarts", setup);
    let mut disturbances = Disturbances::default();
    let mut workers = [world.worker(), world.worker()];
    let rounds: u64 = of_environment("CHAOS_OUTAGES", 2);
    for round in 0..rounds {
        let is_killed = round % 2 == 1;
        world.send(&single_sales(round * EACH..(round + 1) * EACH));
        let before = world.progress().outcomes;
        wait(&mut world, &kafka, |now| now.outcomes > before);
        disturbances.note("broker");
        if is_killed {
            kafka.kill9();
        } else {
            kafka.stop();
        }
        kafka.restart();
        disturbances.note("broker");
    }
    world.send(&single_sales(rounds * EACH..(rounds + 1) * EACH));
    let changes = usize::try_from((rounds + 1) * EACH).unwrap();
    wait(&mut world, &kafka, |now| now.is_quiet && now.outcomes >= changes);
    let report = judge::must_hold(&world, &disturbances);
    eprintln!("broker: {} transactions without an end, {report:#}", kafka.ends_left_out());
    for reason in repeated(&report).1 {
        let is_known = ["not_recorded_broker", "not_recorded_trouble"].contains(&&*reason);
        assert!(is_known, "{reason}: {report:#}");
    }
    for worker in &mut workers {
        assert!(worker.ended().is_none(), "an outage of Kafka must not end the worker");
    }
}
