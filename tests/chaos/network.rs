//! The network between worker and broker is slow, breaks, and falls silent.

use std::time::Duration;

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
