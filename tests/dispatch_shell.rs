//! The dispatch half against Apache Kafka: one bad ledger partition harms its own lane only, and a
//! number of partitions that changes stops the worker.

#![allow(clippy::unwrap_used)]

#[path = "support/kafka.rs"]
mod kafka;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;
use zerotouch_worker::engine::{AccountOptions, Options};
use zerotouch_worker::shell::dispatch::{self, Dispatch};
use zerotouch_worker::shell::http::{Auth, ClientOptions, ResellerClient};
use zerotouch_worker::shell::kafka::{
    KafkaOptions, TopicPlan, TopicReport, create_topic, create_topics,
};
use zerotouch_worker::shell::partitions;
use zerotouch_worker::shell::{Clock, Stats, Topics};

const PATIENCE: Duration = Duration::from_secs(60);

fn options(name: &str) -> KafkaOptions {
    KafkaOptions {
        bootstrap_servers: Kafka::shared().bootstrap_servers(),
        group_id: name.into(),
        session_timeout: Duration::from_secs(6),
        transaction_timeout: Duration::from_secs(2),
        commit_timeout: Duration::from_millis(1_500),
        ..KafkaOptions::default()
    }
}

fn topics(runtime: &Runtime, name: &str, partitions: i32) -> TopicPlan {
    let topic = |what: &str| format!("{name}.{what}");
    let plan = TopicPlan {
        commands: topic("commands"),
        ledger: topic("ledger"),
        outcomes: topic("outcomes"),
        dead_letters: topic("dead-letters"),
        partitions,
        ..TopicPlan::default()
    };
    let reports = runtime.block_on(create_topics(&options(name), &plan)).unwrap();
    assert!(reports.iter().all(|made| matches!(made, TopicReport::Created { .. })), "{reports:?}");
    plan
}

fn producer(transactional: Option<&str>) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", Kafka::shared().bootstrap_servers());
    if let Some(id) = transactional {
        config.set("transactional.id", id);
    }
    config.create().unwrap()
}

fn write(producer: &BaseProducer, topic: &str, partition: i32, payload: &str) {
    let record = BaseRecord::to(topic).partition(partition);
    let record = record.key("54e91e1d-e876-5873-a33b-ff214b2d5b28").payload(payload);
    producer.send(record).unwrap();
    producer.flush(PATIENCE).unwrap();
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the worker logs in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

async fn dispatch(name: &str, plan: &TopicPlan, stats: &Arc<Stats>) -> Dispatch {
    // Nothing listens there: no lane has anything to call for.
    let client = ClientOptions {
        base_url: "http://127.0.0.1:9".into(),
        auth: Auth::None,
        ..ClientOptions::new("main", "1")
    };
    let account = AccountOptions {
        name: "main".into(),
        partner_id: "1".into(),
        quota_calls: 1_000,
        quota_window: Duration::from_secs(100),
    };
    Dispatch {
        kafka: options(name),
        transactional_id: name.into(),
        topics: Topics {
            orders: Vec::new(),
            commands: plan.commands.as_str().into(),
            ledger: plan.ledger.as_str().into(),
            outcomes: plan.outcomes.as_str().into(),
            dead_letters: plan.dead_letters.as_str().into(),
        },
        engine: Options {
            accounts: vec![account],
            partitions_total: plan.partitions.unsigned_abs(),
            ..Options::default()
        },
        clients: vec![Arc::new(ResellerClient::new(client).await.unwrap())],
        stats: Arc::clone(stats),
        clock: Clock::start(),
        traces: Default::default(),
        observer: None,
    }
}

#[test]
fn a_ledger_that_cannot_be_read_or_understood_holds_up_its_own_lane_alone() {
    let log = Log::default();
    tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).init();
    let runtime = Runtime::new().unwrap();
    let name = "lanes";
    let plan = topics(&runtime, name, 3);
    // Lane 0 has a record that nobody understands, lane 1 is behind an open transaction.
    write(&producer(None), &plan.ledger, 0, r#"{"version":7}"#);
    let open = producer(Some("lanes-foreign"));
    open.init_transactions(PATIENCE).unwrap();
    open.begin_transaction().unwrap();
    write(&open, &plan.ledger, 1, "{}");

    let stats: Arc<Stats> = Arc::default();
    let dispatch = Arc::new(runtime.block_on(dispatch(name, &plan, &stats)));
    let drain = CancellationToken::new();
    let running = runtime.spawn(dispatch::run(dispatch, drain.clone()));
    wait("the third lane works", || stats.lanes_live.get() == 1);
    wait("the first lane is stopped", || stats.lanes_stopped.get() == 1);
    wait("the second lane is waited for", || stats.lanes_unread.get() == 1);
    let text = log.text();
    let stopped = "record at lanes.ledger [0], offset 0: the ledger record has version 7";
    assert!(text.contains(stopped), "{text}");
    assert!(text.contains("find-hanging --topic lanes.ledger --partition 1"), "{text}");

    open.abort_transaction(PATIENCE).unwrap();
    wait("the second lane works, too", || stats.lanes_live.get() == 2);
    wait("nothing is waited for", || stats.lanes_unread.get() == 0);
    assert_eq!((stats.restarts.get(), stats.lanes_stopped.get()), (0, 1));
    drain.cancel();
    runtime.block_on(running).unwrap();
}

fn add_partition(runtime: &Runtime, topic: &str, count: usize) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", Kafka::shared().bootstrap_servers())
        .create()
        .unwrap();
    let more = NewPartitions::new(topic, count);
    let added = runtime.block_on(admin.create_partitions([&more], &AdminOptions::new())).unwrap();
    assert!(added.iter().all(Result::is_ok), "{added:?}");
}

