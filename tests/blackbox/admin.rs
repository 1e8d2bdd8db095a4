//! Watching and controlling a worker: probes, metrics, state, pausing, draining. The admin server
//! is asked over HTTP, the worker is the built binary, Kafka is real.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::asking::{ADMIN, Admin, ask, value};
use crate::events::single_sales;
use crate::invariants;
use crate::metrics::documented;
use crate::process::{run, wait_for};
use crate::world::{PARTITIONS, SOON, Setup, World};

fn world(name: &str, sandbox: &[&str], more: &[(&str, &str)]) -> World {
    let settings: Vec<_> = ADMIN.iter().chain(more).copied().collect();
    World::new(name, Setup { sandbox, settings: &settings, ..Setup::default() })
}

pub(crate) fn promtool(scrape: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        assert!(std::env::var_os("CI").is_none(), "promtool is missing, and .ci/run installs it");
        eprintln!("NOT CHECKED: promtool is missing (apt-get install prometheus)");
        return;
    };
    promtool.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(said.status.success(), "promtool: {text}");
}

#[test]
fn after_some_orders_state_and_metrics_say_what_was_done() {
    let mut world = world("admin-figures", &[], &[]);
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    assert_eq!(value(&admin.scrape(), "zerotouch_ready"), 1.0);
    world.send(&single_sales(0..300));
    let junk = crate::client::Record {
        topic: world.topic("orders"),
        value: Some(b"no JSON".to_vec()),
        ..Default::default()
    };
    world.send_records(&[], &[junk]);
    world.wait_for_outcomes(300, SOON);
    wait_for("the dead letter", SOON, || {
        (admin.state()["counters"]["deadLetters"] == 1).then_some(())
    });
    world.wait_until_quiet(SOON);

    let state = wait_for("a quiet state", SOON, || {
        let state = admin.state();
        (state["dispatch"]["report"]["commands"] == 0).then_some(state)
    });
    let counters = &state["counters"];
    assert_eq!(counters["orders"], 301, "{counters}");
    assert_eq!((&counters["commands"], &counters["outcomes"]), (&json!(300), &json!(300)));
    let submits = world.sandbox.batches("claimAsync");
    assert_eq!(counters["submits"], submits);
    let succeeded = json!([{"action": "claim", "status": "succeeded", "code": "", "count": 300}]);
    assert_eq!(state["outcomes"], succeeded);
    let lanes = state["dispatch"]["report"]["lanes"].as_array().unwrap();
    assert_eq!(lanes.len(), PARTITIONS as usize);
    assert!(lanes.iter().all(|lane| lane["phase"] == "live"), "{lanes:?}");
    assert!(state["dispatch"]["ageSeconds"].as_f64().unwrap() < 10.0);

    // The ends of the partitions are told every few seconds.
    let lag = |scrape: &str, topic: &str| {
        let lines = scrape.lines().filter(|line| line.starts_with("zerotouch_lag_records{"));
        let of = lines.filter(|line| line.contains(topic));
        of.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    let topics = [world.topic("orders"), world.topic("commands")];
    let scrape = wait_for("no lag", SOON, || {
        let scrape = admin.scrape();
        // The mark of the last transaction counts as one.
        let is_low = |topic: &String| {
            let lag = lag(&scrape, topic);
            lag.len() == PARTITIONS as usize && lag.iter().all(|lag| *lag <= 1.0)
        };
        topics.iter().all(is_low).then_some(scrape)
    });
    promtool(&scrape);
    figures(&scrape, submits);
    let polls =
        "zerotouch_api_calls_total{account=\"main\",class=\"ok\",method=\"operations.get\"}";
    assert_eq!(value(&scrape, polls), world.sandbox.calls("operations.get", 200) as f64);
    for name in documented() {
        assert!(scrape.contains(&format!("# HELP {name} ")), "{name} is not in the scrape");
    }
    // No hardware id, whole or in part, gets into either.
    let device = &world.outcomes[0].text("/device/imei")[..14];
    assert!(!scrape.contains(device) && !state.to_string().contains(device));
    invariants::hold(&world);
}

/// After 300 sales and a record that is no JSON.
fn figures(scrape: &str, submits: u64) {
    for (series, expected) in [
        ("zerotouch_orders_consumed_total", 301.0),
        ("zerotouch_commands_total{action=\"claim\"}", 300.0),
        ("zerotouch_outcomes_total{action=\"claim\",code=\"\",status=\"succeeded\"}", 300.0),
        ("zerotouch_dead_letters_total{reason=\"not_json\"}", 1.0),
        ("zerotouch_batches_total{action=\"claim\"}", submits as f64),
        ("zerotouch_batch_devices_sum{action=\"claim\"}", 300.0),
        ("zerotouch_outcome_latency_seconds_count", 300.0),
        ("zerotouch_outcome_part_seconds_count{part=\"wait\"}", 300.0),
        ("zerotouch_outcome_part_seconds_count{part=\"operation\"}", 300.0),
        ("zerotouch_outcome_part_seconds_count{part=\"publish\"}", 300.0),
        ("zerotouch_outcome_part_seconds_count{part=\"intake\"}", 301.0),
        ("zerotouch_outcome_part_seconds_count{part=\"call\"}", submits as f64),
        ("zerotouch_outcome_part_seconds_count{part=\"intent\"}", submits as f64),
        ("zerotouch_lanes{phase=\"live\"}", f64::from(PARTITIONS)),
        ("zerotouch_lane_restore_seconds_count", f64::from(PARTITIONS)),
        ("zerotouch_sessions_begun_total{half=\"dispatch\"}", 1.0),
        ("zerotouch_commands_in_memory", 0.0),
        ("zerotouch_account_refused{account=\"main\"}", 0.0),
    ] {
        assert_eq!(value(scrape, series), expected, "{series}");
    }
}

#[test]
fn a_worker_whose_account_is_refused_is_not_ready_says_why_and_stays_alive() {
    let mut world = world("admin-refused", &[], &[]);
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    let denied = json!({"kind": "status", "http": 401});
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": denied}));
    world.send(&single_sales(0..5));
    let reason = wait_for("not ready", SOON, || admin.reason("account:main"));
    assert!(reason.contains("401"), "{reason}");
    assert_eq!(ask(&admin.exposed, "GET", "/readyz", "").0, 503);
    assert!(admin.is_live());
    let scrape = admin.scrape();
    assert_eq!(value(&scrape, "zerotouch_account_refused{account=\"main\"}"), 1.0);
    assert_eq!(value(&scrape, "zerotouch_ready"), 0.0);
    let said = run(&["probe", "ready", "--admin", &admin.url()]);
    assert!(said.code == 1 && said.stdout.contains("401"), "{}{}", said.stdout, said.stderr);
    assert_eq!(run(&["probe", "live", "--admin", &admin.url()]).code, 0);

    world.sandbox.clear_faults();
    admin.wait_until_ready();
    world.wait_for_outcomes(5, SOON);
    world.wait_until_quiet(SOON);
    invariants::hold(&world);
}

#[test]
fn without_kafka_a_worker_is_alive_and_not_ready_and_says_why() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    drop(silent);
    let servers = format!("{:?}", address.to_string());
    let more = [("kafka.bootstrap_servers", &*servers)];
    let settings: Vec<_> = ADMIN.iter().chain(&more).copied().collect();
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = World::without_topics("admin-no-kafka", setup);
    let mut worker = world.worker();
    let admin = Admin::of(&worker);
    wait_for("the reason", SOON, || {
        admin.reason("kafka").filter(|reason| reason.contains("could not be asked"))
    });
    assert_eq!(admin.reason("topics").as_deref(), Some("not checked yet"));
    assert!(admin.is_live());
    promtool(&admin.scrape());
    // A drain has nothing to do, and the process stays until it is told to end.
    let said = run(&["drain", "--admin", &admin.url()]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(admin.is_live() && worker.ended().is_none());
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0);
}

