//! A broker that checks rights, and topics that come and go: the worker names what is missing, does
//! not end, and goes on by itself once it is there.

// Every function here is part of a test: a failed unwrap is a failed test. What the black-box tests
// offer is not all used here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs, dead_code)]

#[path = "../support/kafka.rs"]
mod kafka;
#[path = "../support/python.rs"]
mod python;

#[path = "../blackbox/asking.rs"]
mod asking;
#[path = "../blackbox/client.rs"]
mod client;
#[path = "../blackbox/events.rs"]
mod events;
#[path = "../blackbox/process.rs"]
mod process;
#[path = "../blackbox/sandbox.rs"]
mod sandbox;
#[path = "../blackbox/world.rs"]
mod world;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::asking::{ADMIN, Admin, value};
use crate::events::single_sales;
use crate::kafka::Kafka;
use crate::process::{Process, wait_for};
use crate::world::{SOON, Setup, World};

/// A right: on what, its name, `LITERAL` or `PREFIXED`, and which.
type Right = (&'static str, String, &'static str, &'static str);

/// As the user `worker` of the guarded broker.
const PROPERTIES: &str = concat!(
    r#"{ "security.protocol" = "SASL_PLAINTEXT", "sasl.mechanism" = "PLAIN", "#,
    r#""sasl.username" = "worker", "sasl.password" = "worker-password" }"#
);

/// The least that the README asks for.
fn least(world: &World) -> Vec<Right> {
    let on = |kind, name: String, operation| (kind, name, "LITERAL", operation);
    let mut rights = vec![on("TOPIC", world.topic("orders"), "READ")];
    for topic in ["commands", "ledger"] {
        rights.push(on("TOPIC", world.topic(topic), "READ"));
    }
    for topic in ["commands", "ledger", "outcomes", "dead-letters"] {
        rights.push(on("TOPIC", world.topic(topic), "WRITE"));
        rights.push(on("TOPIC", world.topic(topic), "DESCRIBE_CONFIGS"));
    }
    for half in ["intake", "dispatch"] {
        let name = world.group(half);
        rights.push(("GROUP", name.clone(), "LITERAL", "READ"));
        rights.push(("TRANSACTIONAL_ID", format!("{name}."), "PREFIXED", "WRITE"));
    }
    rights
}

/// A world whose worker has all rights but some.
fn world_without(name: &str, missing: impl Fn(&World) -> Option<Right>) -> World {
    let kafka = Kafka::guarded();
    let setup = Setup { settings: &ADMIN, kafka: Some(kafka), ..Setup::default() };
    let mut world = World::new(name, setup);
    world.set("kafka.bootstrap_servers", &format!("{:?}", kafka.guarded_servers()));
    world.set("kafka.properties", PROPERTIES);
    let missing = missing(&world);
    for right in least(&world).iter().filter(|right| Some(*right) != missing.as_ref()) {
        grant(&mut world, right);
    }
    world
}

fn grant(world: &mut World, (kind, name, pattern, operation): &Right) {
    world.client.grant((kind, name, pattern, operation));
}

fn revoke(world: &mut World, (kind, name, pattern, operation): &Right) {
    world.client.revoke((kind, name, pattern, operation));
}

/// Waits until a latch is open, and why says so.
fn wait_for_reason(admin: &Admin, latch: &str, words: &str) {
    let mut last = None;
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for(&format!("{latch}: {words}"), SOON, || {
            last = admin.reason(latch);
            last.as_ref().is_some_and(|reason| reason.contains(words)).then_some(())
        });
    }));
    assert!(found.is_ok(), "{latch} said last: {last:?}");
}

/// What `check-config --connect` says is wrong.
fn failures(world: &World) -> Vec<String> {
    let said = world.run(&["check-config"], &["--connect"]);
    let failed = |line: &&str| line.starts_with("FAILED");
    let failures: Vec<String> = said.stdout.lines().filter(failed).map(str::to_owned).collect();
    assert_eq!(said.code == 0, failures.is_empty(), "{}{}", said.stdout, said.stderr);
    failures
}

/// The check names exactly this, and nothing else, once the broker knows what was granted.
fn check_names(world: &World, words: &str) {
    let mut last = Vec::new();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for(words, SOON, || {
            last = failures(world);
            (last.len() == 1 && last[0].contains(words)).then_some(())
        });
    }));
    assert!(found.is_ok(), "{words}: {last:#?}");
}

