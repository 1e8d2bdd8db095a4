//! The Kafka shell against Apache Kafka: what it promises about ownership and transactions.

#![allow(clippy::unwrap_used)]

#[path = "support/kafka.rs"]
mod kafka;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use zerotouch_worker::shell::kafka::{
    CommitError, Consumer, ConsumerEvent, ConsumerOptions, GroupMetadata, GroupProtocol,
    KafkaOptions, LedgerError, LedgerRead, Mode, OutRecord, RecordBatch, StartAt, TopicPartition,
    TopicPlan, TopicProblem, TopicReport, Transaction, TransactionalProducer, check_topics,
    create_topics, partition_count, partition_counts, read_partition,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A name that no other test uses.
fn unique(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn options() -> KafkaOptions {
    KafkaOptions {
        bootstrap_servers: Kafka::shared().bootstrap_servers(),
        group_id: unique("group"),
        session_timeout: Duration::from_secs(6),
        properties: BTreeMap::from([("topic.metadata.refresh.interval.ms".into(), "500".into())]),
        ..KafkaOptions::default()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap().block_on(future)
}

fn topic(partitions: i32, settings: &[(&str, &str)]) -> Arc<str> {
    let name = unique("topic");
    make_topic(&name, partitions, settings);
    name.into()
}

fn make_topic(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", Kafka::shared().bootstrap_servers())
        .create()
        .unwrap();
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    let limit = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let result = block_on(admin.create_topics([&new], &limit)).unwrap();
    assert!(result.iter().all(Result::is_ok), "{result:?}");
}

fn record(topic: &Arc<str>, partition: i32, payload: &str) -> OutRecord {
    OutRecord {
        topic: Arc::clone(topic),
        partition: Some(partition),
        key: Some(b"key".to_vec()),
        payload: Some(payload.as_bytes().to_vec()),
        headers: vec![("ce_id".into(), b"1".to_vec()), ("ce_type".into(), b"t".to_vec())],
    }
}

fn records(topic: &Arc<str>, partition: i32, payloads: &[&str]) -> Transaction {
    let records = payloads.iter().map(|payload| record(topic, partition, payload));
    let records: Vec<OutRecord> = records.collect();
    Transaction { records: Arc::new(records), ..Transaction::default() }
}

struct TestProducer(TransactionalProducer);

impl TestProducer {
    fn new(options: &KafkaOptions) -> Self {
        Self::named(options, &unique("producer"))
    }

    fn named(options: &KafkaOptions, id: &str) -> Self {
        Self(TransactionalProducer::spawn(options, id).unwrap())
    }

    fn init(&self) -> Result<(), CommitError> {
        let (reply, answer) = mpsc::channel();
        self.0.init(move |result| reply.send(result).unwrap());
        answer.recv_timeout(PATIENCE).unwrap()
    }

    fn commit(&self, transaction: Transaction) -> Result<(), CommitError> {
        let (reply, answer) = mpsc::channel();
        self.0.commit(transaction, move |result| reply.send(result).unwrap());
        answer.recv_timeout(PATIENCE).unwrap()
    }
}

/// A raw producer of the same kind, to leave transactions open or to abort them.
fn raw_producer(id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", Kafka::shared().bootstrap_servers())
        .set("transactional.id", id)
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

fn write_open(producer: &BaseProducer, topic: &str, payload: &str) {
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to(topic).partition(0).payload(payload)).unwrap();
    producer.flush(PATIENCE).unwrap();
}

/// A consumer whose events the test looks through, one after the other.
struct Member {
    consumer: Consumer,
    events: Receiver<ConsumerEvent>,
}

impl Member {
    fn join(options: &KafkaOptions, topic: &str, mode: Mode) -> Self {
        let (sink, events) = mpsc::channel();
        let limits = ConsumerOptions { mode, ..ConsumerOptions::default() };
        let consumer = Consumer::spawn(options, &[topic], limits, move |event| {
            let _ = sink.send(event);
        });
        Self { consumer: consumer.unwrap(), events }
    }

    /// The first event that `wanted` makes something of; those before it are dropped.
    fn wait<T>(&self, what: &str, mut wanted: impl FnMut(ConsumerEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(ConsumerEvent::Error { fatal: true, text }) => panic!("{what}: {text}"),
                Ok(event) => {
                    if let Some(found) = wanted(event) {
                        return found;
                    }
                }
                Err(error) => panic!("{what} did not come: {error}"),
            }
        }
    }

    fn assigned(&self) -> (Vec<TopicPartition>, Arc<GroupMetadata>) {
        self.wait("an assignment", |event| match event {
            ConsumerEvent::Assigned { partitions, group } if !partitions.is_empty() => {
                Some((partitions, group))
            }
            _ => None,
        })
    }

    fn revoked(&self) -> (Vec<TopicPartition>, Arc<GroupMetadata>) {
        self.wait("a revocation", |event| match event {
            ConsumerEvent::Revoked { partitions, group } => Some((partitions, group)),
            _ => None,
        })
    }

    /// Payloads as they come, until there are as many as wanted.
    fn payloads(&self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        self.wait("records", |event| {
            if let ConsumerEvent::Records(batch) = event {
                all.extend(payloads(&batch));
            }
            (all.len() >= count).then_some(())
        });
        all
    }

    fn committed(&self, partition: &TopicPartition) -> Option<i64> {
        let (reply, answer) = mpsc::channel();
        self.consumer.committed(vec![partition.clone()], move |result| {
            reply.send(result).unwrap();
        });
        answer.recv_timeout(PATIENCE).unwrap().unwrap()[0].1.map(|at| at.offset)
    }
}

fn payloads(batch: &RecordBatch) -> Vec<String> {
    batch
        .iter()
        .map(|record| String::from_utf8(record.payload().unwrap().to_vec()).unwrap())
        .collect()
}

fn replay(
    options: &KafkaOptions,
    topic: &Arc<str>,
    patience: Duration,
) -> Result<(LedgerRead, Vec<String>), LedgerError> {
    let mut all = Vec::new();
    let partition = TopicPartition::new(Arc::clone(topic), 0);
    let read = read_partition(options, &partition, patience, |batch| all.extend(payloads(batch)))?;
    Ok((read, all))
}

#[test]
fn a_transaction_writes_records_and_offsets_together_and_the_next_owner_starts_there() {
    for group_protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let options = KafkaOptions { group_protocol, ..options() };
        let (input, output) = (topic(1, &[]), topic(1, &[]));
        let producer = TestProducer::new(&options);
        producer.init().unwrap();
        producer.commit(records(&input, 0, &["a", "b", "c"])).unwrap();

        let member = Member::join(&options, &input, Mode::Gated);
        let (partitions, group) = member.assigned();
        let partition = TopicPartition::new(Arc::clone(&input), 0);
        assert_eq!(partitions, std::slice::from_ref(&partition));
        assert_eq!(member.committed(&partition), None);
        member.consumer.start(partition.clone(), StartAt::Committed);
        assert_eq!(member.payloads(3), ["a", "b", "c"]);
        let mut decided = records(&output, 0, &["A"]);
        decided.offsets = vec![(Arc::clone(&input), 0, 1)];
        decided.group = Some(group);
        producer.commit(decided).unwrap();
        assert_eq!(member.committed(&partition), Some(1));
        assert_eq!(replay(&options, &output, PATIENCE).unwrap().1, ["A"]);
        member.consumer.stop();

        let next = Member::join(&options, &input, Mode::Immediate);
        assert_eq!(next.payloads(2), ["b", "c"]);
        next.wait("the end", |event| matches!(event, ConsumerEvent::CaughtUp(_)).then_some(()));
    }
}

#[test]
fn a_record_arrives_as_it_was_written() {
    let options = options();
    let input = topic(1, &[]);
    let producer = TestProducer::new(&options);
    let tombstone = OutRecord { payload: None, headers: Vec::new(), ..record(&input, 0, "") };
    let both = vec![record(&input, 0, "payload"), tombstone];
    producer.commit(Transaction { records: Arc::new(both), ..Transaction::default() }).unwrap();
    let mut count = 0;
    let partition = TopicPartition::new(Arc::clone(&input), 0);
    let read = read_partition(&options, &partition, PATIENCE, |batch| {
        count += batch.len();
        let all: Vec<_> = batch.iter().collect();
        assert_eq!(all[0].topic(), &input);
        assert_eq!((all[0].partition(), all[0].offset()), (0, 0));
        assert_eq!(all[0].key(), Some(&b"key"[..]));
        assert_eq!(all[0].payload(), Some(&b"payload"[..]));
        assert!(all[0].timestamp_ms().is_some_and(|time| time > 0));
        let headers: Vec<_> = all[0].headers().collect();
        assert_eq!(headers, [("ce_id", Some(&b"1"[..])), ("ce_type", Some(&b"t"[..]))]);
        assert!(!all[0].headers_unreadable());
        assert_eq!((all[1].payload(), all[1].headers().count()), (None, 0));
    });
    assert_eq!((read.unwrap().records, count), (2, 2));
}

#[test]
fn the_ledger_is_read_to_its_end_although_it_ends_in_markers_and_aborted_records() {
    let options = options();
    let ledger = topic(1, &[("cleanup.policy", "compact")]);
    assert_eq!(replay(&options, &ledger, PATIENCE).unwrap().0, LedgerRead { end: 0, records: 0 });
    let producer = TestProducer::new(&options);
    producer.commit(records(&ledger, 0, &["1", "2"])).unwrap();
    let raw = raw_producer(&unique("raw"));
    write_open(&raw, &ledger, "aborted");
    raw.abort_transaction(PATIENCE).unwrap();
    // 2 records and a marker, 1 aborted record; its marker may be there already, or follow.
    let (read, seen) = replay(&options, &ledger, PATIENCE).unwrap();
    assert!(read.records == 2 && (4..=5).contains(&read.end), "{read:?}");
    assert_eq!(seen, ["1", "2"]);
    // Nothing but an aborted transaction is the least that a reader can see.
    let only_aborted = topic(1, &[]);
    write_open(&raw, &only_aborted, "aborted");
    raw.abort_transaction(PATIENCE).unwrap();
    let (read, _) = replay(&options, &only_aborted, PATIENCE).unwrap();
    assert!(read.records == 0 && (1..=2).contains(&read.end), "{read:?}");
}

#[test]
fn the_ledger_is_not_read_past_an_open_transaction_but_waited_for() {
    let options = options();
    let ledger = topic(1, &[]);
    let raw = raw_producer(&unique("raw"));
    write_open(&raw, &ledger, "late");
    let error = replay(&options, &ledger, Duration::from_millis(500)).unwrap_err();
    let LedgerError::OpenTransaction { stable: 0, end: 1, .. } = error else {
        panic!("{error}");
    };
    let waiting = {
        let ledger = Arc::clone(&ledger);
        std::thread::spawn(move || replay(&options, &ledger, PATIENCE).unwrap().1)
    };
    raw.commit_transaction(PATIENCE).unwrap();
    assert_eq!(waiting.join().unwrap(), ["late"]);
}

#[test]
fn a_revoked_partition_stays_with_its_owner_until_it_is_released() {
    for group_protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let options = KafkaOptions { group_protocol, ..options() };
        let (input, output) = (topic(2, &[]), topic(2, &[]));
        let producer = TestProducer::new(&options);
        producer.commit(records(&input, 0, &["0"])).unwrap();
        producer.commit(records(&input, 1, &["1"])).unwrap();

        let old = Member::join(&options, &input, Mode::Gated);
        let (mut owned, before) = old.assigned();
        while owned.len() < 2 {
            owned.extend(old.assigned().0);
        }
        let new = Member::join(&options, &input, Mode::Immediate);
        let (revoked, during) = old.revoked();
        assert_eq!(revoked.len(), 1, "{revoked:?}");
        assert!(during.epoch() > before.epoch());

        // What was decided before is refused under the classic protocol; decided anew, it goes.
        let moved = &revoked[0];
        let mut last = records(&output, 0, &["last words"]);
        last.offsets = vec![(Arc::clone(&moved.topic), moved.partition, 1)];
        last.group = Some(before);
        if group_protocol == GroupProtocol::Classic {
            let error = producer.commit(last.clone()).unwrap_err();
            assert!(matches!(error, CommitError::Aborted { retriable: false, .. }), "{error}");
        }
        last.group = Some(during);
        producer.commit(last.clone()).unwrap();

        // A silence cannot be proved; a second of it is much longer than a hand-over takes.
        let early = new.events.recv_timeout(Duration::from_secs(1));
        match early {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(ConsumerEvent::Assigned { partitions, .. }) if partitions.is_empty() => {}
            other => panic!("{other:?}"),
        }
        old.consumer.release(revoked.clone());
        assert_eq!(new.assigned().0, revoked);
        assert_eq!(new.committed(moved), Some(1));

        // After the move, the old owner's epoch is over.
        last.records = Arc::new(vec![record(&output, 0, "a ghost")]);
        if group_protocol == GroupProtocol::Classic {
            let error = producer.commit(last).unwrap_err();
            assert!(matches!(error, CommitError::Aborted { retriable: false, .. }), "{error}");
        }
        assert_eq!(replay(&options, &output, PATIENCE).unwrap().1, ["last words"]);
        // The kept partition goes on as if nothing had happened.
        let kept = owned.into_iter().find(|partition| partition != moved).unwrap();
        old.consumer.start(kept.clone(), StartAt::Offset(0));
        assert_eq!(old.payloads(1), [kept.partition.to_string()]);
    }
}

