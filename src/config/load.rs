//! File, then environment, then flags: the later one wins, key by key.
//!
//! The schema says what the text of a variable or flag is to become. Libraries that merge layers,
//! such as figment, guess it from the text, so that a password of digits is a number; and they
//! keep no line numbers and stop at the first mistake.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::check::check;
use super::decode::{Decoded, join, unknown};
use super::expected::{Kind, from_text, kind};
use super::mistakes::{Mistake, Mistakes, Origin};
use super::reference::schema_value;
use super::settings::Settings;
use super::source::{Node, Value, read_file, read_inline};
use super::validated::Config;

/// Every variable that begins so is a setting: `ZEROTOUCH__KAFKA__GROUP_ID` is `kafka.group_id`.
/// Two underscores, since Kubernetes sets `ZEROTOUCH_…_SERVICE_HOST` for services of such a name.
pub const VARIABLE_PREFIX: &str = "ZEROTOUCH__";

/// The file that is read if there is one and no other is named.
pub const DEFAULT_FILE: &str = "worker.toml";

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The flags of every command that reads the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file [default: worker.toml, if there is one]
    #[arg(short, long, value_name = "FILE", env = "ZEROTOUCH_CONFIG")]
    pub config: Option<PathBuf>,
    /// Kafka brokers: host:port, several separated by commas
    #[arg(long, value_name = "HOSTS")]
    pub bootstrap_servers: Option<String>,
    /// Consumer group
    #[arg(long, value_name = "NAME")]
    pub group_id: Option<String>,
    /// Topics of order events, separated by commas
    #[arg(long, value_name = "TOPICS")]
    pub orders: Option<String>,
    /// Where the reseller API is
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or EnvFilter directives
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Any key of the file, such as batch.items_max=500; may be given more than once. Do not pass
    /// secrets so: other processes see flags
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Named flags and the keys they set.
    fn named(&self) -> [(&'static str, &'static str, Option<&String>); 6] {
        [
            ("--bootstrap-servers", "kafka.bootstrap_servers", self.bootstrap_servers.as_ref()),
            ("--group-id", "kafka.group_id", self.group_id.as_ref()),
            ("--orders", "topics.orders", self.orders.as_ref()),
            ("--endpoint", "api.endpoint", self.endpoint.as_ref()),
            ("--log-level", "log.level", self.log_level.as_ref()),
            ("--log-format", "log.format", self.log_format.as_ref()),
        ]
    }
}

/// Reads the file that `args` name, then `environment`, then `args`, and checks everything.
///
/// # Errors
/// All mistakes that could be found, at least one.
pub fn load(
    args: &ConfigArgs,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Mistakes> {
    let mut mistakes = Vec::new();
    let file = read(args.config.as_deref(), &mut mistakes);
    let file = file.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    merge(file, environment, args, mistakes)
}

/// Like [`load`], with the file's name and content at hand.
///
/// # Errors
/// All mistakes that could be found, at least one.
pub fn load_text(
    file: Option<(&str, &str)>,
    environment: impl IntoIterator<Item = (String, String)>,
    args: &ConfigArgs,
) -> Result<Config, Mistakes> {
    merge(file, environment, args, Vec::new())
}

/// The file's name and text; `None` if there is none, or it cannot be read, which is noted.
fn read(path: Option<&Path>, mistakes: &mut Vec<Mistake>) -> Option<(String, String)> {
    let given = path.is_some();
    let path = path.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let mut bytes = Vec::new();
    let opened = fs::File::open(path);
    let result = opened.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    let too_large = u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX);
    let name = path.display().to_string();
    let problem = match result {
        Err(error) if error.kind() == ErrorKind::NotFound && !given => return None,
        Err(error) => format!("cannot read the configuration file {name}: {error}"),
        Ok(_) if too_large => format!("the configuration file {name} is larger than 1MiB"),
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => return Some((name, text)),
            Err(_) => format!("the configuration file {name} is not UTF-8"),
        },
    };
    mistakes.push(Mistake { key: String::new(), value: None, origin: None, problem });
    None
}

fn merge(
    file: Option<(&str, &str)>,
    environment: impl IntoIterator<Item = (String, String)>,
    args: &ConfigArgs,
    mut mistakes: Vec<Mistake>,
) -> Result<Config, Mistakes> {
    let schema = schema_value();
    let mut root = Node::empty_table();
    if let Some((path, text)) = file {
        root.merge(read_file(path, text, &mut mistakes));
    }
    // A file that could not be read would make everything in it look missing.
    let whole = mistakes.is_empty();
    for variable in variables(environment) {
        put(&schema, &mut root, variable, &mut mistakes);
    }
    for flag in flags(args, &mut mistakes) {
        put(&schema, &mut root, flag, &mut mistakes);
    }
    let mut decoded = Decoded { mistakes, ..Decoded::default() };
    let json = decoded.decode(&schema, &root);
    let settings = match Settings::deserialize_from(json) {
        Ok(settings) => settings,
        Err(problem) => {
            decoded.mistakes.push(Mistake {
                key: String::new(),
                value: None,
                origin: None,
                problem,
            });
            Settings::default()
        }
    };
    check(&settings, decoded, whole)
}

/// A value from the environment or a flag, and the way to its key.
struct Assignment {
    path: Vec<String>,
    text: String,
    origin: Origin,
    /// What joins the rest of the path where keys are free: variables cannot have dots.
    underscore_is_dot: bool,
}

