//! What holds between keys, and the way from settings to [`Config`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::convert::config;
use super::decode::{Decoded, missing};
use super::endpoint::{Endpoint, is_host_port};
use super::librdkafka;
use super::mistakes::{Mistake, Mistakes, Origin};
use super::names::Names;
use super::owned_properties::owned_property;
use super::security::{self, Problem};
use super::settings::{AccountSettings, AuthKind, Settings};
use super::telemetry;
use super::validated::{AdminConfig, Config};
use super::values::{ByteSize, Span};

/// Room for a device in the result of an operation. Google's JSON is indented: one with both IMEIs,
/// an order number and an error takes about 700 bytes; long metadata comes on top.
const REPLY_BYTES_A_DEVICE: u64 = 1_000;

/// Checks what holds between keys. `whole` is false if the file could not be read in full: then
/// nothing is called missing.
pub(super) fn check(
    settings: &Settings,
    decoded: Decoded,
    whole: bool,
) -> Result<Config, Mistakes> {
    let mut checker = Checker { settings, decoded, whole };
    checker.prefix();
    checker.kafka();
    checker.properties();
    checker.topics();
    checker.endpoint();
    checker.accounts();
    checker.default_account();
    checker.orders_of_size();
    checker.grace();
    checker.log_level();
    checker.telemetry();
    checker.admin();
    let Decoded { written, mistakes, .. } = checker.decoded;
    Mistakes::none_of(mistakes)?;
    let leaf = |shown: &str| shown != "a table" && shown != "a list";
    let lines = written.iter().filter(|(_, written)| leaf(&written.shown));
    let explained = lines.map(|(key, w)| format!("{key} = {} ({})", w.shown, w.origin)).collect();
    Ok(config(settings, explained))
}

struct Checker<'a> {
    settings: &'a Settings,
    decoded: Decoded,
    whole: bool,
}

