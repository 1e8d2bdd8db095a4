//! Nobody waits by asking again and again: not while there is nothing to do, and not while a broker
//! takes its time.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::asking::{Admin, value};
use crate::events::sale;
use crate::kafka::Kafka;
use crate::load;
use crate::process::Process;
use crate::proxy::{Mode, Protocol, Proxy};
use crate::world::World;

/// Of a core, over the time that is looked at.
const IDLE_SHARE: f64 = 0.05;
const WAITING_SHARE: f64 = 0.05;
/// What each piece takes longer in each direction, so that an answer takes twice as long.
const DELAY: Duration = Duration::from_millis(100);
const LOOKED_AT: Duration = Duration::from_secs(10);

/// CPU time of each thread so far, in seconds, by name and id.
fn threads(worker: &Process) -> BTreeMap<(String, String), f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let tasks = fs::read_dir(format!("/proc/{}/task", worker.id())).unwrap();
    let read = |task: fs::DirEntry| {
        // A thread may end between the two.
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum();
        let id = task.file_name().into_string().unwrap();
        Some(((name.to_owned(), id), ticks / TICKS_PER_SECOND))
    };
    tasks.filter_map(|task| read(task.unwrap())).collect()
}

/// Shares of a core that the threads with these names take while `meanwhile` runs.
fn shares(worker: &Process, names: &[&str], meanwhile: impl FnOnce()) -> (f64, String) {
    let (before, began) = (threads(worker), Instant::now());
    meanwhile();
    let (after, took) = (threads(worker), began.elapsed().as_secs_f64());
    let mut by_name: BTreeMap<&str, f64> = BTreeMap::new();
    for ((name, id), seconds) in &after {
        let used = seconds - before.get(&(name.clone(), id.clone())).unwrap_or(&0.0);
        *by_name.entry(name).or_default() += used / took;
    }
    let said: Vec<String> =
        by_name.iter().map(|(name, share)| format!("{name} {:.1} %", share * 100.0)).collect();
    let counts = |name: &str| names.is_empty() || names.contains(&name);
    let sum = by_name.iter().filter(|(name, _)| counts(name)).map(|(_, share)| share).sum();
    (sum, said.join(", "))
}

/// One order after the other, for a while.
fn trickle(world: &mut World, from: u64) -> usize {
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < LOOKED_AT {
        let id = format!("t-{}", from + sent);
        world.send(&[sale(&id, &id, "1001", &[from + sent])]);
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    usize::try_from(sent).unwrap()
}

#[test]
fn threads_that_wait_take_no_processor_time() {
    let (listener, target) = Kafka::shared().proxy();
    let proxy = Proxy::start(listener, &target, Protocol::Kafka);
    let name = "limits-spinning";
    let mut world = load::world(name);
    world.set("kafka.bootstrap_servers", &format!("{:?}", proxy.address()));
    world.set("kafka.client_id", &format!("{name:?}"));
    let mut worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    // Whatever it does at its start is over.
    std::thread::sleep(Duration::from_secs(3));
    let (idle, said) = shares(&worker, &[], || std::thread::sleep(LOOKED_AT));
    eprintln!("idle: {:.1} % of a core: {said}", idle * 100.0);
    assert!(idle < IDLE_SHARE, "idle, it takes {:.1} % of a core: {said}", idle * 100.0);

    proxy.set_mode(name, Mode::Slow(DELAY));
    let mut sent = 0;
    let waiting = ["kafka-producer", "kafka-reports", "kafka-consumer"];
    let before = admin.scrape();
    let (share, said) = shares(&worker, &waiting, || sent = trickle(&mut world, 1_000_000));
    let count = |scrape: &str, half: &str| {
        let series =
            format!("zerotouch_transaction_seconds_count{{half=\"{half}\",result=\"committed\"}}");
        value(scrape, &series)
    };
    let after = admin.scrape();
    let transactions = |half: &str| count(&after, half) - count(&before, half);
    let (intake, dispatch) = (transactions("intake"), transactions("dispatch"));
    eprintln!("slow broker, {intake} and {dispatch} transactions: {:.1} %: {said}", share * 100.0);
    assert!(intake >= 1.0 && dispatch >= 1.0, "nothing was waited for");
    assert!(share < WAITING_SHARE, "waiting takes {:.1} % of a core: {said}", share * 100.0);
    proxy.heal(name);
    load::work_off(&mut world, &mut worker, sent, Duration::from_secs(120));
}
