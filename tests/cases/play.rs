//! Plays cases: those that only send records share a worker, the others have one each.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::Faults;
use crate::admin;
use crate::asking::{ADMIN, Admin};
use crate::client::Record;
use crate::fake::Fake;
use crate::judge::{Evidence, faults, requests};
use crate::kafka::Kafka;
use crate::manifest::{Case, Check, Sent, Step, numbered};
use crate::process::{Process, binary};
use crate::world::{PARTITIONS, SOON, Setup, World};

/// How long what is told may come after what is done.
const PATIENCE: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long all the cases may take that share a worker.
const TOGETHER: Duration = Duration::from_secs(90);

/// A private key, as it stands in the JSON of a key file.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let key = openssl::rsa::Rsa::generate(2048).unwrap();
    let key = openssl::pkey::PKey::from_rsa(key).unwrap().private_key_to_pem_pkcs8().unwrap();
    let text = Value::String(String::from_utf8(key).unwrap()).to_string();
    text.trim_matches('"').to_owned()
});

/// What surrounds a case: its files, and its fakes.
struct Around {
    directory: TempDir,
    fakes: BTreeMap<String, Fake>,
}

impl Around {
    fn new(case: &Case) -> Self {
        let start =
            |(name, answers): (&String, &Vec<_>)| (name.clone(), Fake::start(answers.clone()));
        let directory = tempfile::Builder::new().prefix("case-").tempdir().unwrap();
        let around = Self { directory, fakes: case.fakes.iter().map(start).collect() };
        for (name, text) in &case.files {
            around.write(name, text);
        }
        around
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), self.filled(text)).unwrap();
    }

    /// The text with the places that are known only now.
    fn filled(&self, text: &str) -> String {
        let servers = Kafka::shared().bootstrap_servers();
        let mut text = text.replace("${dir}", self.directory.path().to_str().unwrap());
        text = text.replace("${servers}", &servers);
        if text.contains("${key}") {
            text = text.replace("${key}", KEY.trim());
        }
        for (name, fake) in &self.fakes {
            text = text.replace(&format!("${{fake:{name}}}"), &fake.address);
        }
        text
    }
}

/// A case with a worker, topics and a sandbox of its own, or none of them.
pub(crate) fn alone(case: &Case) -> Vec<String> {
    let around = Around::new(case);
    if let Some(check) = &case.check {
        return checked(case, check, &around);
    }
    let deadline = Instant::now() + Duration::from_secs(case.seconds);
    let mut world = world(case, &around);
    let mut worker = Some(start(&mut world, case, &around));
    for step in &case.steps {
        match step {
            Step::Send { topic, records } => drop(send(&mut world, case, topic, records)),
            Step::Quiet {} => drop(wait_until_quiet(&mut world, deadline)),
            Step::Until { outcomes } => {
                while world.progress().outcomes < *outcomes && Instant::now() < deadline {
                    std::thread::park_timeout(LOOK_EVERY);
                }
            }
            Step::Stop {} => {
                if let Some(mut worker) = worker.take() {
                    worker.signal("-TERM");
                    let _ = worker.exit_code(SOON);
                }
            }
            Step::Start {} => worker = Some(start(&mut world, case, &around)),
            Step::Rule { rule } => world.sandbox.rule(&serde_json::from_str(rule).unwrap()),
            Step::ClearRules {} => world.sandbox.clear_faults(),
            Step::DeleteRecords { topic } => {
                admin::delete_records(&world.servers, &world.topic(topic), PARTITIONS);
            }
            Step::MakeAnew { topic } => {
                admin::make_anew(&world.servers, &world.topic(topic), PARTITIONS);
                world.written.clear();
            }
            Step::DeleteTopic { topic } => {
                admin::delete_topic(&world.servers, &world.topic(topic));
                world.written.clear();
            }
            Step::ForgetPositions {} => {
                for half in ["intake", "dispatch"] {
                    admin::forget_group(&world.servers, &world.group(half));
                }
            }
            Step::Asked { fake } => {
                while around.fakes[fake].requests().is_empty() && Instant::now() < deadline {
                    std::thread::park_timeout(LOOK_EVERY);
                }
            }
            Step::WriteFile { name, text } => around.write(name, text),
        }
    }
    settled(&mut world, worker.as_ref(), case, &around, deadline)
}