fn works(world: &mut World, admin: &Admin) {
    admin.wait_until_ready();
    world.send(&single_sales(0..3));
    world.wait_for_outcomes(3, SOON);
}

fn start(world: &mut World) -> (Process, Admin) {
    let worker = world.worker();
    let admin = Admin::of(&worker);
    (worker, admin)
}

#[test]
fn with_the_least_rights_the_check_finds_nothing_and_the_worker_works() {
    let mut world = world_without("rights-all", |_| None);
    assert_eq!(failures(&world), Vec::<String>::new());
    // What the brokers' own settings are is not among the rights that it needs. Any right to the
    // cluster takes away the others, which everybody has for as long as nobody has one.
    grant(&mut world, &("BROKER", "kafka-cluster".to_owned(), "LITERAL", "DESCRIBE"));
    let said = world.run(&["check-config"], &["--connect"]).stdout;
    assert!(said.contains("could not be checked whether positions are kept"), "{said}");
    let (worker, admin) = start(&mut world);
    works(&mut world, &admin);
    assert_eq!(failures(&world), Vec::<String>::new(), "beside a worker that runs");
    assert!(admin.json("/readyz").0 == 200, "the check disturbs no worker");
    let scrape = admin.scrape();
    assert_eq!(value(&scrape, "zerotouch_ready_latch{latch=\"reading\"}"), 1.0);
    drop(worker);
}

#[test]
fn an_order_topic_that_may_not_be_read_is_named_until_it_may() {
    let right = |world: &World| ("TOPIC", world.topic("orders"), "LITERAL", "READ");
    let describe = |world: &World| ("TOPIC", world.topic("orders"), "LITERAL", "DESCRIBE");
    let mut world = world_without("rights-orders", |world| Some(right(world)));
    let (read, describe) = (right(&world), describe(&world));
    // Without this right the topic is not seen at all.
    grant(&mut world, &describe);
    let words = format!("no READ on topic {}", world.topic("orders"));
    check_names(&world, &words);
    let (mut worker, admin) = start(&mut world);
    // Where to begin is committed before the first record is read, and that takes the same right.
    wait_for_reason(&admin, "writes", &words);
    assert!(worker.stderr().contains(&words), "{}", worker.stderr());
    grant(&mut world, &read);
    works(&mut world, &admin);
    revoke(&mut world, &read);
    wait_for_reason(&admin, "reading", &words);
    grant(&mut world, &read);
    admin.wait_until_ready();
    assert!(worker.ended().is_none());
}

#[test]
fn commands_that_may_not_be_read_are_named_until_they_may() {
    let right = |world: &World| ("TOPIC", world.topic("commands"), "LITERAL", "READ");
    let mut world = world_without("rights-commands", |world| Some(right(world)));
    let words = format!("no READ on topic {}", world.topic("commands"));
    check_names(&world, &words);
    let (_worker, admin) = start(&mut world);
    wait_for_reason(&admin, "reading", &words);
    let right = right(&world);
    grant(&mut world, &right);
    works(&mut world, &admin);
}

#[test]
fn a_group_that_may_not_be_joined_is_named_until_it_may() {
    let right = |world: &World| ("GROUP", world.group("intake"), "LITERAL", "READ");
    let mut world = world_without("rights-group", |world| Some(right(world)));
    let words = format!("no READ on group {}", world.group("intake"));
    check_names(&world, &words);
    let (worker, admin) = start(&mut world);
    wait_for_reason(&admin, "group", &words);
    assert!(worker.stderr().contains(&words), "{}", worker.stderr());
    let right = right(&world);
    grant(&mut world, &right);
    works(&mut world, &admin);
}

#[test]
fn the_check_names_topics_that_may_not_be_written_to_and_writes_nothing() {
    let right = |world: &World| ("TOPIC", world.topic("outcomes"), "LITERAL", "WRITE");
    let describe = |world: &World| ("TOPIC", world.topic("outcomes"), "LITERAL", "DESCRIBE");
    let mut world = world_without("rights-outcomes", |world| Some(right(world)));
    let describe = describe(&world);
    grant(&mut world, &describe);
    check_names(&world, &format!("no WRITE on topic {}", world.topic("outcomes")));
    let right = right(&world);
    grant(&mut world, &right);
    assert_eq!(failures(&world), Vec::<String>::new());
    world.read_rest();
    let written = (world.commands.len(), world.outcomes.len(), world.dead_letters.len());
    assert_eq!(written, (0, 0, 0));
}

