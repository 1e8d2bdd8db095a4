//! Recovery on a real Apache Kafka: how long a worker that starts takes until it polls every
//! operation that its predecessor left behind, and how fast it reads beside a plain consumer.
//!
//! What a worker leaves that is killed after its batches were accepted is written into the topics:
//! commands without outcome, and ledger records that name their operations. Then dispatch runs as
//! in `run`, against a server that says of every operation that it is not done.
//!
//! `BOOTSTRAP` names the servers of a Kafka to use; otherwise one is started, which takes Java and
//! Maven. `LANES` and `DEVICES` (a list) change the size.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/support/kafka.rs"]
mod kafka;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command as Process;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset as At, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zerotouch_worker::engine::{AccountOptions, Options};
use zerotouch_worker::model::{
    Action, BatchId, BatchState, Cause, Command, Customer, Identifiers, LedgerRecord, Offset,
    OffsetSet, Source,
};
use zerotouch_worker::shell::dispatch::{self, Dispatch, replay_ledger};
use zerotouch_worker::shell::http::{Auth, ClientOptions, ResellerClient};
use zerotouch_worker::shell::kafka::{
    KafkaOptions, TopicPartition, TopicPlan, create_topics, partition_counts,
};
use zerotouch_worker::shell::{Clock, Stats, Topics};
use zerotouch_worker::wire;

/// Devices in one batch, spread over all lanes.
const BATCH: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    // `cargo test` runs this without asking for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let var = |name: &str| std::env::var(name).ok();
    let lanes: usize = var("LANES").map_or(12, |text| text.parse().unwrap());
    let devices = var("DEVICES").unwrap_or_else(|| "10000,100000".into());
    let own = match var("BOOTSTRAP") {
        Some(_) => None,
        None if can_start_kafka() => Some(Kafka::start()),
        None => {
            println!("recovery: skipped, no Kafka: set BOOTSTRAP, or install Java 17 and Maven");
            return;
        }
    };
    let servers = own.as_ref().map_or_else(|| var("BOOTSTRAP").unwrap(), Kafka::bootstrap_servers);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for devices in devices.split(',') {
        let devices = devices.trim().parse().unwrap();
        runtime.block_on(recover(&servers, lanes, devices));
    }
    for records in [10_000, 200_000] {
        runtime.block_on(replay(&servers, records));
    }
}

fn can_start_kafka() -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/kafka.sh");
    let has_java = Process::new("java").arg("-version").output().is_ok_and(|o| o.status.success());
    has_java && Process::new(script).arg("fetch").status().is_ok_and(|status| status.success())
}

/// Topics of this run alone.
async fn topics(servers: &str, lanes: usize) -> (KafkaOptions, Topics) {
    let name = format!("recovery-{}", Uuid::new_v4().simple());
    let options = KafkaOptions {
        bootstrap_servers: servers.into(),
        group_id: name.clone(),
        ..KafkaOptions::default()
    };
    let plan = TopicPlan {
        commands: format!("{name}.commands"),
        ledger: format!("{name}.ledger"),
        outcomes: format!("{name}.outcomes"),
        dead_letters: format!("{name}.dead-letters"),
        partitions: lanes.try_into().unwrap(),
        ..TopicPlan::default()
    };
    create_topics(&options, &plan).await.unwrap();
    while !partition_counts(&options).unwrap().contains_key(&plan.dead_letters) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let topics = Topics {
        orders: Vec::new(),
        commands: plan.commands.into(),
        ledger: plan.ledger.into(),
        outcomes: plan.outcomes.into(),
        dead_letters: plan.dead_letters.into(),
    };
    (options, topics)
}