/// A member whose driver hangs, so that its thread does not poll until the gate opens.
fn stuck_member(options: &KafkaOptions, input: &Arc<str>) -> (Member, mpsc::Sender<()>) {
    let (gate, closed) = mpsc::channel::<()>();
    let (sink, events) = mpsc::channel();
    let limits = ConsumerOptions::default();
    let consumer = Consumer::spawn(options, &[input], limits, move |event| {
        let hang = matches!(event, ConsumerEvent::Records(_));
        let _ = sink.send(event);
        if hang {
            let _ = closed.recv();
        }
    });
    (Member { consumer: consumer.unwrap(), events }, gate)
}

fn assigned_all(member: &Member, count: usize) {
    let mut owned = 0;
    while owned < count {
        owned += member.assigned().0.len();
    }
}

#[test]
fn lost_partitions_are_told_and_come_back_only_once_they_are_dropped() {
    // With the other member there from the first, a revocation is on its way when the stuck one
    // is thrown out; librdkafka keeps that to itself.
    for other_waits in [true, false] {
        let options = KafkaOptions {
            session_timeout: Duration::from_secs(2),
            max_poll_interval: Duration::from_secs(2),
            ..options()
        };
        let (input, output) = (topic(2, &[]), topic(1, &[]));
        let producer = TestProducer::new(&options);
        producer.commit(records(&input, 0, &["0"])).unwrap();
        let (stuck, gate) = stuck_member(&options, &input);
        let (_, group) = stuck.assigned();
        stuck.consumer.start(TopicPartition::new(Arc::clone(&input), 0), StartAt::Offset(0));
        assert_eq!(stuck.payloads(1), ["0"]);
        if other_waits {
            await_empty(&options);
        }
        let other = Member::join(&options, &input, Mode::Gated);
        assigned_all(&other, 2);
        drop(gate);
        let lost = stuck.wait("the loss", |event| match event {
            ConsumerEvent::Lost(lost) => Some(lost),
            ConsumerEvent::Revoked { partitions, .. } => panic!("{partitions:?} are not owned"),
            _ => None,
        });
        assert_eq!(lost.partitions().len(), 2);
        let mut ghost = records(&output, 0, &["a ghost"]);
        ghost.offsets = vec![(Arc::clone(&input), 0, 1)];
        ghost.group = Some(group);
        let error = producer.commit(ghost).unwrap_err();
        assert!(matches!(error, CommitError::Aborted { retriable: false, .. }), "{error}");

        drop(lost);
        let again = match other_waits {
            true => stuck,
            false => {
                let fatal = stuck.events.recv_timeout(PATIENCE);
                assert!(matches!(fatal, Ok(ConsumerEvent::Error { fatal: true, .. })), "{fatal:?}");
                stuck.consumer.stop();
                Member::join(&options, &input, Mode::Gated)
            }
        };
        let (back, _) = other.revoked();
        other.consumer.release(back.clone());
        assert_eq!(again.assigned().0, back);
    }
}

