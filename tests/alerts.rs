//! The chart's alerts: accepted by promtool, each with a test that fires and one that does not and
//! with its section of the runbook; alerts and dashboard name only metrics that exist.

// Every function here is part of a test: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

#[path = "support/metrics.rs"]
mod metrics;

use std::collections::BTreeSet;
use std::process::Command;

use metrics::{DASHBOARD, RULES, documented, named, read};

const TESTS: &str = "tests/alerts/alerts_test.yaml";
const RUNBOOK: &str = "docs/runbook.md";
/// What each section of the runbook says, in this order.
const PARTS: [&str; 4] = ["**It means:**", "**Look at:**", "**Do:**", "**Do not:**"];

fn alerts() -> Vec<String> {
    let rules = read(RULES);
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn promtool_accepts_the_rules_and_each_alert_fires_and_stays_quiet_as_it_should() {
    let promtool = |arguments: &[&str]| {
        Command::new("promtool")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .map(|said| {
                let text = String::from_utf8_lossy(&said.stdout).into_owned();
                let all = text + &String::from_utf8_lossy(&said.stderr);
                assert!(said.status.success(), "promtool {arguments:?}: {all}");
            })
    };
    if promtool(&["check", "rules", RULES]).is_err() {
        assert!(std::env::var_os("CI").is_none(), "promtool is missing, and .ci/run installs it");
        eprintln!("NOT TESTED: the alerts, since promtool is missing (apt-get install prometheus)");
        return;
    }
    promtool(&["test", "rules", TESTS]).unwrap();
}

#[test]
fn each_alert_has_its_tests_and_its_section_of_the_runbook() {
    let (alerts, tests, runbook) = (alerts(), read(TESTS), read(RUNBOOK));
    assert!(alerts.len() >= 9, "{alerts:?}");
    let sections: Vec<&str> = runbook.split("\n## ").skip(1).collect();
    let titles: Vec<&str> = sections.iter().filter_map(|text| text.lines().next()).collect();
    assert_eq!(titles, alerts, "the runbook has the sections of the alerts, in their order");
    for (alert, section) in alerts.iter().zip(sections) {
        for what in ["fires", "stays quiet"] {
            assert!(tests.contains(&format!("name: {alert} {what}\n")), "{alert} {what}");
        }
        let link = format!("runbook: {RUNBOOK}#{}\n", alert.to_lowercase());
        assert!(read(RULES).contains(&link), "{alert} links to its section");
        let places: Vec<_> = PARTS.iter().map(|part| section.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{alert}: {places:?}");
    }
}

#[test]
fn alerts_dashboard_and_runbook_name_only_metrics_that_exist() {
    let known = documented();
    let shown: BTreeSet<String> =
        [RULES, DASHBOARD, RUNBOOK].iter().flat_map(|path| named(&read(path))).collect();
    let strange: Vec<_> = shown.difference(&known).collect();
    assert!(strange.is_empty(), "no such metrics: {strange:?}");
    let unseen: Vec<_> = known.difference(&shown).collect();
    eprintln!("in no alert, panel or section of the runbook: {unseen:?}");
}

#[test]
fn each_alert_says_which_installation_it_is_about() {
    let rules = read(RULES);
    let groupings: Vec<&str> = rules.split(" by (").skip(1).collect();
    assert!(groupings.len() > alerts().len(), "{groupings:?}");
    let wrong: Vec<_> = groupings.iter().filter(|by| !by.starts_with("namespace, job")).collect();
    assert!(wrong.is_empty(), "installations are taken together by {wrong:?}");
    for summary in rules.split("summary: >-").skip(1) {
        let (summary, _) = summary.split_once("runbook:").unwrap();
        let named = |label: &str| summary.contains(&format!("$labels.{label}"));
        assert!(named("namespace") && (named("job") || named("pod")), "{summary}");
    }
    assert_eq!(rules.matches("summary:").count(), rules.matches("summary: >-").count());
}

#[test]
fn each_panel_shows_the_namespace_and_the_release_that_were_chosen() {
    let board: serde_json::Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let variables = board["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "namespace", "release"]);
    let chosen = r#"{namespace=~"$namespace", job=~"$release""#;
    let panels = board["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    for query in queries.map(|target| target["expr"].as_str().unwrap()) {
        let metrics = query.matches("zerotouch_").count() + query.matches("process_").count();
        assert_eq!(query.matches(chosen).count(), metrics, "{query}");
        assert!(metrics > 0, "{query}");
    }
}

#[test]
fn metrics_are_found_in_queries() {
    let query = r#"sum(rate(zerotouch_a_seconds_bucket{b="zerotouch_c"}[5m])) > process_d"#;
    let found: Vec<String> = named(query).into_iter().collect();
    assert_eq!(found, ["process_d", "zerotouch_a_seconds", "zerotouch_c"]);
}
