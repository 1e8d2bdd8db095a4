//! The network between worker and broker is slow, breaks, and falls silent.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::asking::{ADMIN, Admin};
use crate::process::wait_for;
use crate::proxy::Mode;
use crate::scene::{Scene, broker_proxy, repeated};
use crate::world::SOON;

/// Waits for more outcomes than there were.
fn wait_for_news(scene: &mut Scene) {
    let before = scene.outcomes();
    wait_for("more outcomes", SOON, || (scene.outcomes() > before).then_some(()));
}

#[test]
fn a_slow_and_broken_network_delays_the_work_and_loses_none_of_it() {
    let name = "network";
    let mut scene = Scene::new(name, &[]);
    scene.world.set("batch.items_max", "20");
    let proxy = broker_proxy();
    proxy.set_mode(name, Mode::Slow(Duration::from_millis(15)));
    let mut worker = scene.worker();
    scene.sell_more(0..200);
    wait_for_news(&mut scene);
    proxy.set_mode(name, Mode::Pass);
    for round in 1..=4 {
        scene.sell_more(round * 200..(round + 1) * 200);
        wait_for_news(&mut scene);
        scene.disturbances.note("proxy");
        proxy.cut(name);
    }
    scene.sell_more(1_000..1_200);
    wait_for_news(&mut scene);
    scene.disturbances.note("proxy");
    proxy.set_mode(name, Mode::Refuse);
    wait_for("the worker has lost its partitions", SOON, || {
        worker.stderr().contains("partitions were lost").then_some(())
    });
    let report = scene.settle();
    assert!(worker.ended().is_none(), "an outage of Kafka must not end the worker");
    for reason in repeated(&report).1 {
        let is_known = ["not_recorded_proxy", "not_recorded_trouble"].contains(&&*reason);
        assert!(is_known, "{reason}: {report:#}");
    }
}

#[test]
fn a_worker_behind_a_dead_connection_loses_its_partitions_and_doubles_nothing() {
    let name = "half-open";
    let mut scene = Scene::new(name, &["--operation-time", "500ms"]);
    scene.world.set("batch.items_max", "20");
    let mut first = scene.idle_worker();
    scene.sell_more(0..400);
    wait_for_news(&mut scene);
    scene.disturbances.note("proxy");
    broker_proxy().set_mode(name, Mode::HalfOpen);

    scene.world.set("kafka.client_id", "\"beside-half-open\"");
    let mut second = scene.idle_worker();
    scene.sell_more(400..600);
    scene.world.wait_for_outcomes(600, SOON);
    broker_proxy().heal(name);
    let report = scene.settle();
    for worker in [&mut first, &mut second] {
        assert!(worker.ended().is_none(), "an outage of Kafka must not end the worker");
    }
    for reason in repeated(&report).1 {
        let is_known = ["not_recorded_proxy", "not_recorded_trouble"].contains(&&*reason);
        assert!(is_known, "{reason}: {report:#}");
    }
}

/// The client's complaints in a log, without the times at their ends.
fn complaints(log: &str) -> Vec<&str> {
    let is_complaint = |line: &&str| {
        let is_told = line.contains("WARN") || line.contains("ERROR");
        is_told && line.contains("librdkafka") && !line.contains("again=")
    };
    log.lines().filter(is_complaint).map(essence).collect()
}

fn essence(line: &str) -> &str {
    let text = line.rsplit_once("librdkafka: ").map_or(line, |(_, text)| text);
    text.rsplit_once(" (after ").map_or(text, |(text, _)| text)
}

#[test]
fn a_worker_that_reaches_no_broker_says_why_says_it_once_and_says_when_it_does_again() {
    let name = "unreached";
    let mut scene = Scene::new(name, &[]);
    // By default it is quieter than that.
    for (key, value) in ADMIN.into_iter().chain([("log.level", "\"info,librdkafka=info\"")]) {
        scene.world.set(key, value);
    }
    let mut worker = scene.idle_worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    assert_eq!(admin.reason("kafka"), None);
    scene.disturbances.note("proxy");
    broker_proxy().set_mode(name, Mode::Refuse);
    let reason = wait_for("the reason", SOON, || admin.reason("kafka"));
    assert!(reason.contains("reaches no broker: "), "{reason}");
    for half in ["intake", "dispatch"] {
        let group = format!("{name}.{half}");
        wait_for("both halves have told it", SOON, || {
            let log = worker.stderr();
            let mut lines = log.lines().filter(|line| line.contains("no broker is reached"));
            lines.any(|line| line.contains(&group)).then_some(())
        });
    }
    wait_for("several attempts", SOON, || (broker_proxy().refused(name) > 20).then_some(()));
    assert!(admin.is_live() && worker.ended().is_none());
    let log = worker.stderr();
    let told = complaints(&log);
    let different: BTreeSet<&str> = told.iter().copied().collect();
    assert!(!told.is_empty() && told.len() == different.len(), "{told:#?}");

    broker_proxy().heal(name);
    wait_for("found again", SOON, || {
        let log = worker.stderr();
        (log.matches("Kafka is reached again").count() == 2).then_some(())
    });
    admin.wait_until_ready();
    scene.sell_more(0..20);
    scene.settle();
}