/// Waits until the group has no member.
fn await_empty(options: &KafkaOptions) {
    use rdkafka::consumer::Consumer;
    let probe: rdkafka::consumer::BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &options.bootstrap_servers).create().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while probe
        .fetch_group_list(Some(&options.group_id), PATIENCE)
        .unwrap()
        .groups()
        .iter()
        .any(|group| !group.members().is_empty())
    {
        assert!(Instant::now() < deadline, "the stuck member is still there");
    }
}

#[test]
fn a_revocation_that_is_held_too_long_ends_the_consumer() {
    let options = KafkaOptions { session_timeout: Duration::from_secs(2), ..options() };
    let input = topic(2, &[]);
    let old = Member::join(&options, &input, Mode::Gated);
    assigned_all(&old, 2);
    let new = Member::join(&options, &input, Mode::Gated);
    old.revoked();
    let mut lost = None;
    let fatal = loop {
        match old.events.recv_timeout(PATIENCE).unwrap() {
            ConsumerEvent::Lost(partitions) => lost = Some(partitions),
            ConsumerEvent::Error { fatal: true, text } => break text,
            _ => {}
        }
    };
    assert!(fatal.contains("make a new consumer"), "{fatal}");
    assert_eq!(lost.as_ref().map(|lost| lost.partitions().len()), Some(2));
    drop(lost);
    old.consumer.stop();
    assigned_all(&new, 2);
}

