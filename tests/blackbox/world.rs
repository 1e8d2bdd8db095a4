//! One test's world: its own topics, groups, configuration, sandbox and client, on the shared
//! broker; and what was seen in it so far.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, Record};
use crate::kafka::Kafka;
use crate::process::{Process, Said, run, wait_for};
use crate::sandbox::Sandbox;

/// Partitions of the commands topic, and of the order topic.
pub(crate) const PARTITIONS: i32 = 4;
/// How long things may take that take a moment on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

const READ_WAIT: Duration = Duration::from_millis(100);

/// The only account, unless a test names others.
pub(crate) const ACCOUNT: &str = r#"
[[accounts]]
name = "main"
partner_id = 1001
auth = { kind = "none" }
quota_calls = 100000
"#;

/// What a test wants to be different.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup<'a> {
    /// Flags of the sandbox.
    pub(crate) sandbox: &'a [&'a str],
    /// Keys of the configuration, each with its value as TOML.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// The accounts, in place of [`ACCOUNT`].
    pub(crate) accounts: Option<&'a str>,
    /// A broker of its own, in place of the shared one.
    pub(crate) kafka: Option<&'a Kafka>,
}

/// An outcome as a subscriber sees it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) record: Record,
    pub(crate) json: Value,
}

impl Outcome {
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> &str {
        self.text("/status")
    }

    pub(crate) fn action(&self) -> &str {
        self.text("/action")
    }

    pub(crate) fn code(&self) -> &str {
        self.text("/failure/code")
    }
}

/// An order event that was written, and where.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) place: (i32, i64),
    pub(crate) event: Value,
}

/// How far the worker has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) is_quiet: bool,
    pub(crate) commands: usize,
    pub(crate) outcomes: usize,
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) sandbox: Sandbox,
    pub(crate) written: Vec<Written>,
    pub(crate) commands: Vec<Record>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) dead_letters: Vec<Record>,
    /// What the client of the tests calls `bootstrap.servers`.
    pub(crate) servers: String,
    name: String,
    settings: BTreeMap<String, String>,
    accounts: String,
    workers: usize,
    /// Last, so that it outlives the processes that write into it.
    directory: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            eprintln!(
                "--- what the processes wrote is kept in {}",
                self.directory.path().display()
            );
        }
    }
}

impl World {
    /// Makes the topics with `topics create` of the built binary, and starts the sandbox.
    pub(crate) fn new(name: &str, setup: Setup<'_>) -> Self {
        let mut world = Self::without_topics(name, setup);
        let orders = world.topic("orders");
        let config = json!({"max.message.bytes": "8388608"});
        world.client.create_topic(&orders, PARTITIONS, &config);
        let said = world.run(&["topics", "create"], &[]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        world
    }

    /// With a sandbox, and no topics.
    pub(crate) fn without_topics(name: &str, setup: Setup<'_>) -> Self {
        let directory = tempfile::Builder::new().prefix("blackbox-").tempdir().unwrap();
        let servers = setup
            .kafka
            .map_or_else(|| Kafka::shared().bootstrap_servers(), Kafka::bootstrap_servers);
        let sandbox = Sandbox::start(directory.path(), setup.sandbox);
        let mut world = Self {
            client: Client::start(&servers),
            servers: servers.clone(),
            sandbox,
            written: Vec::new(),
            commands: Vec::new(),
            outcomes: Vec::new(),
            dead_letters: Vec::new(),
            name: name.to_owned(),
            settings: BTreeMap::new(),
            accounts: setup.accounts.unwrap_or(ACCOUNT).to_owned(),
            workers: 0,
            directory,
        };
        let text = |text: &str| format!("{text:?}");
        let url = text(&world.sandbox.url());
        let orders = format!("[{:?}]", world.topic("orders"));
        for (key, value) in [
            ("kafka.bootstrap_servers", text(&servers)),
            ("kafka.group_id", text(name)),
            ("kafka.session_timeout", text("2s")),
            ("kafka.transaction_timeout", text("6s")),
            ("kafka.commit_timeout", text("5s")),
            ("topics.orders", orders),
            ("topics.commands", text(&world.topic("commands"))),
            ("topics.ledger", text(&world.topic("ledger"))),
            ("topics.outcomes", text(&world.topic("outcomes"))),
            ("topics.dead_letters", text(&world.topic("dead-letters"))),
            ("topics.partitions", PARTITIONS.to_string()),
            ("topics.replication_factor", "1".to_owned()),
            ("api.endpoint", url),
            // Tests write orders before the first worker starts as well as after that.
            ("intake.start", text("earliest")),
            ("admin.listen", text("off")),
            ("operation.poll_delay_min", text("100ms")),
            ("operation.poll_delay_max", text("500ms")),
        ] {
            world.settings.insert(key.to_owned(), value);
        }
        for (key, value) in setup.settings {
            world.set(key, value);
        }
        world
    }

    /// Changes a key of the configuration, for processes started from now on.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(key.to_owned(), value.to_owned());
    }