/// The settings among the variables, in an order that does not depend on the environment's.
fn variables(environment: impl IntoIterator<Item = (String, String)>) -> Vec<Assignment> {
    let ours = environment.into_iter().filter_map(|(name, text)| {
        let path = name.strip_prefix(VARIABLE_PREFIX)?;
        let path = path.split("__").map(str::to_ascii_lowercase).collect();
        let origin = Origin::Variable(Arc::from(name.as_str()));
        Some(Assignment { path, text, origin, underscore_is_dot: true })
    });
    let mut ours: Vec<_> = ours.collect();
    // Indexes count: 2 before 10.
    ours.sort_by_cached_key(|assignment| {
        let segment = |name: &String| (name.len(), name.clone());
        assignment.path.iter().map(segment).collect::<Vec<_>>()
    });
    ours
}

fn flags(args: &ConfigArgs, mistakes: &mut Vec<Mistake>) -> Vec<Assignment> {
    let assignment = |name: &str, key: &str, text: &str| Assignment {
        path: key.trim().split('.').map(str::to_owned).collect(),
        text: text.to_owned(),
        origin: Origin::Flag(Arc::from(name)),
        underscore_is_dot: false,
    };
    let mut assignments = Vec::new();
    for (name, key, text) in args.named() {
        assignments.extend(text.map(|text| assignment(name, key, text)));
    }
    for set in &args.set {
        match set.split_once('=') {
            Some((key, text)) => assignments.push(assignment("--set", key, text)),
            None => mistakes.push(Mistake {
                key: String::new(),
                value: None,
                origin: Some(Origin::Flag(Arc::from("--set"))),
                problem: "expected KEY=VALUE, such as batch.items_max=500".to_owned(),
            }),
        }
    }
    assignments
}

fn put(schema: &Json, root: &mut Node, assignment: Assignment, mistakes: &mut Vec<Mistake>) {
    if let Err((key, problem)) = place(schema, root, "", &assignment.path, &assignment) {
        let origin = Some(assignment.origin);
        mistakes.push(Mistake { key, value: None, origin, problem });
    }
}

/// Walks down to the key and puts the value there. What stands in the way is left as it is: it is
/// a mistake that the check of the tree reports.
fn place(
    schema: &Json,
    node: &mut Node,
    key: &str,
    path: &[String],
    assignment: &Assignment,
) -> Result<(), (String, String)> {
    let Some((name, rest)) = path.split_first() else {
        node.merge(typed(schema, &assignment.text, &assignment.origin));
        return Ok(());
    };
    let inner = join(key, name);
    match (kind(schema), &mut node.value) {
        (Kind::Table(keys), Value::Table(entries)) => {
            let Some(schema) = keys.get(name) else {
                return Err((inner, unknown(name, keys)));
            };
            if matches!(kind(schema), Kind::Scalar) && !rest.is_empty() {
                return Err((inner.clone(), format!("unknown key: `{inner}` has no keys inside")));
            }
            let entry = entries.entry(name.clone());
            let entry = entry.or_insert_with(|| vacant(schema, &assignment.origin));
            place(schema, entry, &inner, rest, assignment)
        }
        (Kind::Map(element), Value::Table(entries)) => {
            let name = path.join(".");
            let name = if assignment.underscore_is_dot { name.replace('_', ".") } else { name };
            remove_dotted(entries, &name);
            entries.insert(name, typed(element, &assignment.text, &assignment.origin));
            Ok(())
        }
        (Kind::List(element), Value::List(nodes)) => match name.parse::<usize>() {
            Ok(index) if index <= nodes.len() => {
                if index == nodes.len() {
                    nodes.push(vacant(element, &assignment.origin));
                }
                place(element, &mut nodes[index], &inner, rest, assignment)
            }
            _ => Err((inner, format!("expected an index from 0 to {}", nodes.len()))),
        },
        (Kind::Scalar, _) => Err((inner, format!("unknown key: `{key}` has no keys inside"))),
        _ => Ok(()),
    }
}

/// Takes out a key that is written as nested tables.
fn remove_dotted(entries: &mut std::collections::BTreeMap<String, Node>, name: &str) {
    entries.remove(name);
    for (position, _) in name.match_indices('.') {
        let (outer, inner) = (&name[..position], &name[position + 1..]);
        if let Some(Value::Table(entries)) = entries.get_mut(outer).map(|node| &mut node.value) {
            remove_dotted(entries, inner);
        }
    }
}

/// What a key holds before something is put into it.
fn vacant(schema: &Json, origin: &Origin) -> Node {
    let value = match kind(schema) {
        Kind::Table(_) | Kind::Map(_) => Value::Table(Default::default()),
        Kind::List(_) => Value::List(Vec::new()),
        Kind::Scalar => Value::Text(String::new()),
    };
    Node { value, origin: origin.clone() }
}

/// The value that a variable's or flag's text stands for.
fn typed(schema: &Json, text: &str, origin: &Origin) -> Node {
    let node = |value| Node { value, origin: origin.clone() };
    match kind(schema) {
        Kind::Scalar => node(from_text(schema, text)),
        Kind::List(element) if !text.trim_start().starts_with('[') => {
            if matches!(kind(element), Kind::Table(_)) && !text.trim().is_empty() {
                return Node::text(text, origin.clone());
            }
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            node(Value::List(parts.map(|part| typed(element, part, origin)).collect()))
        }
        _ => read_inline(text, origin).unwrap_or_else(|| Node::text(text, origin.clone())),
    }
}
