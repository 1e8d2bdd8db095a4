//! What a case is made of, as its file says.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::events::imei;

/// Devices of each case have numbers of their own, so that many can share a sandbox.
const NUMBERS: u64 = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The file's name.
    #[serde(skip)]
    pub(crate) name: String,
    /// The first number of its devices.
    #[serde(skip)]
    pub(crate) base: u64,
    /// What it stands for.
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) later: String,
    #[serde(default)]
    pub(crate) pending: String,
    #[serde(default)]
    pub(crate) not_run: String,
    /// Keys of the configuration, each with its value as TOML.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
    /// The accounts, in place of the usual one.
    pub(crate) accounts: Option<String>,
    /// Flags of the sandbox.
    #[serde(default)]
    pub(crate) sandbox: Vec<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// Files in a directory of its own, `${dir}`.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// Servers that answer what they are told; `${fake:name}` is the address.
    #[serde(default)]
    pub(crate) fakes: BTreeMap<String, Vec<Answer>>,
    /// How long it may take, in seconds.
    #[serde(default = "minute")]
    pub(crate) seconds: u64,
    /// It gets a worker, topics and a sandbox of its own though it has no settings.
    #[serde(default)]
    pub(crate) alone: bool,
    /// A configuration that is only checked; then there is no worker.
    pub(crate) check: Option<Check>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

fn minute() -> u64 {
    60
}

/// What a fake says to requests of which the first line has these words; the last of several
/// statuses goes on.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) to: String,
    pub(crate) statuses: Vec<u16>,
    #[serde(default)]
    pub(crate) body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) connect: bool,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Writes records into the order topic, or another one.
    Send {
        #[serde(default)]
        topic: String,
        records: Vec<Sent>,
    },
    /// Waits until all is worked off, or the time is over.
    Quiet {},
    /// Waits until so many order events are taken in, outcomes written and the like.
    Until {
        outcomes: usize,
    },
    /// Ends the worker in order.
    Stop {},
    /// Starts it again.
    Start {},
    /// A fault of the API, as the sandbox's control route takes it.
    Rule {
        rule: String,
    },
    ClearRules {},
    /// Deletes the records of a topic up to its end, as retention does.
    DeleteRecords {
        topic: String,
    },
    /// Deletes a topic and makes it anew.
    MakeAnew {
        topic: String,
    },
    DeleteTopic {
        topic: String,
    },
    /// Forgets the positions of both groups, as Kafka does after a time.
    ForgetPositions {},
    /// Waits until a fake was asked something.
    Asked {
        fake: String,
    },
    /// Writes a file of the case again.
    WriteFile {
        name: String,
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    #[serde(default)]
    pub(crate) key: String,
    /// Neither this nor `bytes`: no value.
    pub(crate) value: Option<String>,
    pub(crate) bytes: Option<Vec<u8>>,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// A header of so many bytes.
    pub(crate) large_header: Option<usize>,
    /// A value of so many bytes, which is no JSON.
    pub(crate) large_value: Option<usize>,
    /// A key of so many bytes.
    pub(crate) large_key: Option<usize>,
    /// So many small headers.
    pub(crate) many_headers: Option<usize>,
    /// So many of them, `${n}` being the number from 0.
    #[serde(default = "once")]
    pub(crate) times: u64,
}