#[test]
fn a_member_that_stops_gives_up_what_it_holds_back() {
    let options = options();
    let input = topic(2, &[]);
    let old = Member::join(&options, &input, Mode::Gated);
    assigned_all(&old, 2);
    let new = Member::join(&options, &input, Mode::Gated);
    old.revoked();
    old.consumer.stop();
    assigned_all(&new, 2);
}

#[test]
fn nothing_is_lost_or_doubled_by_pauses() {
    let options = options();
    let input = topic(1, &[]);
    let producer = TestProducer::new(&options);
    let all: Vec<String> = (0..3_000).map(|number: u32| number.to_string()).collect();
    let each: Vec<&str> = all.iter().map(String::as_str).collect();
    producer.commit(records(&input, 0, &each)).unwrap();
    let member = Member::join(&options, &input, Mode::Gated);
    let (partitions, _) = member.assigned();
    member.consumer.resume(partitions.clone());
    member.consumer.start(partitions[0].clone(), StartAt::Offset(1));
    let mut seen = Vec::new();
    while seen.len() < all.len() - 1 {
        seen.extend(member.payloads(1));
        member.consumer.pause(partitions.clone());
        member.consumer.resume(partitions.clone());
    }
    let wrong = seen.iter().zip(&all[1..]).find(|(seen, wanted)| seen != wanted);
    assert!(wrong.is_none() && seen.len() == all.len() - 1, "{} {wrong:?}", seen.len());
}

