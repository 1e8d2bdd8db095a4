//! The life of a pod with the worker as native sidecar, played with processes: the sidecar is up
//! before the order service; at the end preStop (`drain`) and the order service's SIGTERM come
//! together, and the sidecar gets its own only when the order service is gone.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::asking::{ADMIN, Admin};
use crate::events::single_sales;
use crate::invariants;
use crate::lifecycle::{DRAINED, sent};
use crate::process::{Process, Said, run, wait_for};
use crate::python;
use crate::world::{SOON, Setup, World, Written};

/// Devices in a call at most: so few that some are waiting whenever the pod has to go.
const CALL_DEVICES: &str = "10";
/// Between two orders of the order service.
const ORDER_EVERY: &str = "0.02";

/// The order service: `tests/clients/order_app.py`, a process of its own.
struct App {
    process: Child,
    events: Vec<Value>,
    /// Index of the event, partition and offset, of each that a broker has acknowledged.
    acknowledged: Arc<Mutex<Vec<(usize, i32, i64)>>>,
    reading: Option<JoinHandle<()>>,
    _file: tempfile::NamedTempFile,
}

impl App {
    fn start(world: &World, events: Vec<Value>) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/order_app.py");
        let mut process =
            Command::new(python::python_with("kafka-client", "clients/requirements.txt"))
                .arg(script)
                .args([&world.servers, &world.topic("orders")])
                .arg(file.path())
                .arg(ORDER_EVERY)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let output = BufReader::new(process.stdout.take().unwrap());
        let told = Arc::clone(&acknowledged);
        let reading = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                told.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { process, events, acknowledged, reading: Some(reading), _file: file }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits for as many orders more, which shows that the order service works.
    fn orders_some_more(&self) {
        let before = self.acknowledged();
        wait_for("further orders", SOON, || (self.acknowledged() >= before + 5).then_some(()));
    }

