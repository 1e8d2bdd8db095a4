//! OpenTelemetry's variables as a worker's environment has them: what a sampler lets through, and
//! which headers a receiver sees.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::collector::Collector;
use crate::events::sale;
use crate::process::wait_for;
use crate::trace::{END, send_traced, traceparent};
use crate::world::{SOON, Setup, World};

/// What the flags of an event's trace context are, and those of its outcome under a sampler.
struct Case {
    /// Of the traces of the first two, as no two cases share one.
    digits: [char; 2],
    sampler: &'static [(&'static str, &'static str)],
    /// Of an event that is sampled, of one that is not, and of one without context.
    sampled: [bool; 3],
}

const CASES: [Case; 4] = [
    Case { digits: ['a', 'b'], sampler: &[], sampled: [true, false, true] },
    Case {
        digits: ['c', 'd'],
        sampler: &[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")],
        sampled: [false, false, false],
    },
    Case {
        digits: ['e', 'f'],
        sampler: &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")],
        sampled: [true, false, false],
    },
    Case {
        digits: ['1', '2'],
        sampler: &[("OTEL_TRACES_SAMPLER", "always_on")],
        sampled: [true, true, true],
    },
];

#[test]
fn a_sampler_of_the_environment_decides_for_all_unless_it_follows_the_parent() {
    let Some(collector) = Collector::start() else { return };
    let mut world = World::new("sampler", Setup::default());
    let endpoint = collector.endpoint("grpc");
    for (index, case) in CASES.iter().enumerate() {
        let mut variables =
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_LOGS_EXPORTER", "otlp")];
        variables.extend(case.sampler);
        let mut worker = world.worker_with(&variables);
        let [parent, unsampled] = case.digits;
        let parents = [traceparent(parent, "01"), traceparent(unsampled, "00")];
        let name = |kind: &str| format!("{kind}-{index}");
        let number = 3 * index as u64;
        let events = ["sampled", "held-back", "alone"].map(name);
        let event =
            |place: usize| sale(&events[place], &events[place], "100", &[number + place as u64]);
        send_traced(&mut world, &event(0), &parents[0]);
        send_traced(&mut world, &event(1), &parents[1]);
        world.send(&[event(2)]);
        world.wait_for_outcomes(3 * (index + 1), SOON);
        let traces = events.map(|event| {
            let context = world.outcome_of(&event).record.header("traceparent").unwrap();
            (context[3..35].to_owned(), context.ends_with("-01"))
        });
        assert_eq!(traces.clone().map(|(_, sampled)| sampled), case.sampled, "{:?}", case.sampler);
        assert_eq!(traces[0].0, parents[0][3..35], "the trace goes on in either case");
        // All that is sampled arrives, and the lines of the end come after anything else could.
        let seen = |trace: &str| collector.spans().iter().any(|span| span.trace == trace);
        for (trace, _) in traces.iter().filter(|(_, sampled)| *sampled) {
            wait_for("the spans", SOON, || seen(trace).then_some(()));
        }
        worker.signal("-TERM");
        assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());
        let _ = collector.wait_for_lines("the end", |lines| {
            lines.iter().filter(|line| line.body.starts_with("drained")).count() > index
        });
        for (trace, sampled) in &traces {
            assert_eq!(seen(trace), *sampled, "{:?}", case.sampler);
        }
    }
}

type Request = (String, BTreeMap<String, String>);

/// Takes whatever is exported over HTTP, and keeps the paths and headers.
fn receiver() -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
    let kept = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, kept) = (stream.unwrap(), Arc::clone(&kept));
            thread::spawn(move || while answer(&stream, &kept).is_some() {});
        }
    });
    (url, requests)
}

/// One request; `None` once the connection is closed.
fn answer(mut stream: &TcpStream, kept: &Mutex<Vec<Request>>) -> Option<()> {
    // Reads nothing of the next request.
    let mut reader = BufReader::with_capacity(1, stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line);
    }
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let header = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: BTreeMap<_, _> = lines.iter().skip(1).filter_map(header).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    reader.read_exact(&mut vec![0; length]).ok()?;
    kept.lock().unwrap().push((path, headers));
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()
}

#[test]
fn headers_of_the_configuration_win_then_those_of_the_signal_then_those_of_all() {
    let (url, requests) = receiver();
    let settings = [("telemetry.otlp_headers", r#"{ "x-key" = "key", "x-own" = "key" }"#)];
    let mut world = World::new("headers", Setup { settings: &settings, ..Setup::default() });
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-all=all,x-both=all,x-key=all"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-both=traces,x-traces=traces,x-key=traces"),
    ];
    let mut worker = world.worker_with(&variables);
    send_traced(&mut world, &sale("event-1", "order-1", "100", &[1]), &traceparent('a', "01"));
    world.wait_for_outcomes(1, SOON);
    let ours = |path: &str| -> Option<Vec<(String, String)>> {
        let requests = requests.lock().unwrap();
        let (_, headers) = requests.iter().find(|(asked, _)| asked == path)?;
        let ours = headers.iter().filter(|(name, _)| name.starts_with("x-"));
        Some(ours.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    let expected = |headers: &[(&str, &str)]| -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let traces = wait_for("traces", SOON, || ours("/v1/traces"));
    let own = [("x-both", "traces"), ("x-key", "key"), ("x-own", "key"), ("x-traces", "traces")];
    assert_eq!(traces, expected(&own), "those of all are not read beside those of the signal");
    let logs = wait_for("logs", SOON, || ours("/v1/logs"));
    let of_all = [("x-all", "all"), ("x-both", "all"), ("x-key", "key"), ("x-own", "key")];
    assert_eq!(logs, expected(&of_all));
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());
    assert!(!worker.stderr().contains("OTEL_EXPORTER_OTLP_HEADERS"), "it is not set in vain");
}
