//! Threads for the cores that the worker may use, not for those of the machine.

use std::process::Command;

use crate::cgroup::Group;
use crate::load;
use crate::process::wait_for;
use crate::world::{SOON, World};

/// What a worker started so says of its threads.
fn sized(world: &mut World, by: &[&str]) -> (usize, usize) {
    let mut worker = world.worker_by(by);
    let line = wait_for("the line", SOON, || {
        let log = worker.stderr();
        log.lines().find(|line| line.contains("sized to the cores")).map(str::to_owned)
    });
    let number = |key: &str| {
        let (_, rest) = line.split_once(&format!("{key}=")).unwrap_or_else(|| panic!("{line}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    worker.kill9();
    (number("cores"), number("threads"))
}

#[test]
fn a_worker_has_as_many_threads_as_cores_that_it_may_use() {
    let mut world = load::world("limits-cores");
    let machine = std::thread::available_parallelism().unwrap().get();
    assert_eq!(sized(&mut world, &[]), (machine, machine.min(4)));

    if Command::new("taskset").arg("--version").output().is_ok() {
        assert_eq!(sized(&mut world, &["taskset", "-c", "0"]), (1, 1), "pinned to one core");
    } else {
        eprintln!("NOT RUN pinned: taskset is missing (apt-get install util-linux)");
    }

    let quota = [("cpu.cfs_period_us", 100_000), ("cpu.cfs_quota_us", 100_000)];
    if let Some(group) = Group::new("cpu", &quota) {
        let by = group.entering();
        let by: Vec<&str> = by.iter().map(String::as_str).collect();
        assert_eq!(sized(&mut world, &by), (1, 1), "limited to one core");
    }
}
