//! Nothing is so large that it does not fit, and what is missing is said.

use proptest::prelude::*;

use super::*;
use crate::model::{Failure, FailureCode, Status};
use crate::wire::command::tests::claim;

const MIB: usize = 1 << 20;
const SMALLEST: Room = Room { bytes_max: 0, refusals: REFUSALS_MAX };

fn letter(key: usize, value: usize, headers: &[usize]) -> Letter {
    let headers = headers.iter().zip(0..).map(|(len, number)| {
        let name: Arc<str> = format!("h{number}").into();
        (name, vec![b'h'; *len])
    });
    Letter {
        key: Some(vec![b'k'; key]),
        value: Some(vec![b'v'; value]),
        headers: headers.collect(),
        ours: vec![(DEAD_LETTER_REASON.into(), b"it is not JSON".to_vec())],
    }
}

fn ours(letter: &Letter) -> Vec<String> {
    let text = |(name, value): &(Arc<str>, Vec<u8>)| {
        format!("{name}: {}", String::from_utf8(value.clone()).unwrap())
    };
    letter.ours.iter().skip(1).map(text).collect()
}

#[test]
fn a_letter_that_fits_stays_as_it_is() {
    let mut whole = letter(10, 1_000, &[10, 10]);
    let before = whole.clone();
    assert!(!whole.fit(Room::new(MIB)));
    assert_eq!(whole, before);
}

#[test]
fn the_value_goes_first_then_the_largest_headers_then_the_key() {
    let mut value = letter(10, 2 * MIB, &[10]);
    assert!(value.fit(Room::new(MIB)));
    assert_eq!((value.value.as_ref(), value.headers.len()), (None, 1));
    assert_eq!(ours(&value), ["dead-letter-value: dropped, 2097152 bytes"]);

    let mut both = letter(10, 2 * MIB, &[10, MIB, 20]);
    assert!(both.fit(Room::new(MIB)));
    assert_eq!((both.value.as_ref(), both.headers.len()), (None, 2));
    let dropped = [
        "dead-letter-value: dropped, 2097152 bytes",
        "dead-letter-headers: 1 dropped, 1048578 bytes",
    ];
    assert_eq!(ours(&both), dropped);

    let mut all = letter(MIB, MIB, &[MIB, MIB]);
    assert!(all.fit(Room::new(MIB)));
    assert_eq!((&all.key, &all.value, all.headers.len()), (&None, &None, 0));
    assert_eq!(ours(&all).len(), 3);
}

#[test]
fn a_value_that_fits_once_the_others_are_gone_stays() {
    let mut headers = letter(10, 4, &[MIB, 5]);
    assert!(headers.fit(Room::new(MIB)));
    assert_eq!((headers.value.as_ref().unwrap().len(), headers.headers.len()), (4, 1));
    assert_eq!(ours(&headers), ["dead-letter-headers: 1 dropped, 1048578 bytes"]);
    let mut key = letter(MIB, 4, &[]);
    assert!(key.fit(Room::new(MIB)));
    assert_eq!((key.key.as_ref(), key.value.as_ref().unwrap().len()), (None, 4));
    assert_eq!(ours(&key), ["dead-letter-key: dropped, 1048576 bytes"]);
}

#[test]
fn of_a_hundred_thousand_small_headers_the_first_stay_that_clients_can_read() {
    let mut many = letter(10, 4, &vec![1; 100_000]);
    many.key = None;
    let fits_in_bytes = Room::new(10 * MIB);
    assert!(many.fit(fits_in_bytes));
    assert_eq!((many.headers.len(), many.value.as_ref().unwrap().len()), (HEADERS_MAX, 4));
    assert_eq!((&*many.headers[0].0, &*many.headers[HEADERS_MAX - 1].0), ("h0", "h9999"));
    assert_eq!(ours(&many), ["dead-letter-headers: 90000 dropped, 630000 bytes"]);
    let before = many.clone();
    assert!(!many.fit(fits_in_bytes), "what it keeps is few enough");
    assert_eq!(many, before);
}

#[test]
fn headers_that_are_too_many_and_too_large_are_counted_once() {
    let mut many = letter(10, 4, &vec![100; 20_000]);
    assert!(many.fit(Room::new(MIB)));
    assert!(many.bytes() <= MIB && many.headers.len() < HEADERS_MAX);
    let dropped = format!("dead-letter-headers: {} dropped, ", 20_000 - many.headers.len());
    assert!(ours(&many)[0].starts_with(&dropped), "{:?}", ours(&many));
}

