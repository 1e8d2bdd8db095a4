//! A collector with a certificate of a private CA.

use crate::certificates::Certificates;
use crate::collector::Collector;
use crate::events::sale;
use crate::lines::find;
use crate::process::wait_for;
use crate::spans::named;
use crate::trace::{END, traced_world};
use crate::world::{SOON, Setup};

/// The CA file is named by the configuration, else by a variable.
fn trusted(protocol: &str, by_variable: bool) {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(directory.path(), "right");
    let Some(collector) = Collector::start_with(Some(&certificates)) else { return };
    let settings = [("telemetry.logs", "true")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world(&format!("tls-{protocol}"), &collector, protocol, setup);
    let ca = certificates.ca.to_str().unwrap();
    if !by_variable {
        world.set("telemetry.ca_file", &format!("{ca:?}"));
    }
    let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", ca)];
    let mut worker = world.worker_with(if by_variable { &variables } else { &[] });
    world.send(&[sale("event-1", "order-1", "100", &[1])]);
    world.wait_for_outcomes(1, SOON);
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());
    let _ = collector.wait_for("a batch", |spans| !named(spans, "claim batch").is_empty());
    let is_last = |lines: &[_]| find(lines, "drained").is_some();
    let _ = collector.wait_for_lines("the last line", is_last);
    assert!(!worker.stderr().contains("were lost"), "{}", worker.stderr());
}

#[test]
fn a_private_ca_of_the_configuration_is_trusted_over_grpc() {
    trusted("grpc", false);
}

#[test]
fn a_private_ca_of_the_variables_is_trusted_over_http() {
    trusted("http", true);
}

/// The collector has a certificate of a CA that the worker does not trust.
fn mistrusted(protocol: &str) {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(directory.path(), "right");
    let wrong = Certificates::new(directory.path(), "wrong");
    let Some(collector) = Collector::start_with(Some(&certificates)) else { return };
    let settings = [("telemetry.logs", "true")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world(&format!("mistrust-{protocol}"), &collector, protocol, setup);
    world.set("telemetry.ca_file", &format!("{:?}", wrong.ca.to_str().unwrap()));
    let mut worker = world.worker();
    let order = |n: u64| sale(&format!("event-{n}"), &format!("order-{n}"), "100", &[n]);
    for n in 1..=3 {
        world.send(&[order(n)]);
        world.wait_for_outcomes(usize::try_from(n).unwrap(), SOON);
    }
    for what in ["log lines were lost", "spans were lost"] {
        wait_for(what, SOON, || worker.stderr().contains(what).then_some(()));
    }
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());
    assert_eq!(world.statuses()["succeeded"], 3);
    let said = worker.stderr();
    let why = said.lines().find(|line| line.contains("spans were lost")).unwrap();
    assert!(why.contains("invalid peer certificate"), "{why}");
    assert_eq!(said.matches("were lost; the work goes on").count(), 2, "one each: {said}");
    assert!(collector.spans().is_empty() && collector.lines().is_empty());
}

#[test]
fn a_collector_that_is_not_trusted_is_told_of_and_harms_nothing_over_grpc() {
    mistrusted("grpc");
}

#[test]
fn a_collector_that_is_not_trusted_is_told_of_and_harms_nothing_over_http() {
    mistrusted("http");
}

#[test]
fn a_ca_file_that_is_none_is_told_of_and_the_work_goes_on_without_export() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.pem");
    std::fs::write(&path, "no certificate").unwrap();
    for protocol in ["grpc", "http"] {
        let mut world = crate::world::World::new(&format!("no-ca-{protocol}"), Setup::default());
        world.set("telemetry.otlp_endpoint", "\"https://127.0.0.1:1\"");
        world.set("telemetry.otlp_protocol", &format!("{protocol:?}"));
        world.set("telemetry.ca_file", &format!("{:?}", path.to_str().unwrap()));
        let mut worker = world.worker();
        world.send(&[sale("event-1", "order-1", "100", &[1])]);
        world.wait_for_outcomes(1, SOON);
        worker.signal("-TERM");
        assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());
        let said = worker.stderr();
        let line = said.lines().find(|line| line.contains("traces cannot be exported")).unwrap();
        assert!(line.contains("none.pem"), "{line}");
    }
}