#[test]
fn a_changed_number_of_partitions_is_noticed() {
    let runtime = Runtime::new().unwrap();
    let plan = topics(&runtime, "watched", 2);
    let options = options("watched");
    let topics = [plan.commands.as_str(), plan.ledger.as_str()];
    let every = Duration::from_millis(50);
    let watch = partitions::changed(&options, topics, 2, every);
    let early = runtime.block_on(async { tokio::time::timeout(every * 20, watch).await });
    assert!(early.is_err(), "{early:?}");
    add_partition(&runtime, &plan.ledger, 3);
    let watch = partitions::changed(&options, topics, 2, every);
    let change = runtime.block_on(async { tokio::time::timeout(PATIENCE, watch).await.unwrap() });
    assert_eq!((change.topic, change.before, change.now), (plan.ledger, 2, 3));
}

/// Ends with the test, whatever happens.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_worker_whose_partitions_change_ends_and_waits_at_its_next_start_until_they_agree() {
    let runtime = Runtime::new().unwrap();
    let name = "changing";
    let plan = topics(&runtime, name, 2);
    runtime.block_on(create_topic(&options(name), "changing.orders", 1)).unwrap();
    let config = format!(
        r#"
        [kafka]
        bootstrap_servers = {:?}
        group_id = "changing"
        [topics]
        orders = ["changing.orders"]
        commands = {:?}
        ledger = {:?}
        outcomes = {:?}
        dead_letters = {:?}
        [api]
        endpoint = "http://127.0.0.1:9"
        [[accounts]]
        name = "main"
        partner_id = 1
        auth.kind = "none"
        "#,
        options(name).bootstrap_servers,
        plan.commands,
        plan.ledger,
        plan.outcomes,
        plan.dead_letters
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("worker.toml");
    std::fs::write(&file, config).unwrap();
    let log = directory.path().join("log");
    let start = || {
        let child = Command::new(env!("CARGO_BIN_EXE_zerotouch-worker"))
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn();
        Worker(child.unwrap())
    };
    let said = || std::fs::read_to_string(&log).unwrap();
    let ended = |worker: &mut Worker| {
        let mut code = None;
        wait("the worker ends", || {
            code = worker.0.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    };
    let mut worker = start();
    wait("the worker is up", || said().contains("the worker is up"));
    add_partition(&runtime, &plan.commands, 3);
    assert_eq!(ended(&mut worker), Some(78), "{}", said());
    assert!(
        said().contains("had 2 partitions when this worker started and has 3 now"),
        "{}",
        said()
    );

    let mut again = start();
    let differs = "has 2 partitions and changing.commands has 3";
    wait("the worker says what differs", || said().contains(differs));
    assert!(!said().contains("the worker is up"), "{}", said());
    add_partition(&runtime, &plan.ledger, 3);
    wait("the worker is up again", || said().contains("the worker is up"));
    assert_eq!(again.0.try_wait().unwrap(), None, "{}", said());
}