impl Checker<'_> {
    /// Notes a mistake at `key`, unless it or one of `others` already has one: then their values
    /// here are not what was meant.
    fn note(&mut self, key: &str, others: &[&str], shown: &dyn ToString, problem: String) {
        let inside = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|r| r.starts_with('.'));
        let bad = |key: &str| {
            self.decoded.bad.iter().any(|bad| bad == key || inside(bad, key) || inside(key, bad))
        };
        if bad(key) || others.iter().any(|other| bad(other)) {
            return;
        }
        let written = self.decoded.written.get(key);
        let value = written.map_or_else(|| shown.to_string(), |written| written.shown.clone());
        let origin = written.map_or(Origin::Default, |written| written.origin.clone());
        self.decoded.mistakes.push(Mistake {
            key: key.to_owned(),
            value: Some(value),
            origin: Some(origin),
            problem,
        });
    }

    fn note_missing(&mut self, key: &str, expected: &str) {
        if self.whole && !self.decoded.bad.iter().any(|bad| bad == key || key.starts_with(bad)) {
            self.decoded.mistakes.push(Mistake {
                key: key.to_owned(),
                value: None,
                origin: None,
                problem: missing(expected),
            });
        }
    }

    fn at_least(&mut self, key: &str, value: Span, other: &str, least: Span) {
        if value < least {
            let problem = format!("expected at least `{other}`, which is {least}");
            self.note(key, &[other], &value, problem);
        }
    }

    fn shorter(&mut self, key: &str, value: Span, other: &str, bound: Span) {
        if value >= bound {
            let problem = format!("expected less than `{other}`, which is {bound}");
            self.note(key, &[other], &value, problem);
        }
    }

    fn prefix(&mut self) {
        if !is_topic(&self.settings.prefix) {
            let problem = "expected 1 to 200 letters, digits, `.`, `_` or `-`";
            self.note("prefix", &[], &"", problem.to_owned());
            // The names that follow from it are not what was meant.
            self.decoded.bad.push("prefix".to_owned());
        }
    }

    fn kafka(&mut self) {
        let kafka = &self.settings.kafka;
        let key = "kafka.bootstrap_servers";
        match &kafka.bootstrap_servers {
            None => self.note_missing(key, "host:port, several separated by commas"),
            Some(servers) => {
                if let Some(bad) = servers.split(',').map(str::trim).find(|s| !is_host_port(s)) {
                    let problem = if bad.is_empty() {
                        "expected host:port between commas, found nothing".to_owned()
                    } else {
                        "expected host:port, several separated by commas".to_owned()
                    };
                    self.note(key, &[], &"", problem);
                }
            }
        }
        let (poll, transaction) = (kafka.max_poll_interval, kafka.transaction_timeout);
        self.shorter("kafka.transaction_timeout", transaction, "kafka.max_poll_interval", poll);
        let commit = kafka.commit_timeout;
        self.shorter("kafka.commit_timeout", commit, "kafka.transaction_timeout", transaction);
        self.at_least(
            "kafka.max_poll_interval",
            poll,
            "kafka.session_timeout",
            kafka.session_timeout,
        );
        // The lease counts from before the commit of the intent: after a shorter one, a slow commit
        // would leave no time for the call, again and again.
        self.at_least("retry.lease", self.settings.retry.lease, "kafka.commit_timeout", commit);
        let (batch, operation) = (&self.settings.batch, &self.settings.operation);
        self.at_least("batch.linger_max", batch.linger_max, "batch.linger", batch.linger);
        self.at_least(
            "operation.poll_delay_max",
            operation.poll_delay_max,
            "operation.poll_delay_min",
            operation.poll_delay_min,
        );
        let (retry, api) = (&self.settings.retry, &self.settings.api);
        self.at_least(
            "retry.backoff_max",
            retry.backoff_max,
            "retry.backoff_min",
            retry.backoff_min,
        );
        self.at_least(
            "api.request_timeout",
            api.request_timeout,
            "api.connect_timeout",
            api.connect_timeout,
        );
    }

    fn properties(&mut self) {
        let properties = &self.settings.kafka.properties;
        let problems = security::problems(properties);
        for (name, property) in properties {
            let is_told = problems.iter().any(|(told, _)| *told == name.as_str());
            let refusal = match owned_property(name) {
                Some(instead) => Some(instead.to_owned()),
                None if is_told => None,
                None => librdkafka::refusal(name, property.0.expose_secret()),
            };
            if let Some(problem) = refusal {
                self.note(&format!("kafka.properties.{name}"), &[], &"", problem);
            }
        }
        for (name, problem) in problems {
            let key = format!("kafka.properties.{name}");
            match problem {
                Problem::Wrong(problem) => self.note(&key, &[], &"", problem),
                Problem::Missing(expected) => self.note_missing(&key, &expected),
            }
        }
    }

    fn topics(&mut self) {
        let topics = &self.settings.topics;
        if self.settings.intake.enabled && topics.orders.is_empty() {
            let expected = "the topics of order events, or `intake.enabled` = false";
            if self.decoded.written.contains_key("topics.orders") {
                self.note("topics.orders", &[], &"", format!("empty list: expected {expected}"));
            } else {
                self.note_missing("topics.orders", expected);
            }
        }
        let names = Names::of(self.settings);
        let single = [
            ("topics.commands", &names.commands),
            ("topics.ledger", &names.ledger),
            ("topics.outcomes", &names.outcomes),
            ("topics.dead_letters", &names.dead_letters),
        ];
        let single = single.map(|(key, name)| (key.to_owned(), name));
        let orders = topics.orders.iter().enumerate();
        let orders = orders.map(|(index, name)| (format!("topics.orders.{index}"), name));
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        for (key, name) in single.into_iter().chain(orders) {
            if !is_topic(name) {
                let problem = "expected a topic name: 1 to 249 letters, digits, `.`, `_` or `-`";
                self.note(&key, &["prefix"], &format!("{name:?}"), problem.to_owned());
            } else if let Some(first) = seen.get(name.as_str()).cloned() {
                let problem = format!("expected a topic of its own, but `{first}` is the same");
                self.note(&key, &[&first, "prefix"], &format!("{name:?}"), problem);
            } else {
                seen.insert(name, key);
            }
        }
    }

    fn endpoint(&mut self) {
        let api = &self.settings.api;
        match Endpoint::parse(&api.endpoint) {
            Err(problem) => self.note("api.endpoint", &[], &"", problem.to_owned()),
            Ok(endpoint) if endpoint.plain => {
                for (index, account) in self.settings.accounts.iter().enumerate() {
                    if account.auth.kind != AuthKind::None {
                        let key = format!("accounts.{index}.auth.kind");
                        let problem = "expected `none`, since `api.endpoint` is plain http: \
                                       a token must not go over it";
                        self.note(&key, &["api.endpoint"], &auth_word(account), problem.to_owned());
                    }
                }
            }
            Ok(_) => {}
        }
        if let Some(file) = &api.ca_file {
            self.path("api.ca_file", file);
        }
    }

    /// A path, and not what the file should hold.
    fn path(&mut self, key: &str, path: &Path) {
        if !is_path(path) {
            self.note(key, &[], &"", "expected the path of a file, not its content".to_owned());
        }
    }

    fn accounts(&mut self) {
        let accounts = &self.settings.accounts;
        if accounts.is_empty() {
            let expected = "at least one [[accounts]] with `name` and `partner_id`";
            if self.decoded.written.contains_key("accounts") {
                self.note("accounts", &[], &"", format!("empty list: expected {expected}"));
            } else {
                self.note_missing("accounts", expected);
            }
        }
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        let mut partners: BTreeMap<i64, usize> = BTreeMap::new();
        for (index, account) in accounts.iter().enumerate() {
            let key = |name: &str| format!("accounts.{index}.{name}");
            if let Some(first) = names.get(account.name.as_str()) {
                let problem = format!("expected a name of its own, but account {first} has it too");
                self.note(&key("name"), &[&format!("accounts.{first}.name")], &"", problem);
            }
            if let Some(first) = partners.get(&account.partner_id) {
                let problem = format!(
                    "expected a partner of its own, but account {first} is the same: the two \
                     would overrun one quota"
                );
                let other = format!("accounts.{first}.partner_id");
                self.note(&key("partner_id"), &[&other], &"", problem);
            }
            names.entry(&account.name).or_insert(index);
            partners.entry(account.partner_id).or_insert(index);
            self.auth(index, account);
        }
    }

    fn auth(&mut self, index: usize, account: &AccountSettings) {
        let (file, kind) =
            (format!("accounts.{index}.auth.file"), format!("accounts.{index}.auth.kind"));
        match (account.auth.kind, &account.auth.file) {
            (AuthKind::ServiceAccountKey, Some(path)) => self.path(&file, path),
            (AuthKind::ServiceAccountKey, None) => {
                let problem = format!("`{file}` is missing: expected the path of the key file");
                self.note(&kind, &[&file], &auth_word(account), problem);
            }
            (_, Some(_)) => {
                let problem = "expected only with `kind` = \"service_account_key\"";
                self.note(&file, &[&kind], &"", problem.to_owned());
            }
            (_, None) => {}
        }
    }

    fn default_account(&mut self) {
        let names = self.settings.accounts.iter().map(|account| account.name.as_str());
        let names: Vec<_> = names.collect();
        let known = format!("one of {}", names.join(", "));
        match &self.settings.default_account {
            Some(name) if !names.is_empty() && !names.contains(&name.as_str()) => {
                let problem = format!("expected the name of an account, {known}");
                self.note("default_account", &["accounts"], &"", problem);
            }
            None if names.len() > 1 && !self.decoded.bad.iter().any(|b| b.ends_with(".name")) => {
                self.note_missing("default_account", &format!("{known}, as there are several"));
            }
            _ => {}
        }
    }

    fn orders_of_size(&mut self) {
        let (limits, batch) = (&self.settings.limits, &self.settings.batch);
        if limits.commands_max < batch.items_max {
            let problem =
                format!("expected at least `batch.items_max`, which is {}", batch.items_max);
            self.note("limits.commands_max", &["batch.items_max"], &limits.commands_max, problem);
        }
        if limits.command_memory.0 < limits.order_bytes_max.0 {
            let problem = format!(
                "expected at least `limits.order_bytes_max`, which is {}",
                limits.order_bytes_max
            );
            let others = ["limits.order_bytes_max"];
            self.note("limits.command_memory", &others, &limits.command_memory, problem);
        }
        let least = ByteSize(u64::from(batch.items_max) * REPLY_BYTES_A_DEVICE);
        let memory = self.settings.api.response_memory;
        if memory < least {
            let problem = format!(
                "expected at least {least}, {REPLY_BYTES_A_DEVICE} bytes for each device of \
                 `batch.items_max`: a larger reply counts as broken, and each of its devices would \
                 be looked up"
            );
            self.note("api.response_memory", &["batch.items_max"], &memory, problem);
        }
    }

    fn grace(&mut self) {
        let (retry, api) = (&self.settings.retry, &self.settings.api);
        let least = Span(retry.lease.0 + api.request_timeout.0);
        // Google's API is neither on this machine nor reached in plain http.
        let sandbox = Endpoint::parse(&api.endpoint).is_ok_and(|e| e.local || e.plain);
        if let Some(grace) = retry.ambiguous_grace
            && grace < least
            && !sandbox
        {
            let problem = format!(
                "expected at least {least} (`retry.lease` + `api.request_timeout`): sooner, a call \
                 whose reply was lost may still be on its way and would be made twice"
            );
            let others = ["retry.lease", "api.request_timeout", "api.endpoint"];
            self.note("retry.ambiguous_grace", &others, &grace, problem);
        }
    }

    fn telemetry(&mut self) {
        for (key, problem) in telemetry::problems(&self.settings.telemetry) {
            self.note(&key, &[], &"", problem.to_owned());
        }
    }

    fn admin(&mut self) {
        let admin = &self.settings.admin;
        let is_address = |text: &str| text.parse::<SocketAddr>().is_ok();
        if let Some(listen) = admin.listen.as_deref()
            && !is_address(listen)
            && listen != AdminConfig::OFF
        {
            let problem = "expected an address and a port such as 127.0.0.1:9700, or off";
            self.note("admin.listen", &[], &"", problem.to_owned());
        }
        if let Some(expose) = admin.expose.as_deref() {
            let same = admin.listen.as_deref().is_some_and(|listen| listen == expose);
            if !is_address(expose) {
                let problem = "expected an address and a port such as 0.0.0.0:9701";
                self.note("admin.expose", &[], &"", problem.to_owned());
            } else if same && !expose.ends_with(":0") {
                let problem = "expected another port than `admin.listen` has";
                self.note("admin.expose", &["admin.listen"], &"", problem.to_owned());
            }
        }
    }

    fn log_level(&mut self) {
        if !is_log_level(&self.settings.log.level) {
            self.note("log.level", &[], &"", LOG_LEVEL_EXPECTED.to_owned());
        }
    }
}

