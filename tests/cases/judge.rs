//! What was seen of a case, held against what it expects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::asking::Admin;
use crate::client::Record;
use crate::fake::Fake;
use crate::manifest::{Bound, Case, Outcome};
use crate::sandbox::Sandbox;
use crate::world::Outcome as Seen;

/// What there is of one case.
pub(crate) struct Evidence<'a> {
    pub(crate) outcomes: Vec<&'a Seen>,
    pub(crate) dead_letters: Vec<&'a Record>,
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) admin: Option<&'a Admin>,
    /// What its workers have logged.
    pub(crate) log: String,
    pub(crate) fakes: &'a BTreeMap<String, Fake>,
}

/// What is not as expected, a sentence each.
pub(crate) fn faults(case: &Case, evidence: &Evidence<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    outcomes(case, evidence, &mut faults);
    dead_letters(case, evidence, &mut faults);
    devices(case, evidence, &mut faults);
    if let Some(admin) = evidence.admin {
        metrics(&case.expect.metrics, admin, &mut faults);
        readiness(case, admin, &mut faults);
    }
    calls(case, evidence, &mut faults);
    for words in &case.expect.log {
        let is_said = |line: &str| words.iter().all(|word| line.contains(word.as_str()));
        if !evidence.log.lines().any(is_said) {
            faults.push(format!("no line of the log has {words:?}"));
        }
    }
    for word in &case.expect.never_log {
        if let Some(line) = evidence.log.lines().find(|line| line.contains(word.as_str())) {
            faults.push(format!("the log has {word:?}: {line}"));
        }
    }
    requests(case, evidence.fakes, &mut faults);
    faults
}

/// Holds what fakes were asked against what they should be asked.
pub(crate) fn requests(case: &Case, fakes: &BTreeMap<String, Fake>, faults: &mut Vec<String>) {
    for asked in &case.expect.asked {
        let fake = &fakes[&asked.fake];
        let count = fake.asked(&asked.words);
        if count < asked.least {
            let (name, words, requests) = (&asked.fake, &asked.words, fake.requests());
            faults.push(format!("{name} was asked {words:?} {count} times; in all {requests:?}"));
        }
    }
}

fn is_meant(expected: &Outcome, seen: &Seen) -> bool {
    let is = |given: &Option<String>, pointer: &str| {
        given.as_ref().is_none_or(|given| given == seen.text(pointer))
    };
    is(&expected.order, "/orderId")
        && is(&expected.line, "/line")
        && is(&expected.event, "/eventId")
        && is(&expected.action, "/action")
}

fn is_right(expected: &Outcome, seen: &Seen) -> bool {
    let message = seen.text("/failure/message");
    expected.status.split('|').any(|status| status == seen.status())
        && expected.code.as_ref().is_none_or(|code| code == seen.code())
        && expected.words.iter().all(|word| message.contains(word.as_str()))
        && expected.fields.iter().all(|(pointer, value)| {
            let value = serde_json::to_value(value).unwrap();
            seen.json.pointer(pointer) == Some(&value)
        })
}

fn outcomes(case: &Case, evidence: &Evidence<'_>, faults: &mut Vec<String>) {
    for expected in &case.expect.outcomes {
        let meant: Vec<_> = evidence.outcomes.iter().filter(|o| is_meant(expected, o)).collect();
        let right = meant.iter().filter(|outcome| is_right(expected, outcome)).count();
        if (meant.len(), right) != (expected.count, expected.count) {
            let seen = meant
                .iter()
                .take(3)
                .map(|o| format!("{} {} {}", o.status(), o.code(), o.text("/failure/message")));
            faults.push(format!(
                "order {:?} line {:?} action {:?}: {} outcomes, {right} of them {} {} {:?}; \
                 wanted {}; seen: {:?}",
                expected.order,
                expected.line,
                expected.action,
                meant.len(),
                expected.status,
                expected.code.as_deref().unwrap_or_default(),
                expected.words,
                expected.count,
                seen.collect::<Vec<_>>(),
            ));
        }
    }
    let ids: BTreeSet<_> = evidence.outcomes.iter().map(|o| o.text("/outcomeId")).collect();
    if ids.len() < evidence.outcomes.len() {
        faults.push(format!("{} outcomes have {} ids", evidence.outcomes.len(), ids.len()));
    }
    let listed = case.expect.outcomes.iter().map(|outcome| outcome.count).sum();
    let total = case.expect.outcomes_total.unwrap_or(listed);
    if evidence.outcomes.len() != total {
        faults.push(format!("{} outcomes in all, wanted {total}", evidence.outcomes.len()));
    }
}

