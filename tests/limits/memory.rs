//! Resident memory: idle, under the demo's load, under its full load; the last two within a limit.

use std::fs;
use std::time::Duration;

use crate::asking::Admin;
use crate::cgroup::Group;
use crate::load;
use crate::process::Process;
use crate::world::World;

const MIB: u64 = 1 << 20;
const NORMAL_LIMIT: u64 = 64 * MIB;
const FULL_LIMIT: u64 = 128 * MIB;
/// Between two looks, so that a worker has done whatever it does at its start.
const SETTLED: Duration = Duration::from_secs(15);

/// A figure of `/proc/PID/status`, in MiB.
fn status(worker: &Process, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let text = line.unwrap_or_else(|| panic!("no {key} in {status}"));
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

fn tell(what: &str, worker: &Process) {
    let figure = |key: &str| status(worker, key);
    eprintln!(
        "{what}: resident {:.1} MiB (own {:.1}), at most {:.1} MiB; {} threads",
        figure("VmRSS"),
        figure("RssAnon"),
        figure("VmHWM"),
        fs::read_dir(format!("/proc/{}/task", worker.id())).unwrap().count(),
    );
}

/// A worker within a limit of memory; without one where no cgroup can be had.
fn limited(world: &mut World, limit: u64) -> (Process, Option<Group>) {
    let group = Group::new("memory", &[("memory.limit_in_bytes", limit)]);
    // As in the image.
    let mut by = vec!["env", "MALLOC_ARENA_MAX=2"];
    let entering = group.as_ref().map(Group::entering).unwrap_or_default();
    by.extend(entering.iter().map(String::as_str));
    let worker = world.worker_by(&by);
    Admin::of(&worker).wait_until_ready();
    (worker, group)
}

fn within(what: &str, worker: &mut Process, group: Option<Group>) {
    assert!(worker.ended().is_none());
    tell(what, worker);
    if let Some(group) = &group {
        let limit = group.read("memory.limit_in_bytes");
        eprintln!(
            "{what}: charged at most {:.1} of {} MiB; at the limit {} times",
            group.read("memory.max_usage_in_bytes") as f64 / MIB as f64,
            limit / MIB,
            group.read("memory.failcnt"),
        );
    }
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(60)), 0);
    drop(group);
}

#[test]
fn an_idle_worker_says_how_much_memory_it_takes() {
    let mut world = load::world("limits-idle");
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    tell("idle, just ready", &worker);
    std::thread::sleep(SETTLED);
    tell("idle, later", &worker);
    world.progress();
}

#[test]
fn the_demo_s_load_is_worked_off_within_64_mib() {
    let mut world = load::world("limits-normal");
    let (mut worker, group) = limited(&mut world, NORMAL_LIMIT);
    let outcomes = load::demo(&mut world, 3_000);
    load::work_off(&mut world, &mut worker, outcomes, Duration::from_secs(180));
    within("demo's load", &mut worker, group);
}

/// As the chart has it.
const CHART_LIMIT: u64 = 256 * MIB;

#[test]
fn orders_of_which_two_hundred_times_as_much_follows_are_worked_off_within_256_mib() {
    let orders = std::env::var("LIMITS_ORDERS").map_or(2, |text| text.parse().unwrap());
    let mut world = load::world("limits-multiplied");
    let outcomes = load::multiplied(&mut world, orders, 10_000);
    let (mut worker, group) = limited(&mut world, CHART_LIMIT);
    load::work_off(&mut world, &mut worker, outcomes, Duration::from_secs(600));
    within(&format!("{orders} orders of 10,000 devices"), &mut worker, group);
}

#[test]
fn the_full_load_is_worked_off_within_128_mib() {
    let devices = std::env::var("LIMITS_DEVICES").map_or(10_000, |text| text.parse().unwrap());
    let mut world = load::world("limits-full");
    let (mut worker, group) = limited(&mut world, FULL_LIMIT);
    let outcomes = load::full(&mut world, devices);
    load::work_off(&mut world, &mut worker, outcomes, Duration::from_secs(300));
    within(&format!("full load, {devices} devices"), &mut worker, group);
}