#[test]
fn without_the_api_a_worker_is_alive_and_not_ready_and_says_why() {
    let mut world = world("admin-no-api", &[], &[]);
    let url = world.sandbox.url();
    // From the start: nobody listens, nobody has the name, and what answers speaks no TLS.
    let plain = url.replace("http://", "https://");
    for endpoint in ["http://127.0.0.1:1", "https://api.invalid", &plain] {
        world.set("api.endpoint", &format!("{endpoint:?}"));
        let mut worker = world.worker();
        let admin = Admin::of(&worker);
        let reason = wait_for("the reason", SOON, || admin.reason("account:main"));
        assert!(reason.contains("cannot connect"), "{endpoint}: {reason}");
        assert!(admin.is_live() && worker.ended().is_none());
        assert_eq!(value(&admin.scrape(), "zerotouch_ready_latch{latch=\"account:main\"}"), 0.0);
        worker.signal("-TERM");
        assert_eq!(worker.exit_code(SOON), 0);
        assert!(worker.stderr().contains("the API does not answer this account"));
    }
    // Later, while there is work to do.
    world.set("api.endpoint", &format!("{url:?}"));
    world.set("retry.ambiguous_grace", "\"1s\"");
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    let down = json!({"kind": "status", "http": 503});
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": down}));
    world.send(&single_sales(0..3));
    let reason = wait_for("not ready", SOON, || admin.reason("account:main"));
    assert!(reason.contains("503"), "{reason}");
    assert!(admin.is_live());
    world.sandbox.clear_faults();
    admin.wait_until_ready();
    world.wait_for_outcomes(3, SOON);
    assert!(worker.stderr().contains("the API answers this account"));
    world.wait_until_quiet(SOON);
    invariants::hold(&world);
}