    /// SIGTERM, and its end; then the world knows what was ordered.
    fn end(mut self, world: &mut World) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status =
            wait_for("the end of the order service", SOON, || self.process.try_wait().unwrap());
        assert!(status.success(), "the order service: {status}");
        self.reading.take().unwrap().join().unwrap();
        for (index, partition, offset) in self.acknowledged.lock().unwrap().iter() {
            let event = self.events[*index].clone();
            world.written.push(Written { place: (*partition, *offset), event });
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A number of seconds in the chart's defaults, by its key; of several, the last.
fn seconds_of_the_chart(key: &str) -> Duration {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/zerotouch-worker/values.yaml");
    let values = std::fs::read_to_string(path).unwrap();
    let lines = values.lines().filter_map(|line| line.trim_start().strip_prefix(key));
    let value = lines.filter_map(|rest| rest.strip_prefix(": ")?.parse().ok()).next_back();
    Duration::from_secs(value.unwrap_or_else(|| panic!("no {key} in {path}")))
}

/// How long `drain` waits in preStop: `drain.timeoutSeconds`, which stands before the probes.
fn drain_timeout() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/zerotouch-worker/values.yaml");
    let values = std::fs::read_to_string(path).unwrap();
    let (_, drain) = values.split_once("\ndrain:\n").expect("a section `drain`");
    let seconds = drain.lines().find_map(|line| line.trim().strip_prefix("timeoutSeconds: "));
    format!("{}s", seconds.expect("`drain.timeoutSeconds`"))
}

/// preStop, as the chart has it; runs beside the rest of the pod.
fn pre_stop(admin: &Admin) -> JoinHandle<Said> {
    let url = admin.url();
    std::thread::spawn(move || run(&["drain", "--admin", &url, "--timeout", &drain_timeout()]))
}

fn world(name: &str, more: &[(&str, &str)]) -> World {
    let own = [("batch.items_max", CALL_DEVICES), ("retry.ambiguous_grace", "\"2s\"")];
    let settings: Vec<_> = ADMIN.iter().chain(&own).chain(more).copied().collect();
    let sandbox = &["--operation-time", "2s"];
    let world = World::new(name, Setup { sandbox, settings: &settings, ..Setup::default() });
    // So that calls are under way whenever the pod has to go.
    let slow = json!({"kind": "latency", "millis": 1_000});
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": slow}));
    world
}

/// The sidecar has started, by the chart's startup probe; then the order service is started, and
/// the pod becomes ready. It has work under way when this returns.
fn pod_comes_up(world: &mut World, events: Vec<Value>) -> (Process, Admin, App) {
    let sidecar = world.worker();
    let admin = Admin::of(&sidecar);
    let url = admin.url();
    let probe = |what: &str| run(&["probe", what, "--admin", &url]).code == 0;
    wait_for("the startup probe", SOON, || probe("live").then_some(()));
    let app = App::start(world, events);
    wait_for("the readiness probe", SOON, || probe("ready").then_some(()));
    let before = world.read_outcomes();
    world.wait_for_outcomes(before + 1, SOON);
    (sidecar, admin, app)
}

/// The pod after this one: goes on with what was left, and takes new orders.
fn the_next_pod_finishes(mut world: World, further: std::ops::Range<u64>) -> (World, usize) {
    let left = world.written.len() - world.read_outcomes();
    assert!(left > 0, "everything was done before: it shows nothing");
    world.sandbox.clear_faults();
    let (mut sidecar, admin, app) = pod_comes_up(&mut world, single_sales(further.clone()));
    let all = usize::try_from(further.end - further.start).unwrap();
    wait_for("all further orders", SOON, || (app.acknowledged() == all).then_some(()));
    app.end(&mut world);
    let written = world.written.len();
    world.wait_for_outcomes(written, 2 * SOON);
    world.wait_until_quiet(SOON);
    assert_eq!(pre_stop(&admin).join().unwrap().code, DRAINED);
    sidecar.signal("-TERM");
    assert_eq!(sidecar.exit_code(SOON), DRAINED);
    assert_eq!(world.statuses()["succeeded"], written);
    assert_eq!(world.outcomes.len(), written);
    invariants::hold(&world);
    invariants::watermarks_pass_nothing_undecided(&mut world);
    (world, written)
}

#[test]
fn a_pod_lives_and_ends_within_its_grace_time_and_the_next_one_goes_on() {
    let mut world = world("pod", &[]);
    let (mut sidecar, admin, app) = pod_comes_up(&mut world, single_sales(0..100_000));

    let grace = seconds_of_the_chart("terminationGracePeriodSeconds");
    let deleted = Instant::now();
    let draining = pre_stop(&admin);
    wait_for("the drain", SOON, || admin.reason("draining"));
    // Customers still order, and the order service takes its time.
    app.orders_some_more();
    assert!(app.acknowledged() < app.events.len(), "it has nothing more to order");
    let said = draining.join().unwrap();
    assert_eq!((said.code, &*said.stdout), (DRAINED, "drained\n"), "{}", said.stderr);
    app.orders_some_more();
    app.end(&mut world);
    assert!(sidecar.ended().is_none() && admin.is_live(), "it ends after the order service");
    sidecar.signal("-TERM");
    // The kubelet would kill it after that.
    assert_eq!(sidecar.exit_code(grace.saturating_sub(deleted.elapsed())), DRAINED);
    eprintln!("the pod of {} orders has ended in {:?}", world.written.len(), deleted.elapsed());
    invariants::watermarks_pass_nothing_undecided(&mut world);

    let (world, devices) = the_next_pod_finishes(world, 100_000..100_050);
    assert_eq!(sent(&world), (devices, 0), "devices, and batches sent twice");
}

#[test]
fn a_pod_that_is_killed_half_way_through_its_drain_loses_nothing_and_doubles_nothing() {
    // Longer than a call that nobody waits for any more can take to have its effect.
    let mut world = world("pod-killed", &[("retry.ambiguous_grace", "\"8s\"")]);
    let (mut sidecar, admin, app) = pod_comes_up(&mut world, single_sales(0..100_000));
    // Long enough for the kill to fall into the drain.
    let slow = json!({"kind": "latency", "millis": 5_000});
    world.sandbox.clear_faults();
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": slow}));
    app.orders_some_more();

    let draining = pre_stop(&admin);
    wait_for("the drain", SOON, || admin.reason("draining"));
    app.orders_some_more();
    assert!(!draining.is_finished(), "it has drained: this is no longer half-way");
    sidecar.kill9();
    let said = draining.join().unwrap();
    assert_eq!(said.code, 1, "nobody is left to ask: {}{}", said.stdout, said.stderr);
    app.orders_some_more();
    app.end(&mut world);
    invariants::watermarks_pass_nothing_undecided(&mut world);

    let (world, devices) = the_next_pod_finishes(world, 100_000..100_050);
    let (sent, repeated) = sent(&world);
    assert_eq!(sent, devices);
    // Which calls had an effect is not known to a worker that was killed before the answer.
    eprintln!("{repeated} of the calls under way were made again by the next pod");
}