/// (a) A worker starts with this many devices in flight.
async fn recover(servers: &str, lanes: usize, devices: usize) {
    let (options, topics) = topics(servers, lanes).await;
    let operations = leave_behind(&options, &topics, lanes, devices);
    let plain = [&topics.commands, &topics.ledger].map(|topic| plain_read(&options, topic, lanes));

    let polled: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let done = CancellationToken::new();
    let api = serve(Arc::clone(&polled), operations, done.clone()).await;
    let client = ResellerClient::new(ClientOptions {
        base_url: api,
        auth: Auth::None,
        ..ClientOptions::new("main", "1")
    });
    let account = AccountOptions {
        name: "main".into(),
        partner_id: "1".into(),
        // By the default quota of 10 calls a second, 100 operations take 10 s to ask for.
        quota_calls: 100_000,
        quota_window: Duration::from_secs(100),
    };
    let stats: Arc<Stats> = Arc::default();
    let dispatch = Dispatch {
        kafka: options,
        transactional_id: topics.commands.to_string(),
        topics,
        engine: Options {
            accounts: vec![account],
            partitions_total: lanes.try_into().unwrap(),
            ..Options::default()
        },
        clients: vec![Arc::new(client.await.unwrap())],
        stats: Arc::clone(&stats),
        clock: Clock::start(),
        traces: Default::default(),
        observer: None,
    };
    let drain = CancellationToken::new();
    let began = Instant::now();
    let running = tokio::spawn(dispatch::run(Arc::new(dispatch), drain.clone()));
    let assigned = async {
        while stats.lanes_owned.get() < lanes as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    };
    let assigned = tokio::time::timeout(PATIENCE, assigned).await.unwrap();
    let live = async {
        while stats.lanes_live.get() < lanes as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    };
    let live = tokio::time::timeout(PATIENCE, live).await.unwrap();
    let finished = tokio::time::timeout(PATIENCE, done.cancelled()).await;
    let polled = polled.lock().unwrap().len();
    assert!(finished.is_ok(), "{polled} of {operations} operations polled");
    let whole = began.elapsed();
    assert_eq!(stats.restarts.get(), 0);
    println!(
        "{devices} devices in flight, {lanes} lanes, {operations} operations: from assignment to \
         ledgers read {:.2} s, to the first poll of the last operation {:.2} s (start to \
         assignment {:.2} s); plain consumer, both topics: {:.2} s, ratio {:.2}",
        (live - assigned).as_secs_f64(),
        (whole - assigned).as_secs_f64(),
        assigned.as_secs_f64(),
        plain.iter().sum::<Duration>().as_secs_f64(),
        plain.iter().sum::<Duration>().as_secs_f64() / (whole - assigned).as_secs_f64(),
    );
    drain.cancel();
    running.await.unwrap();
}

/// Commands without outcomes and their accepted batches. Gives the number of operations.
fn leave_behind(options: &KafkaOptions, topics: &Topics, lanes: usize, devices: usize) -> usize {
    let producer = producer(options);
    for number in 0..devices {
        let command = command(number);
        let (key, payload) = (command.device_key().unwrap(), wire::command::encode(&command, None));
        let record = BaseRecord::to(&topics.commands).key(key.as_str()).payload(&payload);
        send(&producer, record.partition(to_i32(number % lanes)));
    }
    let operations = devices.div_ceil(BATCH);
    for batch in 0..operations {
        let id = BatchId(Uuid::new_v4());
        let members = batch * BATCH..devices.min((batch + 1) * BATCH);
        for lane in 0..lanes {
            let own = members.clone().filter(|number| number % lanes == lane);
            let offsets = own.map(|number| Offset((number / lanes).try_into().unwrap())).collect();
            ledger(&producer, &topics.ledger, lane, &accepted(id, batch, offsets));
        }
    }
    producer.flush(PATIENCE).unwrap();
    operations
}

fn ledger(producer: &BaseProducer, topic: &str, lane: usize, record: &LedgerRecord) {
    let (key, payload) = (wire::ledger::encode_key(record.batch), wire::ledger::encode(record));
    let record = BaseRecord::to(topic).key(key.as_str()).payload(&payload);
    send(producer, record.partition(to_i32(lane)));
}

fn accepted(batch: BatchId, number: usize, offsets: Vec<Offset>) -> LedgerRecord {
    LedgerRecord {
        batch,
        action: Action::Claim,
        account: "main".into(),
        state: BatchState::Accepted { operation: format!("operations/{number}").into() },
        open: OffsetSet::new(offsets),
        decided: OffsetSet::default(),
        retried: Vec::new(),
        attempt: 1,
        intended_at: Timestamp::now(),
        deadline: Timestamp::now() + SignedDuration::from_hours(1),
        purpose: None,
    }
}