/// Looks until all is as expected, or nothing more is to be expected.
fn settled(
    world: &mut World,
    worker: Option<&Process>,
    case: &Case,
    around: &Around,
    deadline: Instant,
) -> Vec<String> {
    let admin = worker.map(Admin::of);
    let mut quiet_since = None;
    loop {
        // Of a topic that is gone, the client knows nothing.
        let is_quiet = !case.expect.unquiet && world.progress().is_quiet;
        world.read_rest();
        let evidence = Evidence {
            outcomes: world.outcomes.iter().collect(),
            dead_letters: world.dead_letters.iter().collect(),
            sandbox: &world.sandbox,
            admin: admin.as_ref(),
            log: world.said_by_workers().concat(),
            fakes: &around.fakes,
        };
        let mut found = faults(case, &evidence);
        let is_done = is_quiet || case.expect.unquiet;
        if is_done && found.is_empty() {
            return found;
        }
        let now = Instant::now();
        let since = if is_quiet { *quiet_since.get_or_insert(now) } else { now };
        if now >= deadline || (now - since >= PATIENCE && !case.expect.unquiet) {
            if !is_done {
                found.push("not all is worked off".to_owned());
            }
            return found;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

fn world(case: &Case, around: &Around) -> World {
    let flags: Vec<&str> = case.sandbox.iter().map(String::as_str).collect();
    let filled: Vec<(&String, String)> =
        case.settings.iter().map(|(key, value)| (key, around.filled(value))).collect();
    let mut settings: Vec<(&str, &str)> =
        filled.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    settings.extend(ADMIN);
    let accounts = case.accounts.as_deref().map(|text| around.filled(text));
    let accounts = accounts.as_deref();
    World::new(
        &case.name,
        Setup { sandbox: &flags, settings: &settings, accounts, ..Setup::default() },
    )
}

fn start(world: &mut World, case: &Case, around: &Around) -> Process {
    let variables: Vec<(&String, String)> =
        case.environment.iter().map(|(name, value)| (name, around.filled(value))).collect();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    world.worker_with(&variables)
}

/// Writes records of a case, and gives their places.
fn send(world: &mut World, case: &Case, topic: &str, records: &[Sent]) -> Vec<(i32, i64)> {
    let topic = world.topic(if topic.is_empty() { "orders" } else { topic });
    let mut written = Vec::new();
    for sent in records {
        for number in 0..sent.times {
            let fill = |text: &String| numbered(text, case.base, number);
            let large = |len: usize| vec![b'x'; len];
            let value = sent.value.as_ref().map(|text| fill(text).into_bytes());
            let value = value.or_else(|| sent.large_value.map(large));
            let key = sent.large_key.map_or_else(|| fill(&sent.key).into_bytes(), large);
            let mut headers: Vec<_> = sent
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
                .collect();
            headers.extend(sent.large_header.map(|len| ("large".to_owned(), large(len))));
            let many = 0..sent.many_headers.unwrap_or_default();
            headers.extend(many.map(|number| (format!("h{number}"), b"v".to_vec())));
            written.push(Record {
                topic: topic.clone(),
                key: Some(key),
                value: value.or_else(|| sent.bytes.clone()),
                headers,
                ..Record::default()
            });
        }
    }
    // Only of the order topic it is waited for until all is taken in.
    let events = if topic == world.topic("orders") { written.len() } else { 0 };
    world.send_records(&vec![Value::Null; events], &written)
}

fn wait_until_quiet(world: &mut World, deadline: Instant) -> bool {
    loop {
        if world.progress().is_quiet {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// A configuration that is checked, and what is said of it.
fn checked(case: &Case, check: &Check, around: &Around) -> Vec<String> {
    around.write("worker.toml", &check.config);
    let config = around.directory.path().join("worker.toml");
    let mut command = binary();
    command.args(["check-config", "--config", config.to_str().unwrap()]);
    if check.connect {
        command.arg("--connect");
    }
    for (name, value) in &case.environment {
        command.env(name, around.filled(value));
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let mut found = Vec::new();
    let code = output.status.code();
    if case.expect.code.is_some_and(|wanted| Some(wanted) != code) {
        found.push(format!("exit status {code:?}"));
    }
    for words in case.expect.says.iter().filter(|words| !said.contains(words.as_str())) {
        found.push(format!("it does not say {words:?}"));
    }
    for words in case.expect.never_says.iter().filter(|words| said.contains(words.as_str())) {
        found.push(format!("it says {words:?}"));
    }
    requests(case, &around.fakes, &mut found);
    if !found.is_empty() {
        found.push(format!("it says: {said}"));
    }
    found
}

/// Cases that only write records, with one worker.
pub(crate) fn together(cases: &[&Case]) -> Faults {
    if cases.is_empty() {
        return Faults::new();
    }
    let mut world = World::new("together", Setup { settings: &ADMIN, ..Setup::default() });
    let worker = world.worker();
    let mut places = Vec::new();
    for case in cases {
        let mut of_case = Vec::new();
        for step in &case.steps {
            if let Step::Send { topic, records } = step {
                of_case.extend(send(&mut world, case, topic, records));
            }
        }
        places.push(of_case);
    }
    let deadline = Instant::now() + TOGETHER;
    let is_quiet = wait_until_quiet(&mut world, deadline);
    let admin = Admin::of(&worker);
    let patient_until = Instant::now() + PATIENCE;
    loop {
        world.read_rest();
        let mut all = Faults::new();
        for (case, places) in cases.iter().zip(&places) {
            let evidence = Evidence {
                outcomes: world.outcomes.iter().filter(|o| is_at(places, &o.json)).collect(),
                dead_letters: world.dead_letters.iter().filter(|d| is_of(places, d)).collect(),
                sandbox: &world.sandbox,
                admin: Some(&admin),
                log: String::new(),
                fakes: &BTreeMap::new(),
            };
            let mut found = faults(case, &evidence);
            if !is_quiet {
                found.push("not all is worked off".to_owned());
            }
            let _ = all.insert(case.name.clone(), found);
        }
        if all.values().all(Vec::is_empty) || Instant::now() >= patient_until {
            return all;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Whether an outcome is of one of these records.
fn is_at(places: &[(i32, i64)], outcome: &Value) -> bool {
    let number = |name: &str| outcome["source"][name].as_i64();
    places.iter().any(|(partition, offset)| {
        number("partition") == Some(i64::from(*partition)) && number("offset") == Some(*offset)
    })
}

/// Whether a dead letter is.
fn is_of(places: &[(i32, i64)], letter: &Record) -> bool {
    let number = |name: &str| letter.header(name).and_then(|text| text.parse::<i64>().ok());
    places.iter().any(|(partition, offset)| {
        number("dead-letter-source-partition") == Some(i64::from(*partition))
            && number("dead-letter-source-offset") == Some(*offset)
    })
}