#[test]
fn after_a_few_refusals_there_is_a_smallest_form_and_nothing_beyond_it() {
    let mut room = Room::new(1_000_000);
    let mut sizes = Vec::new();
    while let Some(less) = room.less_than(600_000) {
        sizes.push(less.bytes_max());
        room = less;
    }
    assert_eq!(sizes, [150_000, 37_500, 0]);
    let mut smallest = letter(1, 1, &[1]);
    smallest.ours[0].1 = vec![b'x'; MIB];
    assert!(smallest.fit(SMALLEST));
    assert!(smallest.bytes() < 1_000, "{}", smallest.bytes());
}

fn failed(message: usize) -> Verdict {
    Verdict {
        status: Status::Failed,
        failure: Some(Box::new(Failure {
            code: FailureCode::UnknownAccount,
            api_status: Some("S".into()),
            api_identifier: None,
            message: "é".repeat(message / 2),
            retryable: false,
        })),
        decided_by: None,
        device_id: None,
        operation: Some("operations/1".into()),
        attempts: 1,
        submitted_at: None,
        completed_at: "2026-05-04T08:00:07Z".parse().unwrap(),
    }
}

#[test]
fn of_an_outcome_what_the_api_said_is_shortened_first_and_the_ids_stay() {
    let (command, verdict) = (claim(), failed(2 * MIB));
    let fitted = outcome(&command, &verdict, Room::new(MIB));
    assert!(fitted.is_shortened && fitted.bytes() < 4_000);
    let json = outcome::decode(&fitted.value).unwrap();
    assert_eq!((json.command_id, &*json.order_id), (command.id(), &*command.order_id));
    assert_eq!(fitted.key, outcome::key(&command));
    let message = &json.failure.as_ref().unwrap().message;
    assert!(message.ends_with("(shortened, 2097152 bytes in all)") && message.len() < 400);
    let note = fitted.headers.last().unwrap();
    assert_eq!(note.0, headers::OUTCOME_SHORTENED);
    assert!(note.1.starts_with("texts longer than 256 bytes; "), "{note:?}");
    let whole = outcome(&command, &failed(10), Room::new(MIB));
    assert!(!whole.is_shortened);
    assert_eq!(whole.value, outcome::encode(&command, &failed(10)));
}

#[test]
fn an_outcome_of_a_command_with_huge_texts_fits_and_keeps_its_id_and_a_key_of_its_own() {
    let long = |end: &str| format!("{}{end}", "x".repeat(400_000));
    let mut command = claim();
    (command.event_id, command.order_id, command.line) = (long(""), long(""), long(""));
    command.device.imei = None;
    command.device.manufacturer = Some(long(""));
    command.device.model = Some(long(""));
    command.device.serial_number = Some(long("1"));
    let first = outcome(&command, &failed(10), Room::new(1_000_000));
    assert!(first.is_shortened && first.bytes() <= 1_000_000);
    assert_eq!(outcome::decode(&first.value).unwrap().command_id, command.id());
    let smallest = outcome(&command, &failed(MIB), SMALLEST);
    assert!(smallest.bytes() < 4_000, "{}", smallest.bytes());
    assert_eq!(outcome::decode(&smallest.value).unwrap().command_id, command.id());
    command.device.serial_number = Some(long("2"));
    assert_ne!(smallest.key, outcome(&command, &failed(MIB), SMALLEST).key);
}

proptest! {
    #[test]
    fn every_letter_fits_and_says_what_is_missing(
        key in prop::option::of(0..3_000usize),
        value in prop::option::of(0..3_000usize),
        lens in prop::collection::vec(0..1_500usize, 0..20),
        bytes_max in 0..4_000usize,
    ) {
        let mut letter = letter(key.unwrap_or(0), value.unwrap_or(0), &lens);
        letter.key.take_if(|_| key.is_none());
        letter.value.take_if(|_| value.is_none());
        let before = letter.clone();
        let is_short = letter.fit(Room::new(bytes_max));
        prop_assert!(letter.bytes() <= bytes_max.max(NOTES_BYTES + 512));
        let said = |name: &str| letter.ours.iter().any(|(header, _)| &**header == name);
        prop_assert_eq!(said(headers::DEAD_LETTER_VALUE), letter.value != before.value);
        prop_assert_eq!(said(headers::DEAD_LETTER_KEY), letter.key != before.key);
        prop_assert_eq!(said(headers::DEAD_LETTER_HEADERS), letter.headers != before.headers);
        prop_assert_eq!(is_short, letter != before);
        prop_assert!(letter.headers.iter().all(|header| before.headers.contains(header)));
    }

    #[test]
    fn every_outcome_fits(
        len in 0..5_000usize,
        message in 0..5_000usize,
        bytes_max in 4_000..6_000usize,
    ) {
        let mut command = claim();
        command.order_id = "\u{1}".repeat(len);
        let fitted = outcome(&command, &failed(message), Room::new(bytes_max));
        prop_assert!(fitted.bytes() <= bytes_max);
        prop_assert_eq!(outcome::decode(&fitted.value).unwrap().command_id, command.id());
    }
}