    /// Takes a key out of the configuration, for processes started from now on.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn unset(&mut self, key: &str) {
        self.settings.remove(key);
    }

    pub(crate) fn topic(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    /// The consumer group of `intake` or `dispatch`.
    pub(crate) fn group(&self, half: &str) -> String {
        format!("{}.{half}", self.name)
    }

    /// Writes the configuration as it is now.
    pub(crate) fn config(&self) -> PathBuf {
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        for (key, value) in &self.settings {
            let (section, key) = key.split_once('.').unwrap_or(("", key));
            *sections.entry(section).or_default() += &format!("{key} = {value}\n");
        }
        let mut text = String::new();
        for (section, lines) in sections {
            if !section.is_empty() {
                text += &format!("[{section}]\n");
            }
            text += &lines;
        }
        let path = self.directory.path().join("worker.toml");
        // A process that was started just now must not read half of it.
        let part = self.directory.path().join("worker.toml.part");
        std::fs::write(&part, text + &self.accounts).unwrap();
        std::fs::rename(&part, &path).unwrap();
        path
    }

    /// Runs a subcommand that reads the configuration to its end.
    pub(crate) fn run(&self, subcommand: &[&str], flags: &[&str]) -> Said {
        let config = self.config();
        let mut arguments = subcommand.to_vec();
        arguments.extend(["--config", config.to_str().unwrap()]);
        arguments.extend(flags);
        run(&arguments)
    }

    /// Starts a worker.
    pub(crate) fn worker(&mut self) -> Process {
        self.worker_with(&[])
    }

    /// Starts a worker with variables in its environment.
    pub(crate) fn worker_with(&mut self, variables: &[(&str, &str)]) -> Process {
        let (name, config) = self.next_worker();
        let arguments = ["run", "--config", config.to_str().unwrap()];
        Process::start_with(self.directory.path(), &name, &arguments, variables)
    }

    /// Starts a worker by way of a command that runs the one it is given in place of itself.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn worker_by(&mut self, by: &[&str]) -> Process {
        let (name, config) = self.next_worker();
        let arguments = ["run", "--config", config.to_str().unwrap()];
        Process::start_by(self.directory.path(), &name, &arguments, by)
    }

    fn next_worker(&mut self) -> (String, PathBuf) {
        self.workers += 1;
        (format!("worker-{}", self.workers), self.config())
    }

    /// What all workers so far have said on standard error.
    pub(crate) fn said_by_workers(&self) -> Vec<String> {
        let path = |n: usize| self.directory.path().join(format!("worker-{n}.stderr"));
        (1..=self.workers).map(|n| std::fs::read_to_string(path(n)).unwrap()).collect()
    }

    /// Writes order events as plain JSON, keyed by order, and waits until they are acknowledged.
    pub(crate) fn send(&mut self, events: &[Value]) -> Vec<(i32, i64)> {
        let topic = self.topic("orders");
        let record = |event: &Value| Record {
            topic: topic.clone(),
            key: Some(event["orderId"].as_str().unwrap().as_bytes().to_vec()),
            value: Some(event.to_string().into_bytes()),
            ..Record::default()
        };
        let records: Vec<Record> = events.iter().map(record).collect();
        self.send_records(events, &records)
    }

    /// Writes order events in whatever form; `events` says what they mean.
    pub(crate) fn send_records(&mut self, events: &[Value], records: &[Record]) -> Vec<(i32, i64)> {
        let places = self.client.produce(records);
        for (event, place) in events.iter().zip(&places) {
            self.written.push(Written { place: *place, event: event.clone() });
        }
        places
    }

    /// Reads what there is of outcomes, and holds each to the public contract.
    pub(crate) fn read_outcomes(&mut self) -> usize {
        let topic = self.topic("outcomes");
        let records = self.client.read(&topic, READ_WAIT);
        self.take_outcomes(records);
        self.outcomes.len()
    }

    fn take_outcomes(&mut self, records: Vec<Record>) {
        for record in records {
            let json = record.json();
            if let Err(error) = OUTCOME_SCHEMA.validate(&json) {
                panic!("an outcome is not as its schema says: {error}\n{json:#}");
            }
            self.outcomes.push(Outcome { record, json });
        }
    }

    pub(crate) fn read_commands(&mut self) -> usize {
        let topic = self.topic("commands");
        let records = self.client.read(&topic, READ_WAIT);
        self.commands.extend(records);
        self.commands.len()
    }

    pub(crate) fn wait_for_commands(&mut self, count: usize) {
        wait_for(&format!("{count} commands"), SOON, || {
            (self.read_commands() >= count).then_some(())
        });
    }

    pub(crate) fn wait_for_outcomes(&mut self, count: usize, limit: Duration) {
        let mut seen = 0;
        wait_for(&format!("{count} outcomes"), limit, || {
            seen = self.read_outcomes();
            (seen >= count).then_some(())
        });
    }

    /// Whether the positions of both groups have reached the end of what there is, and how many
    /// commands and outcomes there are; without reading them.
    pub(crate) fn progress(&mut self) -> Progress {
        let (commands, outcomes) = (self.topic("commands"), self.topic("outcomes"));
        let orders = self.topic("orders");
        let (intake, dispatch) = (self.group("intake"), self.group("dispatch"));
        let taken_in = reached(
            &self.client.committed(&orders, &intake),
            &ends(self.written.iter().map(|written| written.place)),
        );
        let (commands_seen, next) = self.client.count(&commands, READ_WAIT);
        let decided = reached(&self.client.committed(&commands, &dispatch), &next);
        let (outcomes_seen, _) = self.client.count(&outcomes, READ_WAIT);
        let is_quiet = taken_in.is_some() && decided.is_some();
        Progress { is_quiet, commands: commands_seen, outcomes: outcomes_seen }
    }

    /// Waits until everything that was written is worked off, by the committed offsets of both
    /// groups; then reads whatever there still is.
    pub(crate) fn wait_until_quiet(&mut self, limit: Duration) {
        let (orders, commands) = (self.topic("orders"), self.topic("commands"));
        let (intake, dispatch) = (self.group("intake"), self.group("dispatch"));
        let ends = ends(self.written.iter().map(|written| written.place));
        wait_for("all order events taken in", limit, || {
            reached(&self.client.committed(&orders, &intake), &ends)
        });
        let rest = self.client.rest(&commands);
        self.commands.extend(rest);
        let places = self.commands.iter().map(|c| (c.partition.unwrap(), c.offset));
        let ends = crate::world::ends(places);
        wait_for("all commands decided", limit, || {
            reached(&self.client.committed(&commands, &dispatch), &ends)
        });
        self.read_rest();
    }

    /// Reads all that is committed by now.
    pub(crate) fn read_rest(&mut self) {
        let topic = self.topic("commands");
        let rest = self.client.rest(&topic);
        self.commands.extend(rest);
        let topic = self.topic("outcomes");
        let rest = self.client.rest(&topic);
        self.take_outcomes(rest);
        let topic = self.topic("dead-letters");
        let rest = self.client.rest(&topic);
        self.dead_letters.extend(rest);
    }

    /// Waits until the partitions of the commands topic are shared so, in ascending order.
    pub(crate) fn wait_for_shares(&mut self, shares: &[i32]) {
        let group = self.group("dispatch");
        wait_for(&format!("lanes shared as {shares:?}"), SOON, || {
            (self.client.members(&group) == shares).then_some(())
        });
    }

    /// The outcomes of one line of one event.
    pub(crate) fn outcomes_of(&self, event: &str, line: &str) -> Vec<&Outcome> {
        let of =
            |outcome: &&Outcome| outcome.text("/eventId") == event && outcome.text("/line") == line;
        self.outcomes.iter().filter(of).collect()
    }

    /// The only outcome of the first line of an event.
    pub(crate) fn outcome_of(&self, event: &str) -> &Outcome {
        self.outcome_at(event, "0")
    }

    pub(crate) fn outcome_at(&self, event: &str, line: &str) -> &Outcome {
        let found = self.outcomes_of(event, line);
        assert_eq!(found.len(), 1, "outcomes of {event}, line {line}: {found:#?}");
        found[0]
    }

    /// How many outcomes have each status.
    pub(crate) fn statuses(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for outcome in &self.outcomes {
            *counts.entry(outcome.status()).or_default() += 1;
        }
        counts
    }
}

static OUTCOME_SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/outcome.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

/// The offset behind the last place of each partition.
fn ends(places: impl Iterator<Item = (i32, i64)>) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for (partition, offset) in places {
        let end: &mut i64 = ends.entry(partition).or_default();
        *end = (*end).max(offset + 1);
    }
    ends
}

fn reached(committed: &[i64], ends: &BTreeMap<i32, i64>) -> Option<()> {
    let is_reached = |(partition, end): (&i32, &i64)| committed[*partition as usize] >= *end;
    ends.iter().all(is_reached).then_some(())
}