#[test]
fn transactions_that_may_not_be_written_are_named_until_they_may() {
    let right = |world: &World| {
        ("TRANSACTIONAL_ID", format!("{}.", world.group("dispatch")), "PREFIXED", "WRITE")
    };
    let mut world = world_without("rights-transactions", |world| Some(right(world)));
    let id = format!("no WRITE on transactional id {}.", world.group("dispatch"));
    check_names(&world, &id);
    let (_worker, admin) = start(&mut world);
    wait_for_reason(&admin, "kafka", "Transactional Id authorization failed");
    let right = right(&world);
    grant(&mut world, &right);
    works(&mut world, &admin);
}

#[test]
fn a_transaction_that_may_not_last_long_enough_is_found_by_the_check() {
    let mut world = world_without("rights-timeout", |_| None);
    // This broker allows one minute.
    world.set("kafka.transaction_timeout", "\"2m\"");
    world.set("kafka.max_poll_interval", "\"5m\"");
    let failures = failures(&world);
    assert!(!failures.is_empty(), "nothing was found");
    for failure in failures {
        assert!(failure.contains("`kafka.transaction_timeout`"), "{failure}");
    }
}

#[test]
fn a_worker_waits_for_topics_that_are_not_there_and_goes_on_when_one_is_deleted_and_made_again() {
    let setup = Setup { settings: &ADMIN, kafka: Some(Kafka::guarded()), ..Setup::default() };
    let mut world = World::without_topics("topics-late", setup);
    let (mut worker, admin) = start(&mut world);
    let orders = world.topic("orders");
    wait_for_reason(&admin, "topics", &format!("the order topic {orders} does not exist"));
    wait_for_reason(&admin, "topics", &format!("the topic {}", world.topic("ledger")));
    let hint = "topics create";
    assert!(worker.stderr().contains(hint), "{}", worker.stderr());
    assert_eq!(failures(&world).len(), 1);
    world.client.create_topic(&orders, 2, &serde_json::json!({}));
    assert_eq!(world.run(&["topics", "create"], &[]).code, 0);
    works(&mut world, &admin);
    world.client.delete_topic(&orders);
    wait_for_reason(&admin, "reading", &format!("the topic {orders} is not there any more"));
    // What the name means is the broker's to forget first.
    wait_for("the name is free", SOON, || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.client.create_topic(&orders, 2, &serde_json::json!({}));
        }))
        .ok()
    });
    wait_for("it is read again", Duration::from_secs(90), || {
        admin.reason("reading").is_none().then_some(())
    });
    assert!(worker.ended().is_none());
}

/// One batch that is small on its way and unpacks to more than the Kafka client takes; gives the
/// offset behind it.
fn write_bomb(servers: &str, topic: &str) -> i64 {
    const RECORDS: i64 = 95;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("compression.type", "zstd")
        .set("message.max.bytes", "1000000000")
        .set("batch.size", "1000000000")
        .set("queue.buffering.max.kbytes", "2000000")
        .set("linger.ms", "3000")
        .create()
        .unwrap();
    let payload = vec![b'x'; 900_000];
    for _ in 0..RECORDS {
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(&payload[..]);
        producer.send(record.partition(0)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
    RECORDS
}

#[test]
fn a_batch_that_cannot_be_unpacked_is_named_and_the_way_past_it_is_as_the_runbook_says() {
    let setup = Setup { settings: &ADMIN, kafka: Some(Kafka::guarded()), ..Setup::default() };
    let mut world = World::new("bomb", setup);
    let (orders, intake) = (world.topic("orders"), world.group("intake"));
    let next = write_bomb(&world.servers, &orders);
    let (mut worker, admin) = start(&mut world);
    wait_for_reason(&admin, "reading", &format!("{orders} [0] cannot be read at offset 0"));
    wait_for_reason(&admin, "reading", &format!("can be from offset {next} on"));
    assert!(worker.stderr().contains("cannot be read at offset 0"), "{}", worker.stderr());
    // The others go on.
    let places = world.send(&single_sales(0..20));
    let others = places.iter().filter(|(partition, _)| *partition != 0).count();
    assert!(others > 0 && others < 20, "{places:?}");
    world.wait_for_outcomes(others, SOON);
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0);

    world.client.set_position(&intake, &orders, 0, next);
    let (_worker, admin) = start(&mut world);
    world.wait_for_outcomes(20, SOON);
    admin.wait_until_ready();
}
