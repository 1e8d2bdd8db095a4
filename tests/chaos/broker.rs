//! The broker is stopped, killed and restarted under load.
//!
//! A broker that goes down can leave a partition behind a transaction that Kafka itself takes for
//! complete: a hanging transaction, which nobody but an operator can end. The test does then what
//! the README tells operators to do, and says so; it never hides one.

use std::time::{Duration, Instant};

use crate::events::single_sales;
use crate::judge::{self, Disturbances};
use crate::kafka::Kafka;
use crate::scene::repeated;
use crate::world::{SOON, Setup, World};

/// Longer than any transaction may be open, and than the worker waits to begin anew.
const STALL: Duration = Duration::from_secs(25);
const EACH: u64 = 300;

const SETTINGS: [(&str, &str); 6] = [
    ("batch.items_max", "20"),
    ("kafka.transaction_timeout", "\"3s\""),
    ("kafka.commit_timeout", "\"1500ms\""),
    ("kafka.max_poll_interval", "\"10s\""),
    ("retry.ambiguous_grace", "\"1s\""),
    ("operation.poll_delay_max", "\"200ms\""),
];

/// Waits until all is decided; what hangs is resolved as an operator would, and given back.
fn settle(world: &mut World, kafka: &Kafka, changes: usize) -> Vec<String> {
    let (mut news, mut before, mut hanging) = (Instant::now(), Default::default(), Vec::new());
    let deadline = Instant::now() + 4 * SOON;
    loop {
        let now = world.progress();
        if now.is_quiet && now.outcomes >= changes {
            return hanging;
        }
        if now != before {
            (before, news) = (now, Instant::now());
        }
        if news.elapsed() > STALL {
            let aborted = kafka.abort_hanging(STALL / 2);
            eprintln!("nothing new for {STALL:?}; hanging transactions: {aborted:#?}");
            hanging.extend(aborted);
            news = Instant::now();
        }
        assert!(Instant::now() < deadline, "{now:?} of {changes}; hanging: {hanging:?}");
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
    for (round, is_killed) in (0..).zip([false, true]) {
        world.send(&single_sales(round * EACH..(round + 1) * EACH));
        let before = world.progress().outcomes;
        world.wait_for_outcomes(before + 1, SOON);
        disturbances.note("broker");
        if is_killed {
            kafka.kill9();
        } else {
            kafka.stop();
        }
        kafka.restart();
        disturbances.note("broker");
    }
    world.send(&single_sales(2 * EACH..3 * EACH));
    let changes = usize::try_from(3 * EACH).unwrap();
    let hanging = settle(&mut world, &kafka, changes);
    let report = judge::must_hold(&world, &disturbances);
    eprintln!("broker: {} hanging transactions {hanging:?}, {report:#}", hanging.len());
    for reason in repeated(&report).1 {
        let is_known = ["not_recorded_broker", "not_recorded_trouble"].contains(&&*reason);
        assert!(is_known, "{reason}: {report:#}");
    }
    for worker in &mut workers {
        assert!(worker.ended().is_none(), "an outage of Kafka must not end the worker");
    }
}