#[test]
fn a_paused_account_sends_nothing_until_it_is_resumed() {
    let mut world = world("admin-paused", &[], &[]);
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    let url = admin.url();
    let said = run(&["pause", "main", "--admin", &url]);
    assert!(said.code == 0 && said.stdout.contains("`resume main`"), "{}", said.stderr);
    let said = run(&["pause", "mian", "--admin", &url]);
    let wanted = "cannot pause the account: there is no account \"mian\"; there are: main\n";
    assert_eq!((said.code, &*said.stderr), (1, wanted), "{}", said.stdout);
    let exposed = format!("http://{}", admin.exposed);
    let said = run(&["pause", "main", "--admin", &exposed]);
    assert!(said.code == 1 && said.stderr.contains("cannot pause"), "{}", said.stderr);
    let account = |admin: &Admin| admin.state()["dispatch"]["report"]["accounts"][0].clone();
    wait_for("held back", SOON, || (account(&admin)["paused"] == true).then_some(()));
    world.send(&single_sales(0..20));
    wait_for("ready to be sent", SOON, || (account(&admin)["ready"][0] == 20).then_some(()));
    // Longer than the longest linger: had it not been for the pause, they would be gone.
    let until = std::time::Instant::now() + Duration::from_secs(3);
    wait_for("that time", SOON, || {
        assert_eq!(world.sandbox.batches("claimAsync"), 0);
        (std::time::Instant::now() > until).then_some(())
    });
    assert_eq!(value(&admin.scrape(), "zerotouch_account_paused{account=\"main\"}"), 1.0);
    assert_eq!(admin.json("/readyz").0, 200, "what a person wants is no fault");
    let said = run(&["resume", "main", "--admin", &url]);
    assert!(said.code == 0 && said.stdout.contains("resumed"), "{}", said.stderr);
    let said = run(&["resume", "mian", "--admin", &url]);
    assert!(said.code == 1 && said.stderr.contains("there are: main"), "{}", said.stderr);
    world.wait_for_outcomes(20, SOON);
    world.wait_until_quiet(SOON);
    invariants::hold(&world);
}

#[test]
fn the_log_level_changes_while_the_worker_runs() {
    let mut world = world("admin-log", &[], &[]);
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    assert_eq!(admin.ask("POST", "/log-level", "debgu").0, 400);
    let (status, body) = admin.ask("POST", "/log-level", "info,zerotouch_worker=trace");
    assert!(status == 200 && body.contains("zerotouch_worker=trace"), "{body}");
    assert!(admin.state()["logLevel"].as_str().unwrap().contains("zerotouch_worker=trace"));
    world.send(&single_sales(0..3));
    world.wait_for_outcomes(3, SOON);
    let log = worker.stderr();
    for line in ["a batch begins", "a call goes out", "a call was answered", "an outcome"] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    // Not even then is an id shown whole.
    for outcome in &world.outcomes {
        assert!(!log.contains(&outcome.text("/device/imei")[..14]), "{log}");
    }
}

#[test]
fn a_drain_by_request_finishes_what_is_under_way_and_the_process_stays_until_sigterm() {
    let mut world = world("admin-drain", &["--operation-time", "5s"], &[("batch.items_max", "10")]);
    let slow = json!({"kind": "latency", "millis": 500});
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": slow}));
    let mut worker = world.worker();
    let admin = Admin::of(&worker);
    world.send(&single_sales(0..200));
    wait_for("calls", SOON, || (world.sandbox.batches("claimAsync") >= 2).then_some(()));
    let said = run(&["drain", "--admin", &admin.url(), "--timeout", "30s"]);
    assert_eq!((said.code, &*said.stdout), (0, "drained\n"), "{}", said.stderr);
    assert!(worker.ended().is_none(), "it would be started again");
    let sent = world.sandbox.batches("claimAsync");
    assert!(sent < 20, "everything was sent before: it shows nothing");
    assert!(admin.is_live() && admin.reason("draining").unwrap().contains("drained"));
    let state = admin.state();
    assert_eq!((&state["drained"], &state["ready"]), (&json!(true), &json!(false)));
    worker.signal("-TERM");
    let told = std::time::Instant::now();
    assert_eq!(worker.exit_code(SOON), 0);
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    let gone = run(&["probe", "live", "--admin", &admin.url()]);
    assert!(gone.code == 1 && gone.stderr.contains("no worker answers"), "{}", gone.stderr);
    for word in ["pause", "resume"] {
        let gone = run(&[word, "main", "--admin", &admin.url()]);
        let said = gone.stderr;
        assert!(gone.code == 1 && said.contains("no worker answers"), "{said}");
        assert!(said.contains("kubectl port-forward"), "{said}");
    }

    world.sandbox.clear_faults();
    let _worker = world.worker();
    world.wait_for_outcomes(200, SOON);
    world.wait_until_quiet(SOON);
    assert_eq!(world.statuses()["succeeded"], 200);
    invariants::hold(&world);
}