fn to_i32(number: usize) -> i32 {
    number.try_into().unwrap()
}

fn command(number: usize) -> Command {
    Command {
        action: Action::Claim,
        cause: Cause::Sale,
        event_id: Uuid::new_v4().to_string(),
        order_id: format!("A-{number}"),
        line: "1".into(),
        account: "main".into(),
        customer: Some(Customer::ZeroTouch("1234567".into())),
        device: Identifiers {
            serial_number: Some(format!("S{number:09}")),
            manufacturer: Some("Google".into()),
            model: Some("Pixel 9".into()),
            ..Identifiers::default()
        },
        device_id: None,
        metadata: std::iter::once(("ordernumber".to_owned(), format!("A-{number}"))).collect(),
        configuration_id: None,
        pre_provisioning_token: None,
        recorded_at: None,
        occurred_at: Timestamp::now(),
        received_at: Timestamp::now(),
        source: Source { topic: "orders".into(), partition: 3, offset: number.try_into().unwrap() },
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    }
}

fn producer(options: &KafkaOptions) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", &options.bootstrap_servers)
        .set("enable.idempotence", "true")
        .create()
        .unwrap()
}

fn send(producer: &BaseProducer, mut record: BaseRecord<'_, str, Vec<u8>>) {
    while let Err((_, refused)) = producer.send(record) {
        record = refused;
        producer.poll(Duration::from_millis(1));
    }
}

/// How long a consumer that does nothing else takes for a topic; best of three.
fn plain_read(options: &KafkaOptions, topic: &str, lanes: usize) -> Duration {
    let read = |_| {
        let began = Instant::now();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &options.bootstrap_servers)
            .set("group.id", "plain")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            // As the worker's: by default an answer may be held back for half a second.
            .set("fetch.wait.max.ms", "100")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for lane in 0..lanes {
            list.add_partition_offset(topic, to_i32(lane), At::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut ended, mut bytes) = (0, 0);
        while ended < lanes {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => bytes += message.payload_len(),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
                None => assert!(began.elapsed() < PATIENCE, "{ended} of {lanes} partitions"),
            }
        }
        assert!(bytes > 0);
        began.elapsed()
    };
    (0..3).map(read).min().unwrap()
}

/// The API: every operation is still running. Says when each has been asked for.
async fn serve(
    polled: Arc<Mutex<BTreeSet<String>>>,
    operations: usize,
    done: CancellationToken,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(move |uri: axum::http::Uri| {
        let mut polled = polled.lock().unwrap();
        polled.insert(uri.path().to_owned());
        if polled.len() == operations {
            done.cancel();
        }
        let name = uri.path().trim_start_matches("/v1/").to_owned();
        std::future::ready(axum::Json(serde_json::json!({"name": name, "done": false})))
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// (b) One ledger partition, each batch in it with two records of 83 offsets.
async fn replay(servers: &str, records: usize) {
    let (options, topics) = topics(servers, 1).await;
    let writer = producer(&options);
    let mut first = 0;
    for number in 0..records / 2 {
        let id = BatchId(Uuid::new_v4());
        let offsets: Vec<Offset> = (first..first + 83).map(Offset).collect();
        first += 83;
        let record = accepted(id, number, offsets);
        let intended = LedgerRecord { state: BatchState::Intended, ..record.clone() };
        ledger(&writer, &topics.ledger, 0, &intended);
        ledger(&writer, &topics.ledger, 0, &record);
    }
    writer.flush(PATIENCE).unwrap();
    let plain = plain_read(&options, &topics.ledger, 1);
    let partition = TopicPartition::new(Arc::clone(&topics.ledger), 0);
    let read = |_| {
        let began = Instant::now();
        let batches = replay_ledger(&options, &partition).unwrap().unwrap();
        assert_eq!(batches.len(), records / 2);
        began.elapsed()
    };
    let own = tokio::task::block_in_place(|| (0..3).map(read).min().unwrap());
    println!(
        "replay of a ledger partition of {records} records: {:.3} s, plain consumer {:.3} s, \
         ratio {:.2}",
        own.as_secs_f64(),
        plain.as_secs_f64(),
        plain.as_secs_f64() / own.as_secs_f64(),
    );
}
