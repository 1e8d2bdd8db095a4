//! Records that are larger than what may be written of them harm only themselves: they are
//! shortened, and say so.

use crate::asking::{ADMIN, Admin, value};
use crate::client::Record;
use crate::events::sale;
use crate::invariants;
use crate::world::{PARTITIONS, SOON, Setup, World};

/// More than the worker writes, and less than a topic takes that nobody has set up.
const LARGE: usize = 1_000_000;

type Headers = Vec<(String, Vec<u8>)>;

fn letter<'a>(world: &'a World, start: &str) -> &'a Record {
    let of =
        |letter: &&Record| letter.key.as_deref().unwrap_or_default().starts_with(start.as_bytes());
    world.dead_letters.iter().find(of).unwrap_or_else(|| panic!("no dead letter of {start}"))
}

#[test]
fn order_records_with_a_large_key_or_large_headers_become_dead_letters_and_nothing_stops() {
    let mut world = World::new("oversized", Setup { settings: &ADMIN, ..Setup::default() });
    let worker = world.worker();
    let orders = world.topic("orders");
    let record = |key: &str, value: &str, headers: Headers| Record {
        topic: orders.clone(),
        partition: Some(0),
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers,
        ..Record::default()
    };
    let one = |name: &str, bytes: usize| (name.to_owned(), vec![b'h'; bytes]);
    let many: Headers = (0..100_000).map(|number| one(&format!("h{number}"), 1)).collect();
    let large_key = "k".repeat(LARGE);
    let good = sale("good", "order-1", "100", &[1]);
    world.client.produce(&[
        record("header", "nope", vec![one("large", LARGE), one("small", 5)]),
        record(&large_key, "nope", Vec::new()),
        record("many", "nope", many),
        record("all", &"x".repeat(2 * LARGE), vec![one("large", LARGE), one("small", 5)]),
    ]);
    world.send_records(
        std::slice::from_ref(&good),
        &[record("good", &good.to_string(), Vec::new())],
    );

    world.wait_until_quiet(SOON);
    assert_eq!(world.outcome_of("good").status(), "succeeded");
    assert_eq!(world.dead_letters.len(), 4);
    let header = letter(&world, "header");
    assert_eq!(header.header("dead-letter-headers"), Some("1 dropped, 1000005 bytes"));
    assert_eq!((header.header("small"), header.header("large")), (Some("hhhhh"), None));
    assert_eq!(
        (header.value.as_deref(), header.header("dead-letter-value")),
        (Some(&b"nope"[..]), None)
    );
    let key = world.dead_letters.iter().find(|letter| letter.key.is_none()).unwrap();
    assert_eq!(key.header("dead-letter-key"), Some("dropped, 1000000 bytes"));
    assert_eq!(key.value.as_deref(), Some(&b"nope"[..]));
    let many = letter(&world, "many").header("dead-letter-headers").unwrap().to_owned();
    assert!(many.contains(" dropped, "), "{many}");
    let all = letter(&world, "all");
    assert_eq!(all.header("dead-letter-value"), Some("dropped, 2000000 bytes"));
    assert_eq!(all.header("dead-letter-headers"), Some("1 dropped, 1000005 bytes"));
    for letter in &world.dead_letters {
        assert_eq!(letter.header("dead-letter-class"), Some("not_json"));
    }
    let scrape = Admin::of(&worker).scrape();
    assert_eq!(value(&scrape, "zerotouch_records_shortened_total{kind=\"dead_letter\"}"), 4.0);
    let said = worker.stderr();
    assert!(said.contains("did not fit into this topic and were shortened"), "{said}");
    invariants::hold(&world);
}

#[test]
fn a_topic_that_takes_less_than_it_did_gets_ever_shorter_records_and_then_they_fit() {
    let mut world = World::new("narrower", Setup { settings: &ADMIN, ..Setup::default() });
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    world.client.set_topic(&world.topic("dead-letters"), "max.message.bytes", "2000");
    let orders = world.topic("orders");
    let record = |key: &str, value: String| Record {
        topic: orders.clone(),
        partition: Some(0),
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.into_bytes()),
        headers: vec![("mine".into(), b"1".to_vec())],
        ..Record::default()
    };
    let good = sale("good", "order-1", "100", &[1]);
    world.client.produce(&[record("bad", "x".repeat(900_000))]);
    world.send_records(std::slice::from_ref(&good), &[record("good", good.to_string())]);

    world.wait_until_quiet(SOON);
    assert_eq!(world.outcome_of("good").status(), "succeeded");
    assert_eq!(letter(&world, "bad").header("dead-letter-value"), Some("dropped, 900000 bytes"));
    let scrape = Admin::of(&worker).scrape();
    let refusals = "zerotouch_transaction_seconds_count{half=\"intake\",result=\"too_large\"}";
    assert!((1.0..=3.0).contains(&value(&scrape, refusals)), "{scrape}");
    invariants::hold(&world);
}

#[test]
fn a_foreign_record_with_a_large_key_among_the_commands_is_set_aside_and_its_lane_goes_on() {
    let mut world = World::new("foreign-large", Setup { settings: &ADMIN, ..Setup::default() });
    let worker = world.worker();
    let topic = world.topic("commands");
    let records: Vec<Record> = (0..PARTITIONS)
        .map(|partition| Record {
            topic: topic.clone(),
            partition: Some(partition),
            key: Some(vec![b'k'; LARGE + 200]),
            value: Some(b"no command".to_vec()),
            ..Record::default()
        })
        .collect();
    world.client.produce(&records);
    let after: Vec<_> =
        (2..8).map(|n| sale(&format!("after-{n}"), &format!("o-{n}"), "100", &[n])).collect();
    world.send(&after);

    world.wait_until_quiet(SOON);
    assert_eq!(world.statuses()["succeeded"], 6);
    assert_eq!(world.dead_letters.len(), records.len());
    for letter in &world.dead_letters {
        assert_eq!(letter.header("dead-letter-class"), Some("invalid_command"));
        assert_eq!(letter.header("dead-letter-key"), Some("dropped, 1000200 bytes"));
        assert_eq!(
            (letter.key.as_ref(), letter.value.as_deref()),
            (None, Some(&b"no command"[..]))
        );
    }
    let scrape = Admin::of(&worker).scrape();
    assert_eq!(value(&scrape, "zerotouch_sessions_begun_total{half=\"dispatch\"}"), 1.0);
    invariants::hold(&world);
}