/// What [`is_log_level`] takes, in words.
pub const LOG_LEVEL_EXPECTED: &str = "expected error, warn, info, debug, trace, or directives such \
                                      as info,zerotouch_worker::engine=debug";

/// Whether a text says what is to be logged.
#[must_use]
pub fn is_log_level(text: &str) -> bool {
    // A word alone would name a target, and silence everything else: it is a level misspelt.
    let is_level = |word: &str| {
        ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|level| level.eq_ignore_ascii_case(word))
    };
    let mut directives = text.split(',').map(str::trim);
    let misspelt = directives.any(|word| !is_level(word) && !word.contains(['=', '[', '}']));
    !misspelt && tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
}

fn auth_word(account: &AccountSettings) -> &'static str {
    match account.auth.kind {
        AuthKind::ServiceAccountKey => "\"service_account_key\"",
        AuthKind::ApplicationDefault => "\"application_default\"",
        AuthKind::MetadataServer => "\"metadata_server\"",
        AuthKind::None => "\"none\"",
    }
}

pub(super) fn is_path(path: &Path) -> bool {
    let text = path.to_string_lossy();
    !text.is_empty() && !text.contains(['\n', '{']) && !text.contains("-----BEGIN")
}

fn is_topic(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=249).contains(&name.len()) && name.chars().all(plain) && name != "." && name != ".."
}
