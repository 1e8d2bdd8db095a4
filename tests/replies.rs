//! What a reply of the API may take in memory, whatever it holds: counted by the allocator.
//!
//! One test in a binary of its own: the allocator counts for the whole process.

// Tests may panic.
#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::fmt::Write as _;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use zerotouch_worker::model::OperationReply;
use zerotouch_worker::wire::google::{FindDevicesResponse, results};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Twice the devices of the default batch.
const RESULTS_MAX: usize = 2_000;
const MIB: usize = 1 << 20;

/// What `act` gives, with all that it allocated meanwhile, and what of that is left.
fn counted<T>(act: impl FnOnce() -> T) -> (T, Stats) {
    let region = Region::new(HEAP);
    let given = act();
    (given, region.change())
}

fn operation(results: &str) -> String {
    format!(r#"{{"done":true,"response":{{"perDeviceStatus":[{results}]}}}}"#)
}

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0..count {
        let separator = if number == 0 { "" } else { "," };
        write!(text, "{separator}{}", item(number)).unwrap();
    }
    text
}

fn result(number: usize) -> String {
    let message = "x".repeat(300);
    format!(
        r#"{{"claim":{{"deviceIdentifier":{{"imei":"35{number:013}"}},"customerId":"7"}},"result":
        {{"status":"SINGLE_DEVICE_STATUS_OTHER_ERROR","errorMessage":"{message}"}}}}"#
    )
}

#[test]
fn the_memory_of_a_reply_is_bounded_by_what_was_sent() {
    let decode = |body: &str| counted(|| results::decode(body.as_bytes(), RESULTS_MAX));

    let (decoded, stats) = decode(&operation(&list(1_000_000, |_| "{}".to_owned())));
    let decoded = decoded.unwrap();
    assert_eq!(decoded.beyond, 1_000_000 - RESULTS_MAX);
    assert!(stats.bytes_allocated < 4 * MIB, "a million of nothing: {stats:?}");
    drop(decoded);

    let (decoded, stats) = decode(&operation(&list(20_000, result)));
    let OperationReply::Done { results } = decoded.unwrap().reply else { panic!("not done") };
    assert_eq!(results.len(), RESULTS_MAX);
    let left = stats.bytes_allocated - stats.bytes_deallocated;
    assert!(left < 4 * MIB, "ten times too many: {stats:?}");
    drop(results);

    // 2 MiB each: deep, and in one text.
    let deep = format!(r#"{{"result":{{"x":{}{}}}}}"#, "[".repeat(MIB), "]".repeat(MIB));
    let long = format!(r#"{{"result":{{"errorMessage":"\\n{}"}}}}"#, "x".repeat(2 * MIB));
    for (item, kept) in [(deep, 1), (long, 1)] {
        let (decoded, stats) = decode(&operation(&item));
        let OperationReply::Done { results } = decoded.unwrap().reply else { panic!("not done") };
        assert_eq!(results.len(), kept);
        // A scratch buffer that doubles as it grows: never more than four times the reply.
        assert!(stats.bytes_allocated < 8 * MIB, "{stats:?}");
        let left = stats.bytes_allocated - stats.bytes_deallocated;
        assert!(left < MIB, "{stats:?}");
    }

    let lookups = [
        format!(r#"{{"devices":[{}]}}"#, list(300_000, |_| "{}".to_owned())),
        format!(r#"{{"devices":[{{"claims":[{}]}}]}}"#, list(300_000, |_| "{}".to_owned())),
        format!(
            r#"{{"devices":[{{"deviceMetadata":{{"entries":{{{}}}}}}}]}}"#,
            list(100_000, |number| format!(r#""{number}":"""#))
        ),
    ];
    for body in lookups {
        let (found, stats) = counted(|| serde_json::from_str::<FindDevicesResponse>(&body));
        assert!(found.is_err(), "{}", &body[..60]);
        assert!(stats.bytes_allocated < 2 * MIB, "{stats:?}");
    }
}