fn dead_letters(case: &Case, evidence: &Evidence<'_>, faults: &mut Vec<String>) {
    let told = |letter: &&Record| {
        let header = |name: &str| letter.header(name).unwrap_or_default().to_owned();
        (header("dead-letter-class"), header("dead-letter-reason"))
    };
    for expected in &case.expect.dead_letters {
        let right = evidence.dead_letters.iter().filter(|letter| {
            let (class, reason) = told(letter);
            let is_key = |key: &String| letter.key.as_deref() == Some(key.as_bytes());
            let mut own = letter.headers.iter().filter(|(n, _)| n.starts_with("dead-letter-"));
            let is_said = own.any(|(_, value)| {
                String::from_utf8_lossy(value).contains(expected.header_says.as_str())
            });
            expected.key.as_ref().is_none_or(is_key)
                && is_said
                && class == expected.class
                && expected.words.iter().all(|word| reason.contains(word.as_str()))
        });
        let right = right.count();
        if right != expected.count {
            let (key, class, words) = (&expected.key, &expected.class, &expected.words);
            let seen: Vec<_> = evidence.dead_letters.iter().take(4).map(told).collect();
            faults.push(format!(
                "{right} dead letters {class} of key {key:?} with {words:?}, wanted {}; seen: \
                 {seen:?}",
                expected.count
            ));
        }
    }
    let listed = case.expect.dead_letters.iter().map(|letter| letter.count).sum();
    let total = case.expect.dead_letters_total.unwrap_or(listed);
    if evidence.dead_letters.len() != total {
        let seen: Vec<_> = evidence.dead_letters.iter().take(4).map(told).collect();
        faults.push(format!(
            "{} dead letters in all, wanted {total}; seen: {seen:?}",
            evidence.dead_letters.len()
        ));
    }
}

fn devices(case: &Case, evidence: &Evidence<'_>, faults: &mut Vec<String>) {
    for expected in &case.expect.devices {
        let device = evidence.sandbox.device(&expected.device).unwrap_or_default();
        let holder = device.pointer("/claim/customerId").map_or_else(String::new, text);
        if holder != expected.customer {
            let (device, wanted) = (&expected.device, &expected.customer);
            faults.push(format!("{device} is held by {holder:?}, wanted {wanted:?}"));
        }
        for (key, wanted) in &expected.metadata {
            let found = device.pointer(&format!("/metadata/{key}")).map_or_else(String::new, text);
            if found != *wanted {
                faults.push(format!("{key} of {} is {found:?} in {device}", expected.device));
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn metrics(bounds: &[Bound], admin: &Admin, faults: &mut Vec<String>) {
    if bounds.is_empty() {
        return;
    }
    let scrape = admin.scrape();
    for bound in bounds {
        let line = scrape.lines().find_map(|line| line.strip_prefix(&bound.of)?.strip_prefix(' '));
        let value = line.and_then(|text| text.parse().ok()).unwrap_or(0.0);
        within(bound, value, faults);
    }
}

fn within(bound: &Bound, value: f64, faults: &mut Vec<String>) {
    if value < bound.least || bound.most.is_some_and(|most| value > most) {
        faults.push(format!("{} is {value}, wanted {} to {:?}", bound.of, bound.least, bound.most));
    }
}

fn calls(case: &Case, evidence: &Evidence<'_>, faults: &mut Vec<String>) {
    if case.expect.calls.is_empty() {
        return;
    }
    let stats = evidence.sandbox.stats();
    for bound in &case.expect.calls {
        let calls = stats["calls"][&bound.of].as_object();
        let count: u64 = calls.into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        within(bound, count as f64, faults);
    }
}

fn readiness(case: &Case, admin: &Admin, faults: &mut Vec<String>) {
    let expect = &case.expect;
    if expect.ready.is_none() && expect.ready_says.is_empty() {
        return;
    }
    let (status, ready) = admin.json("/readyz");
    if expect.ready.is_some_and(|wanted| wanted != (status == 200)) {
        faults.push(format!("/readyz is {status}: {ready}"));
    }
    let said = ready.to_string();
    for word in expect.ready_says.iter().filter(|word| !said.contains(word.as_str())) {
        faults.push(format!("/readyz does not say {word:?}: {said}"));
    }
}