fn once() -> u64 {
    1
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) outcomes: Vec<Outcome>,
    /// All there are; else those listed.
    pub(crate) outcomes_total: Option<usize>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) dead_letters_total: Option<usize>,
    pub(crate) devices: Vec<Device>,
    pub(crate) metrics: Vec<Bound>,
    /// Successful and other calls of a method at the sandbox.
    pub(crate) calls: Vec<Bound>,
    /// Lines of the log that hold all of the words.
    pub(crate) log: Vec<Vec<String>>,
    pub(crate) never_log: Vec<String>,
    /// What `/readyz` says.
    pub(crate) ready: Option<bool>,
    /// Words in it.
    pub(crate) ready_says: Vec<String>,
    /// Not all is ever worked off, so that it is not waited for.
    pub(crate) unquiet: bool,
    /// Requests that fakes have seen.
    pub(crate) asked: Vec<Asked>,
    /// Of `check-config`.
    pub(crate) code: Option<i32>,
    pub(crate) says: Vec<String>,
    pub(crate) never_says: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    pub(crate) order: Option<String>,
    pub(crate) line: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) action: Option<String>,
    /// One of these, separated by `|`.
    pub(crate) status: String,
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) words: Vec<String>,
    /// Other members, by JSON pointer.
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, toml::Value>,
    #[serde(default = "one")]
    pub(crate) count: usize,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLetter {
    pub(crate) key: Option<String>,
    /// What one of the headers says that the worker writes.
    #[serde(default)]
    pub(crate) header_says: String,
    pub(crate) class: String,
    #[serde(default)]
    pub(crate) words: Vec<String>,
    #[serde(default = "one")]
    pub(crate) count: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device {
    pub(crate) device: String,
    /// Who holds it; nobody if it is blank.
    pub(crate) customer: String,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bound {
    pub(crate) of: String,
    #[serde(default)]
    pub(crate) least: f64,
    pub(crate) most: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) fake: String,
    pub(crate) words: Vec<String>,
    /// At least so often.
    #[serde(default = "one")]
    pub(crate) least: usize,
}

/// What the file says of when it will be right.
pub(crate) enum Mark<'a> {
    None,
    Later(&'a str),
    Pending(&'a str),
}

impl Case {
    pub(crate) fn mark(&self) -> Mark<'_> {
        match (self.later.as_str(), self.pending.as_str()) {
            ("", "") => Mark::None,
            ("", why) => Mark::Pending(why),
            (stage, _) => Mark::Later(stage),
        }
    }

    /// Whether it only writes records, so that it can share a worker with others.
    pub(crate) fn is_shared(&self) -> bool {
        let only_sends = self.steps.iter().all(|step| matches!(step, Step::Send { .. }));
        let is_plain =
            self.settings.is_empty() && self.sandbox.is_empty() && self.accounts.is_none();
        only_sends && is_plain && !self.alone && self.check.is_none() && self.expect.log.is_empty()
    }
}

/// The cases, in the order of their names.
pub(crate) fn load() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/data");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let wanted = std::env::var("CASES").unwrap_or_default();
    let is_wanted = |name: &str| wanted.split(',').any(|start| name.starts_with(start));
    let mut cases = Vec::new();
    for (path, base) in paths.iter().zip((1..).map(|number| number * NUMBERS)) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !is_wanted(&name) {
            continue;
        }
        let text = filled(&std::fs::read_to_string(path).unwrap(), base);
        let case: Case = toml::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        cases.push(Case { name, base, ..case });
    }
    assert!(!cases.is_empty(), "no case begins with {wanted}");
    cases
}

/// The text with the devices of a case: `${imei:3}` is an IMEI, `${devices:10}` a list of ten.
fn filled(text: &str, base: u64) -> String {
    let mut parts = text.split("${");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap();
        match name.split_once(':').map(|(what, number)| (what, number.parse::<u64>())) {
            Some(("imei", Ok(number))) => filled += &imei(base + number),
            Some(("devices", Ok(count))) => {
                let one = |n: u64| format!(r#"{{"line":{n},"imei":"{}"}}"#, imei(base + n));
                filled += &format!("[{}]", (0..count).map(one).collect::<Vec<_>>().join(","));
            }
            _ => filled += &format!("${{{name}}}"),
        }
        filled += rest;
    }
    filled
}

/// The text of one of several records: `${n}` is its number, `${imei}` a device of its own, behind
/// the first hundred of the case.
pub(crate) fn numbered(text: &str, base: u64, number: u64) -> String {
    text.replace("${n}", &number.to_string()).replace("${imei}", &imei(base + 100 + number))
}
