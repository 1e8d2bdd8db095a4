//! A collector that is down or frozen harms neither the work nor its end.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::collector::Collector;
use crate::events::sale;
use crate::trace::traced_world;
use crate::world::{SOON, Setup, World};

/// Devices of one order.
const EACH: u64 = 20;

/// Sales with `orders` times [`EACH`] devices.
pub(crate) fn sales(first: u64, orders: u64) -> Vec<Value> {
    let one = |order: u64| {
        let devices: Vec<u64> = (order * EACH..(order + 1) * EACH).collect();
        sale(&format!("event-{order}"), &format!("order-{order}"), "100", &devices)
    };
    (first..first + orders).map(one).collect()
}

/// Works through orders and ends; gives the time that the work took, and the end.
fn work(world: &mut World, first: u64, orders: u64) -> (Duration, Duration) {
    let before = world.outcomes.len();
    let mut worker = world.worker();
    world.wait_for_shares(&[4]);
    let began = Instant::now();
    world.send(&sales(first, orders));
    let count = usize::try_from(orders * EACH).unwrap();
    world.wait_for_outcomes(before + count, Duration::from_secs(180));
    let worked = began.elapsed();
    world.wait_until_quiet(SOON);
    let signalled = Instant::now();
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0, "{}", worker.stderr());
    (worked, signalled.elapsed())
}

#[test]
fn a_collector_that_is_down_harms_neither_the_work_nor_its_end() {
    // Bound and dropped: nothing listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for protocol in ["grpc", "http"] {
        let mut world = World::new(&format!("down-{protocol}"), Setup::default());
        let endpoint = format!("\"http://127.0.0.1:{port}\"");
        world.set("telemetry.otlp_endpoint", &endpoint);
        world.set("telemetry.otlp_protocol", &format!("{protocol:?}"));
        let (_, ended) = work(&mut world, 0, 5);
        assert!(ended < Duration::from_secs(15), "the end took {ended:?}");
        assert_eq!(world.statuses()["succeeded"], 100);
    }
}

#[test]
fn a_frozen_collector_harms_neither_the_work_nor_its_end_and_the_loss_is_told() {
    let Some(collector) = Collector::start() else { return };
    let settings = [("batch.items_max", "500"), ("telemetry.queue_max", "256")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world("frozen", &collector, "grpc", setup);
    collector.freeze();
    let mut worker = world.worker();
    world.send(&sales(0, 50));
    world.wait_for_outcomes(1_000, SOON);
    world.wait_until_quiet(SOON);
    assert_eq!(world.statuses()["succeeded"], 1_000);
    let signalled = Instant::now();
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0, "{}", worker.stderr());
    let ended = signalled.elapsed();
    assert!(ended < Duration::from_secs(15), "the end took {ended:?}");
    let log = worker.stderr();
    assert!(log.contains("spans were lost; the work goes on"), "{log}");
    // At once, and again at the end of the process.
    let told = log.matches("the queue is full").count();
    assert!(told <= 1 + usize::try_from(ended.as_secs() / 60).unwrap() + 1, "told {told} times");
}

#[test]
fn the_throughput_with_a_frozen_collector_is_compared_with_that_without_traces() {
    const ORDERS: u64 = 100;
    const ROUNDS: u64 = 4;
    let Some(collector) = Collector::start() else { return };
    let settings = [("batch.items_max", "1000"), ("operation.poll_delay_max", "\"200ms\"")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = World::new("throughput", setup);
    let endpoint = format!("{:?}", collector.endpoint("grpc"));
    let _ = work(&mut world, 0, ORDERS);
    // By turns, since later rounds find fuller topics.
    let mut times = [Duration::ZERO; 3];
    for round in 0..ROUNDS {
        for (way, time) in (0..).zip(&mut times) {
            match way {
                0 => world.unset("telemetry.otlp_endpoint"),
                _ => world.set("telemetry.otlp_endpoint", &endpoint),
            }
            if way == 2 {
                collector.freeze();
            }
            *time += work(&mut world, (1 + round * 3 + way) * ORDERS, ORDERS).0;
            collector.thaw();
        }
    }
    let [off, on, frozen] = times;
    let ratio = |other: Duration| off.as_secs_f64() / other.as_secs_f64();
    eprintln!(
        "{ROUNDS} times {} devices, all sampled: without traces {off:.2?}; with a collector \
         {on:.2?}, throughput {:.2} of that; with a frozen one {frozen:.2?}, {:.2}",
        ORDERS * EACH,
        ratio(on),
        ratio(frozen),
    );
    let count = usize::try_from((1 + 3 * ROUNDS) * ORDERS * EACH).unwrap();
    assert_eq!(world.statuses()["succeeded"], count);
}
