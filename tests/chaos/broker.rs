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

const TOOL: &str = "org.apache.kafka.tools.TransactionsCommand";
const BROKER: &str = "1";
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

/// Ends the hanging transactions of this world's topics; gives what was found of each.
fn abort_hanging(kafka: &Kafka, topics: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    // Whatever is open and not known to a coordinator.
    let listed = kafka
        .tool(TOOL, &["find-hanging", "--broker-id", BROKER, "--max-transaction-timeout", "0"]);
    eprintln!("find-hanging:\n{listed}");
    for line in listed.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [topic, partition, producer, ..] = columns[..] else { continue };
        if !topics.iter().any(|known| known == topic) {
            continue;
        }
        let place = ["--topic", topic, "--partition", partition];
        let producers = kafka.tool(TOOL, &[&["describe-producers"], &place[..]].concat());
        eprintln!("describe-producers {topic} {partition}:\n{producers}");
        let start = producers.lines().find_map(|row| {
            let columns: Vec<&str> = row.split_whitespace().collect();
            (columns.first() == Some(&producer)).then(|| columns.get(5).copied()).flatten()
        });
        let Some(start) = start.filter(|start| *start != "None") else { continue };
        let abort = [&["abort"], &place[..], &["--start-offset", start]].concat();
        eprintln!("abort {topic} {partition} from {start}: {}", kafka.tool(TOOL, &abort));
        found.push(format!("{topic}-{partition} at {start}, producer {producer}"));
    }
    found
}

/// Waits until all is decided; what hangs is resolved as an operator would, and given back.
fn settle(world: &mut World, kafka: &Kafka, changes: usize) -> Vec<String> {
    let topics = ["orders", "commands", "ledger", "outcomes", "dead-letters"];
    let mut topics = topics.map(|what| world.topic(what)).to_vec();
    // Offsets of a transaction that hangs are in doubt as well.
    topics.push("__consumer_offsets".to_owned());
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
            hanging.extend(abort_hanging(kafka, &topics));
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
        assert_eq!(reason, "not_recorded_broker", "{report:#}");
    }
    for worker in &mut workers {
        assert!(worker.ended().is_none(), "an outage of Kafka must not end the worker");
    }
}
