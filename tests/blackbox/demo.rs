//! `demo`: what the chart shows of a worker is there to be scraped; with `--chaos` workers that are
//! killed lose nothing, and none outlives the demo.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::admin::promtool;
use crate::asking::ask;
use crate::kafka::Kafka;
use crate::metrics::{DASHBOARD, RULES, documented, named, read};
use crate::process::{Process, run, wait_for};
use crate::world::SOON;

const REFUSED: i32 = 64;

fn chaos(servers: &str, devices: &'static str) -> Vec<String> {
    let flags = ["demo", "--chaos", "--devices", devices, "--summary", "json"];
    let servers = ["--bootstrap-servers", servers];
    flags.iter().chain(&servers).map(|&flag| flag.to_owned()).collect()
}

#[test]
fn killed_workers_lose_nothing_and_double_nothing_but_calls_without_a_reply() {
    let arguments = chaos(&Kafka::shared().bootstrap_servers(), "400");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = run(&arguments);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let summary: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(summary["held"], true, "{summary:#}");
    assert_eq!(summary["devices"], 400);
    for check in summary["invariants"].as_array().unwrap() {
        assert_eq!(check["held"], true, "{check:#}");
        assert!(check["checked"].as_u64().unwrap() > 0, "{check:#}");
    }
    let chaos = &summary["chaos"];
    let kills = chaos["kills"].as_u64().unwrap();
    assert!(kills >= 3, "{chaos:#}");
    assert_eq!(chaos["restarts"], kills);
    assert_eq!(chaos["killed"].as_array().unwrap().len() as u64, kills);
    assert_eq!(chaos["duplicatedWrites"], chaos["duplicatedWritesExplained"], "{chaos:#}");
    assert!(chaos["recoverySeconds"]["max"].as_f64().unwrap() > 0.0, "{chaos:#}");
    assert!(!said.stderr.contains("logs are in"), "{}", said.stderr);
}

#[test]
fn on_the_embedded_broker_killing_is_refused_with_the_reason_and_what_to_do() {
    let said = run(&["demo", "--chaos"]);
    assert_eq!(said.code, REFUSED, "{}", said.stderr);
    assert_eq!(said.stdout, "");
    for part in ["needs a real Kafka", "isolates no transactions", "--bootstrap-servers"] {
        assert!(said.stderr.contains(part), "{part:?} is not in:\n{}", said.stderr);
    }
}

/// A demo that has two workers, and their process ids.
fn demo_with_workers(directory: &std::path::Path) -> (Process, Vec<String>) {
    let arguments = chaos(&Kafka::shared().bootstrap_servers(), "400");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let demo = Process::start(directory, "demo", &arguments);
    let workers = wait_for("two workers", SOON, || {
        let workers = children(demo.id());
        (workers.len() == 2).then_some(workers)
    });
    (demo, workers)
}

fn children(of: u32) -> Vec<String> {
    let output = Command::new("ps")
        .args(["--ppid", &of.to_string(), "-o", "pid="])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

fn config_of(worker: &str) -> PathBuf {
    let output = Command::new("ps").args(["-o", "args=", "-ww", "-p", worker]).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let mut words = line.split_whitespace().skip_while(|word| *word != "--config");
    words.nth(1).unwrap_or_else(|| panic!("no configuration in {line:?}")).into()
}

fn wait_until_gone(workers: &[String]) {
    wait_for("the workers to be gone", SOON, || {
        let is_gone = |pid: &String| {
            let output = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
            let state = String::from_utf8(output.stdout).unwrap();
            // Nobody has to reap it here.
            state.trim().is_empty() || state.trim().starts_with('Z')
        };
        workers.iter().all(is_gone).then_some(())
    });
}

#[test]
fn workers_end_with_a_demo_that_is_interrupted_and_their_logs_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let (mut demo, workers) = demo_with_workers(directory.path());
    demo.signal("-TERM");
    assert_eq!(demo.exit_code(Duration::from_secs(20)), 1);
    wait_until_gone(&workers);
    let said = demo.stderr();
    let (_, logs) = said.split_once("logs are in ").unwrap_or_else(|| panic!("{said}"));
    let logs = std::path::Path::new(logs.lines().next().unwrap());
    assert!(logs.join("worker-1.log").is_file() && logs.join("worker-2.log").is_file());
    std::fs::remove_dir_all(logs).unwrap();
}

#[test]
fn workers_end_even_if_the_demo_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (demo, workers) = demo_with_workers(directory.path());
    let config = config_of(&workers[0]);
    demo.signal("-KILL");
    wait_until_gone(&workers);
    // Nobody is left to do it.
    std::fs::remove_dir_all(config.parent().unwrap()).unwrap();
}

/// There only while a lane has an undecided command.
const ABSENT_AT_REST: [&str; 1] = ["zerotouch_lane_head_age_seconds"];

#[test]
fn after_a_demo_every_metric_of_alerts_and_dashboard_is_scraped() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["demo", "--devices", "200", "--keep-running", "--admin", "127.0.0.1:0"];
    let mut demo = Process::start(directory.path(), "demo", &flags);
    wait_for("the stream's end", SOON, || {
        assert!(demo.ended().is_none(), "{}", demo.stderr());
        demo.stderr().contains("the stream is done").then_some(())
    });
    let said = demo.stderr();
    let (_, page) = said.split_once("page=\"http://").unwrap_or_else(|| panic!("{said}"));
    let address = page.split('/').next().unwrap();
    // What is scraped is a second old, and may still show the last commands.
    let scrape = wait_for("a scrape at rest", SOON, || {
        let (status, scrape) = ask(address, "GET", "/metrics", "");
        assert_eq!(status, 200, "{scrape}");
        let is_at_rest = !scrape.lines().any(|line| line.starts_with(ABSENT_AT_REST[0]));
        is_at_rest.then_some(scrape)
    });
    promtool(&scrape);

    let samples = scrape.lines().filter(|line| !line.starts_with('#'));
    let scraped: BTreeSet<String> = samples.flat_map(named).collect();
    let shown: BTreeSet<String> =
        [RULES, DASHBOARD].iter().flat_map(|path| named(&read(path))).collect();
    assert!(shown.len() > 20, "{shown:?}");
    let absent: Vec<&str> = shown.difference(&scraped).map(String::as_str).collect();
    assert_eq!(absent, ABSENT_AT_REST);
    let never: Vec<_> = scraped.difference(&shown).collect();
    eprintln!("scraped, and in no alert or panel: {never:?}");
    let unknown: Vec<_> = scraped.difference(&documented()).cloned().collect();
    assert!(unknown.is_empty(), "not in docs/metrics.md: {unknown:?}");
    let calls = ask(address, "GET", "/state", "").1;
    let calls: Value = serde_json::from_str(&calls).unwrap();
    assert!(calls["counters"]["submits"].as_u64().unwrap() > 0, "{calls}");

    demo.signal("-INT");
    assert_eq!(demo.exit_code(SOON), 0, "{}", demo.stderr());
}