#[test]
fn the_committed_offset_is_not_told_while_a_transaction_may_change_it() {
    let options = options();
    let input = topic(1, &[]);
    let member = Member::join(&options, &input, Mode::Gated);
    let (partitions, _) = member.assigned();
    let raw = raw_producer(&unique("raw"));
    raw.begin_transaction().unwrap();
    let group = raw_group(&options, &input);
    let mut offsets = rdkafka::TopicPartitionList::new();
    offsets.add_partition_offset(&input, 0, rdkafka::Offset::Offset(7)).unwrap();
    raw.send_offsets_to_transaction(&offsets, &group.1, PATIENCE).unwrap();
    let (reply, answer) = mpsc::channel();
    member.consumer.committed(partitions, move |result| reply.send(result).unwrap());
    let early = answer.recv_timeout(Duration::from_millis(700));
    assert!(matches!(early, Err(RecvTimeoutError::Timeout)), "{early:?}");
    raw.commit_transaction(PATIENCE).unwrap();
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap().unwrap()[0].1.map(|at| at.offset), Some(7));
}

/// A second member of the group, whose membership the raw producer uses.
fn raw_group(
    options: &KafkaOptions,
    topic: &str,
) -> (rdkafka::consumer::BaseConsumer, rdkafka::consumer::ConsumerGroupMetadata) {
    use rdkafka::consumer::Consumer;
    let consumer: rdkafka::consumer::BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.bootstrap_servers)
        .set("group.id", &options.group_id)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the second member did not join");
        consumer.poll(Duration::from_millis(100));
        let list = consumer.fetch_group_list(Some(&options.group_id), PATIENCE).unwrap();
        let group = &list.groups()[0];
        if group.members().len() == 2 && group.state() == "Stable" {
            let metadata = consumer.group_metadata().unwrap();
            return (consumer, metadata);
        }
    }
}

