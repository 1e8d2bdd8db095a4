//! How long probes take to answer while two processes keep two cores busy, beside the worker itself
//! with its full load.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::asking::{Admin, ask};
use crate::load;
use crate::process::run;

/// Keeps a core busy.
struct Spinning(Child);

impl Spinning {
    fn start() -> Self {
        let mut spin = Command::new("sh");
        spin.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        Self(spin.spawn().unwrap())
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn millis(times: &[Duration], share: f64) -> f64 {
    let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
    times[index].as_secs_f64() * 1000.0
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    eprintln!(
        "{what}, {} times: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        times.len(),
        millis(&times, 0.5),
        millis(&times, 0.99),
        millis(&times, 1.0),
    );
}

fn timed(times: &mut Vec<Duration>, what: impl FnOnce()) {
    let began = Instant::now();
    what();
    times.push(began.elapsed());
}

#[test]
fn probes_answer_while_all_cores_are_busy() {
    const ROUNDS: usize = 500;
    const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];
    let devices = std::env::var("LIMITS_DEVICES").map_or(10_000, |text| text.parse().unwrap());
    let mut world = load::world("limits-probes");
    let mut worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    let outcomes = load::full(&mut world, devices);
    let cores = std::thread::available_parallelism().unwrap().get();
    let _spinning: Vec<Spinning> = (0..cores).map(|_| Spinning::start()).collect();
    let (mut paths, mut exec, mut bare) = ([const { Vec::new() }; 3], Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (path, times) in PATHS.iter().zip(&mut paths) {
            timed(times, || assert_eq!(ask(&admin.exposed, "GET", path, "").0, 200));
        }
        if round % 2 == 0 {
            // What starting any process takes here and now.
            timed(&mut bare, || assert!(Command::new("true").status().unwrap().success()));
            timed(&mut exec, || {
                let said = run(&["probe", "live", "--admin", &admin.url()]);
                assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
            });
        }
        // Evenly over the time that the load takes.
        std::thread::sleep(Duration::from_millis(20));
    }
    for (path, times) in PATHS.iter().zip(paths) {
        tell(&format!("GET {path}"), times);
    }
    tell("probe live", exec);
    tell("a process that does nothing", bare);
    load::work_off(&mut world, &mut worker, outcomes, Duration::from_secs(300));
}
