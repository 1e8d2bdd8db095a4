//! A broker that fails under load, again and again: does every producer go on, and does every
//! partition end up closed, with what was reported as committed in it and nothing else?
//!
//! `MODE` is `freeze` (longer than the controller waits), `stop` or `kill`; `ROUNDS` and
//! `PRODUCERS` change the size, `KAFKA_VERSION` the broker. Also counted: how often the broker left
//! the end of a transaction out of its partitions (KAFKA-20734), which it logs.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/kafka.rs"]
mod kafka;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kafka::Kafka;
use zerotouch_worker::shell::kafka::{
    CommitError, KafkaOptions, OutRecord, TopicPartition, TopicPlan, Transaction,
    TransactionalProducer, create_topics, partition_count, read_partition,
};

const PARTITIONS: i32 = 4;
const RECORDS: usize = 40;
/// How long everything may take to be as before.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a producer was told of each of its transactions, by its number: by topic, then producer.
type Fates = BTreeMap<(Arc<str>, usize, usize), Result<(), CommitError>>;

/// What the producers share.
struct Shared {
    options: KafkaOptions,
    topic: Mutex<Arc<str>>,
    fates: Mutex<Fates>,
    ended: AtomicBool,
}

fn main() {
    // `cargo test` runs this without asking for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let var = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.into());
    let mode = var("MODE", "freeze");
    let rounds: u32 = var("ROUNDS", "20").parse().unwrap();
    let producers: usize = var("PRODUCERS", "10").parse().unwrap();
    let mut broker = Kafka::start();
    let shared = Arc::new(Shared {
        options: KafkaOptions {
            bootstrap_servers: broker.bootstrap_servers(),
            commit_timeout: Duration::from_secs(4),
            ..KafkaOptions::default()
        },
        topic: Mutex::new(topic(&broker, 0)),
        fates: Mutex::default(),
        ended: AtomicBool::new(false),
    });
    let threads: Vec<_> = (0..producers)
        .map(|number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || produce(&shared, number))
        })
        .collect();
    let (mut open, mut wrong, mut slow) = (0, 0, 0);
    for round in 0..rounds {
        thread::sleep(Duration::from_millis(500 + rand::random::<u64>() % 500));
        let old = shared.topic.lock().unwrap().clone();
        let next = topic(&broker, round + 1);
        fail(&mut broker, &mode, || *shared.topic.lock().unwrap() = next.clone());
        let began = Instant::now();
        slow += u32::from(!all_go_on(&shared, &next, producers));
        let recovered = began.elapsed();
        match violations(&shared, &old) {
            Some(count) => wrong += count,
            None => open += 1,
        }
        println!("round {round}: all went on after {recovered:.1?}; {open} rounds left open");
    }
    shared.ended.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let left_out = broker.ends_left_out();
    println!(
        "{rounds} rounds of {mode}, {producers} producers: {slow} in which a producer did not go \
         on, {open} that left a partition open, {wrong} transactions not as reported; the broker \
         left {left_out} transactions without an end"
    );
}

fn topic(broker: &Kafka, number: u32) -> Arc<str> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options =
        KafkaOptions { bootstrap_servers: broker.bootstrap_servers(), ..KafkaOptions::default() };
    let name = |what: &str| format!("{what}-{number}");
    let plan = TopicPlan {
        commands: name("commands"),
        ledger: name("ledger"),
        outcomes: name("outcomes"),
        dead_letters: name("dead-letters"),
        partitions: PARTITIONS,
        ..TopicPlan::default()
    };
    let deadline = Instant::now() + PATIENCE;
    while partition_count(&options, &plan.outcomes).unwrap_or(0) == 0 {
        assert!(Instant::now() < deadline, "{} cannot be made", plan.outcomes);
        let _ = runtime.block_on(create_topics(&options, &plan));
    }
    plan.outcomes.into()
}

/// One transaction after the other, into whatever topic is the present one.
fn produce(shared: &Shared, producer: usize) {
    let id = format!("producer-{producer}");
    let client = TransactionalProducer::spawn(&shared.options, &id).unwrap();
    for number in 0.. {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let topic = shared.topic.lock().unwrap().clone();
        let record = |place: usize| OutRecord {
            topic: Arc::clone(&topic),
            partition: Some(i32::try_from(place).unwrap() % PARTITIONS),
            key: None,
            payload: Some(format!("{producer} {number}").into_bytes()),
            headers: Vec::new(),
        };
        let records: Vec<OutRecord> = (0..RECORDS).map(record).collect();
        let records = Arc::new(records);
        let (reply, answer) = mpsc::channel();
        let transaction = Transaction { records, ..Transaction::default() };
        client.commit(transaction, move |result| reply.send(result).unwrap());
        let fate = answer.recv().unwrap();
        shared.fates.lock().unwrap().insert((topic, producer, number), fate);
    }
}

/// The broker fails and comes back. `meanwhile` is done when it has just failed, or is about to.
fn fail(broker: &mut Kafka, mode: &str, meanwhile: impl FnOnce()) {
    if mode == "freeze" {
        broker.signal("-STOP");
        meanwhile();
        thread::sleep(Duration::from_millis(2_500 + rand::random::<u64>() % 1_500));
        broker.signal("-CONT");
        return;
    }
    meanwhile();
    match mode {
        "stop" => broker.stop(),
        "kill" => broker.kill9(),
        other => panic!("MODE={other}: freeze, stop or kill"),
    }
    broker.restart();
}

/// Whether every producer has committed into the topic, in time.
fn all_go_on(shared: &Shared, topic: &Arc<str>, producers: usize) -> bool {
    let has_committed = |producer: usize| {
        let fates = shared.fates.lock().unwrap();
        let own = (Arc::clone(topic), producer, 0)..=(Arc::clone(topic), producer, usize::MAX);
        fates.range(own).any(|(_, fate)| fate.is_ok())
    };
    let deadline = Instant::now() + PATIENCE;
    while !(0..producers).all(has_committed) {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    true
}

/// How many transactions are not in the topic as was reported; none if it cannot be read.
fn violations(shared: &Shared, topic: &Arc<str>) -> Option<usize> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let partition = TopicPartition::new(Arc::clone(topic), partition);
        let read = read_partition(&shared.options, &partition, PATIENCE / 3, |batch| {
            for record in batch.iter() {
                let payload = String::from_utf8(record.payload().unwrap().to_vec()).unwrap();
                *seen.entry(payload).or_default() += 1;
            }
        });
        if let Err(error) = read {
            println!("{error}");
            return None;
        }
    }
    let fates = shared.fates.lock().unwrap();
    let own = fates.iter().filter(|((of, ..), _)| of == topic);
    let wrong = own.filter(|((_, producer, number), fate)| {
        let count = seen.get(&format!("{producer} {number}")).copied().unwrap_or(0);
        match fate {
            Ok(()) => count != RECORDS,
            Err(CommitError::Aborted { .. }) => count != 0,
            Err(_) => count != 0 && count != RECORDS,
        }
    });
    Some(wrong.inspect(|wrong| println!("not as reported: {wrong:?}")).count())
}