#[test]
fn a_fenced_producer_says_so_and_recovers() {
    let options = options();
    let output = topic(1, &[]);
    let id = unique("shared");
    let first = TestProducer::named(&options, &id);
    first.commit(records(&output, 0, &["first"])).unwrap();
    let second = TestProducer::named(&options, &id);
    second.init().unwrap();
    let error = first.commit(records(&output, 0, &["lost"])).unwrap_err();
    assert!(matches!(error, CommitError::Fenced { .. } | CommitError::Unknown { .. }), "{error}");
    first.commit(records(&output, 0, &["again"])).unwrap();
    assert_eq!(replay(&options, &output, PATIENCE).unwrap().1, ["first", "again"]);
}

#[test]
fn a_record_that_is_too_large_is_named_and_the_producer_goes_on() {
    let options = KafkaOptions { record_bytes_max: 600_000, ..options() };
    let narrow = topic(1, &[("max.message.bytes", "20000")]);
    let wide = topic(1, &[]);
    let producer = TestProducer::new(&options);
    // The client's own limit, then one that only the broker knows.
    for (topic, bytes) in [(&wide, 700_000), (&narrow, 550_000)] {
        let mut large: Vec<_> = ["a", "b", "c"].map(|payload| record(topic, 0, payload)).into();
        large[1].payload = Some(vec![b'x'; bytes]);
        let large = Transaction { records: Arc::new(large), ..Transaction::default() };
        let started = Instant::now();
        let error = producer.commit(large).unwrap_err();
        let CommitError::RecordTooLarge { index: 1, topic: refusing, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(refusing, *topic);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        producer.commit(records(topic, 0, &["after"])).unwrap();
        assert_eq!(replay(&options, topic, PATIENCE).unwrap().1, ["after"]);
    }
}

#[test]
fn offsets_without_a_membership_are_refused() {
    let options = options();
    let output = topic(1, &[]);
    let producer = TestProducer::new(&options);
    let mut orphan = records(&output, 0, &["x"]);
    orphan.offsets = vec![(Arc::clone(&output), 0, 1)];
    let error = producer.commit(orphan).unwrap_err();
    assert!(matches!(error, CommitError::Aborted { retriable: false, .. }), "{error}");
}

#[test]
fn a_record_for_a_topic_that_does_not_exist_aborts_within_the_time_limit() {
    let options = KafkaOptions { commit_timeout: Duration::from_secs(3), ..options() };
    let output = topic(1, &[]);
    let producer = TestProducer::new(&options);
    let error = producer.commit(records(&"nowhere".into(), 0, &["x"])).unwrap_err();
    assert!(matches!(error, CommitError::Aborted { retriable: true, .. }), "{error}");
    producer.commit(records(&output, 0, &["fine"])).unwrap();
    assert_eq!(replay(&options, &output, PATIENCE).unwrap().1, ["fine"]);
}

#[test]
fn a_broker_that_is_spoken_to_in_the_wrong_way_is_told_from_one_that_is_not_there() {
    let ask = |servers: String, protocol: &str| {
        let properties = BTreeMap::from([("security.protocol".to_owned(), protocol.into())]);
        let request_timeout = Duration::from_secs(4);
        let options =
            KafkaOptions { bootstrap_servers: servers, request_timeout, properties, ..options() };
        partition_count(&options, "any").unwrap_err().to_string()
    };
    let error = ask(options().bootstrap_servers, "SSL");
    assert!(error.contains("SSL handshake failed"), "{error}");
    let error = ask("nowhere.invalid:9092".into(), "PLAINTEXT");
    assert!(error.contains("resolve 'nowhere.invalid:9092'"), "{error}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = ask(format!("127.0.0.1:{port}"), "PLAINTEXT");
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn more_copies_than_brokers_are_refused_with_what_to_set() {
    let plan = TopicPlan {
        commands: unique("copies"),
        ledger: unique("copies"),
        outcomes: unique("copies"),
        dead_letters: unique("copies"),
        replication_factor: Some(3),
        ..TopicPlan::default()
    };
    let reports = block_on(create_topics(&options(), &plan)).unwrap();
    for report in reports {
        let TopicReport::Failed { reason, .. } = report else { panic!("{report:?}") };
        assert!(reason.contains("set `topics.replication_factor`"), "{reason}");
    }
}

#[test]
fn a_silent_broker_ends_a_commit_in_time_and_nothing_of_it_appears_later() {
    let mut broker = Kafka::start();
    let options = KafkaOptions {
        bootstrap_servers: broker.bootstrap_servers(),
        commit_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(2),
        transaction_timeout: Duration::from_secs(2),
        ..options()
    };
    let plan = TopicPlan { partitions: 1, ..TopicPlan::default() };
    block_on(create_topics(&options, &plan)).unwrap();
    let output: Arc<str> = plan.outcomes.as_str().into();
    let producer = TestProducer::new(&options);
    producer.commit(records(&output, 0, &["before"])).unwrap();
    broker.signal("-STOP");
    let error = producer.commit(records(&output, 0, &["during"])).unwrap_err();
    assert!(matches!(error, CommitError::Fatal { .. } | CommitError::Aborted { .. }), "{error}");
    broker.signal("-CONT");
    producer.init().unwrap();
    producer.commit(records(&output, 0, &["after"])).unwrap();
    let (_, seen) = replay(&options, &output, PATIENCE).unwrap();
    assert_eq!(seen, ["before", "after"]);
    broker.kill9();
    broker.restart();
    assert_eq!(replay(&options, &output, PATIENCE).unwrap().1, ["before", "after"]);
}

#[test]
fn after_a_broker_that_hung_the_same_producer_goes_on_and_nothing_stays_open() {
    let broker = Kafka::start();
    let options = KafkaOptions {
        bootstrap_servers: broker.bootstrap_servers(),
        commit_timeout: Duration::from_secs(2),
        transaction_timeout: Duration::from_secs(20),
        ..options()
    };
    let plan = TopicPlan { partitions: 1, ..TopicPlan::default() };
    block_on(create_topics(&options, &plan)).unwrap();
    let output: Arc<str> = plan.outcomes.as_str().into();
    let producer = TestProducer::new(&options);
    // For a moment after it hung, the broker may have no leader for the partition.
    let commit = |payload: &str| {
        let results = (0..5).map(|_| producer.commit(records(&output, 0, &[payload])));
        let failed: Vec<_> = results.take_while(Result::is_err).collect();
        assert!(failed.len() < 5, "{failed:?}");
    };
    let rounds = ["first", "second"];
    for round in rounds {
        commit(round);
        broker.signal("-STOP");
        let (reply, answer) = mpsc::channel();
        let lost = records(&output, 0, &["lost", "lost too"]);
        producer.0.commit(lost, move |result| reply.send(result).unwrap());
        // Longer than the commit may take: its records are in the broker's socket by then.
        let early = answer.recv_timeout(options.commit_timeout * 3 / 2);
        assert!(matches!(early, Err(RecvTimeoutError::Timeout)), "{early:?}");
        broker.signal("-CONT");
        let error = answer.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert!(matches!(error, CommitError::Aborted { retriable: true, .. }), "{error}");
    }
    commit("last");
    let (_, seen) = replay(&options, &output, PATIENCE).unwrap();
    assert_eq!(seen, ["first", "second", "last"]);
}

fn plan() -> TopicPlan {
    TopicPlan {
        orders: vec![unique("orders")],
        commands: unique("commands"),
        ledger: unique("ledger"),
        outcomes: unique("outcomes"),
        dead_letters: unique("dead"),
        partitions: 3,
        ..TopicPlan::default()
    }
}

#[test]
fn topics_are_made_as_planned_and_found_present_the_second_time() {
    let (options, plan) = (options(), plan());
    let missing = block_on(check_topics(&options, &plan)).unwrap();
    assert_eq!(missing.len(), 5, "{missing:?}");
    let made = block_on(create_topics(&options, &plan)).unwrap();
    assert_eq!(made.len(), 4);
    assert!(made.iter().all(|made| matches!(made, TopicReport::Created { .. })), "{made:?}");
    let again = block_on(create_topics(&options, &plan)).unwrap();
    assert_eq!(again.len(), 4);
    assert!(again.iter().all(|made| matches!(made, TopicReport::Present { .. })), "{again:?}");
    assert_eq!(partition_counts(&options).unwrap().get(&plan.ledger), Some(&3));
    let left = block_on(check_topics(&options, &plan)).unwrap();
    assert_eq!(left, [TopicProblem::OrdersMissing { topic: plan.orders[0].clone() }]);
}

#[test]
fn topics_that_are_wrong_are_reported_and_left_as_they_are() {
    let (options, plan) = (options(), plan());
    make_topic(&plan.orders[0], 1, &[]);
    make_topic(&plan.commands, 2, &[("retention.ms", "60000"), ("max.message.bytes", "1000")]);
    make_topic(&plan.ledger, 3, &[]);
    for _ in 0..2 {
        let reports = block_on(create_topics(&options, &plan)).unwrap();
        let wrong: BTreeMap<&str, usize> = reports
            .iter()
            .filter_map(|report| match report {
                TopicReport::Wrong { topic, problems } => Some((topic.as_str(), problems.len())),
                _ => None,
            })
            .collect();
        let expected = [(plan.commands.as_str(), 3), (plan.ledger.as_str(), 2)];
        assert_eq!(wrong, BTreeMap::from(expected), "{reports:?}");
    }
    let problems = block_on(check_topics(&options, &plan)).unwrap();
    let differ = problems.iter().any(|problem| {
        let text = problem.to_string();
        matches!(problem, TopicProblem::PartitionsDiffer { .. })
            && text.contains(&plan.commands)
            && text.contains("has 3 partitions")
    });
    assert!(problems.len() == 4 && differ, "{problems:?}");
}

#[test]
fn a_warm_transaction_does_not_wait_for_the_hundred_milliseconds_of_a_flush() {
    let options = options();
    let output = topic(1, &[]);
    let producer = TestProducer::new(&options);
    for _ in 0..5 {
        producer.commit(records(&output, 0, &["warm"])).unwrap();
    }
    let fastest = (0..20)
        .map(|_| {
            let started = Instant::now();
            producer.commit(records(&output, 0, &["timed"])).unwrap();
            started.elapsed()
        })
        .min();
    assert!(fastest < Some(Duration::from_millis(100)), "{fastest:?}");
}

/// The demo runs on librdkafka's mock cluster, which isolates nothing and keeps no offset that a
/// transaction commits: that the calls go through is all that is said here.
#[test]
fn the_mock_cluster_of_the_demo_takes_the_same_calls() {
    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    cluster.create_topic("input", 2, 1).unwrap();
    let options = KafkaOptions {
        bootstrap_servers: cluster.bootstrap_servers(),
        group_protocol: GroupProtocol::Consumer,
        ..KafkaOptions::default()
    };
    assert_eq!(partition_counts(&options).unwrap().get("input"), Some(&2));
    let input: Arc<str> = "input".into();
    let producer = TestProducer::named(&options, "demo");
    producer.init().unwrap();
    producer.commit(records(&input, 0, &["a", "b"])).unwrap();
    let member = Member::join(&options, "input", Mode::Gated);
    let (_, group) = member.assigned();
    let partition = TopicPartition::new(Arc::clone(&input), 0);
    assert_eq!(member.committed(&partition), None);
    member.consumer.start(partition, StartAt::Committed);
    assert_eq!(member.payloads(2), ["a", "b"]);
    let mut with_offsets = records(&input, 0, &["c"]);
    with_offsets.offsets = vec![(Arc::clone(&input), 0, 2)];
    with_offsets.group = Some(group);
    producer.commit(with_offsets).unwrap();
    assert_eq!(replay(&options, &input, PATIENCE).unwrap().1, ["a", "b", "c"]);
}
