//! The configuration, from the outside: what is reported, what wins, what never prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;
use zerotouch_worker::config::{
    AuthConfig, Config, ConfigArgs, Mistakes, load, load_text, reference_table, schema,
};

const MINIMAL: &str = include_str!("../schemas/examples/minimal.toml");
const COMMENTED: &str = include_str!("../schemas/examples/worker.toml");

fn read(file: &str, variables: &[(&str, &str)], args: &ConfigArgs) -> Result<Config, Mistakes> {
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    load_text(Some(("worker.toml", file)), variables, args)
}

fn accepted(file: &str) -> Config {
    read(file, &[], &ConfigArgs::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn report(file: &str, variables: &[(&str, &str)], sets: &[&str]) -> String {
    let set = sets.iter().map(|set| (*set).to_owned()).collect();
    match read(file, variables, &ConfigArgs { set, ..ConfigArgs::default() }) {
        Ok(config) => panic!("no mistake found: {config:?}"),
        Err(mistakes) => mistakes.to_string(),
    }
}

/// The minimal file with more at its end.
fn minimal_and(more: &str) -> String {
    format!("{MINIMAL}\n{more}")
}

#[test]
fn the_minimal_file_is_enough_and_defaults_fit_together() {
    let config = accepted(MINIMAL);
    assert_eq!(&*config.default_account, "main");
    assert_eq!(&*config.accounts[0].partner_id, "123456789");
    assert_eq!(config.accounts[0].auth, AuthConfig::ApplicationDefault);
    assert_eq!(config.topics.commands, "zerotouch.commands");
    assert_eq!(config.engine.ambiguous_grace, Duration::from_secs(120));
    assert_eq!(config.engine.accounts[0].quota_calls, 1000);
}

#[test]
fn the_prefix_names_what_is_not_named_otherwise() {
    let names = |set: &[&str]| {
        let set = set.iter().map(|one| (*one).to_owned()).collect();
        let args = ConfigArgs { set, ..ConfigArgs::default() };
        let config = load_text(Some(("worker.toml", MINIMAL)), [], &args).unwrap();
        let installation = config.engine.installation.unwrap();
        assert_eq!(*installation.group, *config.kafka.group_id);
        let (topics, kafka) = (config.topics, config.kafka);
        let topics = [topics.commands, topics.ledger, topics.outcomes, topics.dead_letters];
        [topics.join(" "), kafka.group_id, kafka.client_id].join(" ")
    };
    assert_eq!(
        names(&[]),
        "zerotouch.commands zerotouch.ledger zerotouch.outcomes zerotouch.dead-letters \
         zerotouch-worker zerotouch-worker"
    );
    assert_eq!(
        names(&["prefix=shop.two"]),
        "shop.two.commands shop.two.ledger shop.two.outcomes shop.two.dead-letters \
         shop.two-worker shop.two-worker"
    );
    let given = ["prefix=two", "kafka.group_id=g", "topics.ledger=l"];
    assert_eq!(names(&given), "two.commands l two.outcomes two.dead-letters g two-worker");
}

#[test]
fn a_prefix_that_no_topic_can_have_is_one_mistake() {
    let file = format!("prefix = \"a b\"\n{MINIMAL}");
    let mistakes = load_text(Some(("worker.toml", &file)), [], &ConfigArgs::default()).unwrap_err();
    let told = mistakes.to_string();
    assert!(told.contains("prefix = \"a b\" (worker.toml:1)") && told.contains("digits"), "{told}");
    assert!(!told.contains("topics."), "{told}");
}

#[test]
fn defaults_of_the_engine_are_the_engine_s_own() {
    let mut engine = accepted(MINIMAL).engine;
    engine.accounts.clear();
    engine.installation = None;
    assert_eq!(engine, zerotouch_worker::engine::Options::default());
}

#[test]
fn the_commented_example_is_right_and_shows_the_true_defaults() {
    let config = accepted(COMMENTED);
    assert_eq!(&*config.default_account, "emea");
    let key = PathBuf::from("/var/run/secrets/zerotouch/key.json");
    assert_eq!(config.accounts[0].auth, AuthConfig::ServiceAccountKey(key));
    // With every default uncommented nothing changes.
    let uncommented: Vec<_> = COMMENTED
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => rest,
            _ => line,
        })
        .collect();
    let written = accepted(&uncommented.join("\n"));
    assert!(written.explained.len() > config.explained.len() + 30, "{:?}", written.explained);
    let bare = |config| format!("{:?}", Config { explained: Vec::new(), ..config });
    assert_eq!(bare(written), bare(config));
}

#[test]
fn wrong_types_and_bounds_are_all_reported_at_once() {
    let file = r#"
[kafka]
bootstrap_servers = 9092
group_protocol = "clasic"
session_timeout = 15
fetch_memory = "64"
client_id = ""

[topics]
orders = ["orders", 7]
partitions = 0
replication_factor = "three"

[[accounts]]
name = "main"
partner_id = -5
quota_calls = 1.5

[batch]
items_max = 100001
linger = "50"

[log]
format = "xml"

[intake]
enabled = "yes"

[guard]
memory_max = 99999999999999999999
unclaim = 2026-01-01

[operation]
deadline = ["1h"]

[limits]
command_memory = "1TiB"
"#;
    assert_snapshot!(report(file, &[], &[]), @r#"
    18 mistakes in the configuration:
      kafka.bootstrap_servers = 9092 (worker.toml:3): expected host:port, several separated by commas
      kafka.group_protocol = "clasic" (worker.toml:4): expected `classic` or `consumer`
      kafka.session_timeout = 15 (worker.toml:5): expected a duration with unit, such as 500ms or 2s, from 1s to 30m
      kafka.fetch_memory = "64" (worker.toml:6): expected a size with unit, such as 64MiB, from 64KiB to 1GiB
      kafka.client_id = "" (worker.toml:7): expected text of 1 to 249 characters
      topics.orders.1 = 7 (worker.toml:10): expected text
      topics.partitions = 0 (worker.toml:11): expected a whole number from 1 to 10000
      topics.replication_factor = "three" (worker.toml:12): expected a whole number from 1 to 15
      accounts.0.partner_id = -5 (worker.toml:16): expected a whole number of at least 1
      accounts.0.quota_calls = 1.5 (worker.toml:17): expected a whole number from 1 to 1000000
      batch.items_max = 100001 (worker.toml:20): expected a whole number from 1 to 100000
      batch.linger = "50" (worker.toml:21): expected a duration with unit, such as 500ms or 2s, from 0s to 10s
      log.format = "xml" (worker.toml:24): expected `text` or `json`
      intake.enabled = "yes" (worker.toml:27): expected true or false
      guard.memory_max = 99999999999999999999 (worker.toml:30): expected a whole number from 0 to 100000000
      guard.unclaim = 2026-01-01 (worker.toml:31): expected `always`, `unknown` or `never`
      operation.deadline = a list (worker.toml:34): expected a duration with unit, such as 500ms or 2s, from 1s to 168h
      limits.command_memory = "1TiB" (worker.toml:37): expected a size with unit, such as 64MiB, from 1MiB to 16GiB
    "#);
}

#[test]
fn unknown_keys_are_refused_with_a_hint_and_without_their_values() {
    let file = minimal_and(
        r#"
[kafak]
group_id = "x"

[batch]
item_max = 5

[intake]
password = "hunter2"

[api]
"end\npoint" = "hunter2"
"#,
    );
    let variables = [
        ("ZEROTOUCH__KAFKA__GROUPID", "hunter2"),
        ("ZEROTOUCH__LOG", "hunter2"),
        ("ZEROTOUCH__KAFKA__PROPERTIES", "sasl.password=hunter2"),
        ("ZEROTOUCH__LOG__LEVEL__X", "hunter2"),
        ("ZEROTOUCH__ACCOUNTS__5__NAME", "hunter2"),
        ("ZEROTOUCH_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    let sets = ["topics.order=a", "batch.items_max", "=", "accounts.one.name=b"];
    let report = report(&file, &variables, &sets);
    assert!(!report.contains("hunter2"), "{report}");
    assert_snapshot!(report, @r#"
    12 mistakes in the configuration:
      kafak = [redacted] (worker.toml:13): unknown key; did you mean `kafka`?
      batch.item_max = [redacted] (worker.toml:17): unknown key; did you mean `items_max`?
      intake.password = [redacted] (worker.toml:20): unknown key
      api."end\npoint" = [redacted] (worker.toml:23): unknown key; did you mean `endpoint`?
      kafka.groupid (variable ZEROTOUCH__KAFKA__GROUPID): unknown key; did you mean `group_id`?
      accounts.5 (variable ZEROTOUCH__ACCOUNTS__5__NAME): expected an index from 0 to 1
      kafka.properties = [redacted] (variable ZEROTOUCH__KAFKA__PROPERTIES): expected a table
      log = [redacted] (variable ZEROTOUCH__LOG): expected a table
      flag --set: expected KEY=VALUE, such as batch.items_max=500
      topics.order (flag --set): unknown key; did you mean `orders`?
      "" (flag --set): unknown key
      accounts.one (flag --set): expected an index from 0 to 1
    "#);
}

#[test]
fn an_empty_file_says_what_has_to_be_set() {
    assert_snapshot!(report("", &[], &[]), @r#"
    3 mistakes in the configuration:
      kafka.bootstrap_servers: missing: expected host:port, several separated by commas
      topics.orders: missing: expected the topics of order events, or `intake.enabled` = false
      accounts: missing: expected at least one [[accounts]] with `name` and `partner_id`
    "#);
}

#[test]
fn keys_that_do_not_fit_together_are_all_reported() {
    let file = r#"
default_account = "nobody"

[kafka]
bootstrap_servers = "kafka:9092,,other"
transaction_timeout = "2m"
commit_timeout = "5m"

[kafka.properties]
isolation.level = "read_uncommitted"
"group.id" = "mine"

[topics]
orders = ["orders", "zerotouch.ledger", "a topic", "orders"]
outcomes = "zerotouch.commands"

[api]
endpoint = "http://sandbox:8080"
connect_timeout = "2m"

[[accounts]]
name = "a"
partner_id = 1
auth = { kind = "service_account_key" }

[[accounts]]
name = "a"
partner_id = 1
auth = { kind = "none", file = "key.json" }

[[accounts]]
partner_id = 2
auth = { kind = "none" }

[batch]
linger = "3s"

[operation]
poll_delay_min = "20s"

[retry]
backoff_min = "2m"
ambiguous_grace = "1m"

[limits]
commands_max = 10
command_memory = "1MiB"

[log]
level = "info,a=b=c"
"#;
    assert_snapshot!(report(file, &[], &[]), @r#"
    23 mistakes in the configuration:
      kafka.bootstrap_servers = "kafka:9092,,other" (worker.toml:5): expected host:port between commas, found nothing
      kafka.transaction_timeout = "2m" (worker.toml:6): expected less than `kafka.max_poll_interval`, which is 1m
      kafka.commit_timeout = "5m" (worker.toml:7): expected less than `kafka.transaction_timeout`, which is 2m
      kafka.properties.isolation.level = "read_uncommitted" (worker.toml:10): not to be set: the worker's guarantees rest on its own value
      kafka.properties.group.id = "mine" (worker.toml:11): not to be set: use `kafka.group_id`
      topics.orders.1 = "zerotouch.ledger" (worker.toml:14): expected a topic of its own, but `topics.ledger` is the same
      topics.orders.2 = "a topic" (worker.toml:14): expected a topic name: 1 to 249 letters, digits, `.`, `_` or `-`
      topics.orders.3 = "orders" (worker.toml:14): expected a topic of its own, but `topics.orders.0` is the same
      topics.outcomes = "zerotouch.commands" (worker.toml:15): expected a topic of its own, but `topics.commands` is the same
      accounts.0.auth.kind = "service_account_key" (worker.toml:24): expected `none`, since `api.endpoint` is plain http: a token must not go over it
      accounts.0.auth.kind = "service_account_key" (worker.toml:24): `accounts.0.auth.file` is missing: expected the path of the key file
      accounts.1.name = "a" (worker.toml:27): expected a name of its own, but account 0 has it too
      accounts.1.partner_id = 1 (worker.toml:28): expected a partner of its own, but account 0 is the same: the two would overrun one quota
      accounts.1.auth.file = "key.json" (worker.toml:29): expected only with `kind` = "service_account_key"
      accounts.2.name (worker.toml:31): missing: expected text of 1 to 64 characters
      limits.commands_max = 10 (worker.toml:46): expected at least `batch.items_max`, which is 1000
      limits.command_memory = "1MiB" (worker.toml:47): expected at least `limits.order_bytes_max`, which is 8MiB
      log.level = "info,a=b=c" (worker.toml:50): expected error, warn, info, debug, trace, or directives such as info,zerotouch_worker::engine=debug
      retry.lease = 30s (default): expected at least `kafka.commit_timeout`, which is 5m
      batch.linger_max = 2s (default): expected at least `batch.linger`, which is 3s
      operation.poll_delay_max = 10s (default): expected at least `operation.poll_delay_min`, which is 20s
      retry.backoff_max = 1m (default): expected at least `retry.backoff_min`, which is 2m
      api.request_timeout = 1m (default): expected at least `api.connect_timeout`, which is 2m
    "#);
}

#[test]
fn empty_lists_and_several_accounts_without_a_default_are_mistakes() {
    let file = r#"
accounts = []
kafka.bootstrap_servers = "kafka:9092"
topics.orders = []
"#;
    assert_snapshot!(report(file, &[], &[]), @r#"
    2 mistakes in the configuration:
      accounts = a list (worker.toml:2): empty list: expected at least one [[accounts]] with `name` and `partner_id`
      topics.orders = a list (worker.toml:4): empty list: expected the topics of order events, or `intake.enabled` = false
    "#);
    let second = minimal_and("[[accounts]]\nname = \"second\"\npartner_id = 2\n");
    assert_snapshot!(report(&second, &[], &[]), @r#"
    1 mistake in the configuration:
      default_account: missing: expected one of main, second, as there are several
    "#);
}

#[test]
fn a_file_with_errors_of_form_calls_nothing_missing() {
    let file = "[kafka]\nbootstrap_servers = \"kafka:9092\ngroup_id = hunter2\n[batch\n\
                [topics]\npartitions = 0\npartitions = 5\n";
    let report = report(file, &[], &["log.format=xml"]);
    assert!(!report.contains("hunter2"), "{report}");
    assert_snapshot!(report, @r#"
    6 mistakes in the configuration:
      worker.toml:2: not TOML: invalid basic string, expected `"`
      worker.toml:3: not TOML: string values must be quoted, expected literal string
      worker.toml:4: not TOML: unclosed table, expected `]`
      topics.partitions = 0 (worker.toml:6): expected a whole number from 1 to 10000
      worker.toml:7: not TOML: duplicate key
      log.format = "xml" (flag --set): expected `text` or `json`
    "#);
}

#[test]
fn endpoints_that_cannot_be_right_are_refused() {
    let problem = |endpoint: &str| {
        let report = report(MINIMAL, &[("ZEROTOUCH__API__ENDPOINT", endpoint)], &[]);
        report.lines().nth(1).unwrap().trim().to_owned()
    };
    let all = [
        problem("androiddeviceprovisioning.googleapis.com"),
        problem("https://user:hunter2@host"),
        problem("https://host/?key=1"),
        problem("https://"),
        problem("ftp://host"),
        problem("http://localhost:8080"),
    ];
    assert_snapshot!(all.join("\n"), @r#"
    api.endpoint = "androiddeviceprovisioning.googleapis.com" (variable ZEROTOUCH__API__ENDPOINT): expected a URL such as https://host or http://host:port
    api.endpoint = [redacted] (variable ZEROTOUCH__API__ENDPOINT): expected a URL without user name and password
    api.endpoint = "https://host/?key=1" (variable ZEROTOUCH__API__ENDPOINT): expected a URL without query and fragment
    api.endpoint = "https://" (variable ZEROTOUCH__API__ENDPOINT): expected a URL such as https://host or http://host:port
    api.endpoint = "ftp://host" (variable ZEROTOUCH__API__ENDPOINT): expected a URL such as https://host or http://host:port
    accounts.0.auth.kind = "application_default" (default): expected `none`, since `api.endpoint` is plain http: a token must not go over it
    "#);
}

#[test]
fn a_misspelt_log_level_is_a_mistake_and_directives_are_not() {
    let level = |level: &str| {
        let variables = [("ZEROTOUCH__LOG__LEVEL", level)];
        read(MINIMAL, &variables, &ConfigArgs::default()).is_ok()
    };
    for right in ["info", "WARN", "off", "info,librdkafka=debug", "warn,zerotouch_worker::a=trace"]
    {
        assert!(level(right), "{right}");
    }
    for wrong in ["inof", "info,", "librdkafka", "a=loud"] {
        assert!(!level(wrong), "{wrong}");
    }
}

#[test]
fn secrets_print_neither_in_the_report_nor_in_debug() {
    let key = "-----BEGIN PRIVATE KEY-----hunter2";
    let file = minimal_and(&format!(
        "auth = {{ kind = \"service_account_key\", file = \"{key}\" }}\n\
         [kafka.properties]\nsasl.password = [\"hunter2\"]\nsasl.oauth.hunter = 1.5\n\
         ssl.key.password = 20240101\nsecurity.protocol = 1.5\n"
    ));
    let report = report(&file, &[], &["kafka.client_id="]);
    assert!(!report.contains("hunter2"), "{report}");
    assert_snapshot!(report, @r#"
    5 mistakes in the configuration:
      accounts.0.auth.file = [redacted] (worker.toml:12): expected the path of a file, not its content
      kafka.properties.sasl.password = a list (worker.toml:14): expected text, a whole number, or true or false
      kafka.properties.sasl.oauth.hunter = [redacted] (worker.toml:15): expected text, a whole number, or true or false
      kafka.properties.security.protocol = 1.5 (worker.toml:17): expected text, a whole number, or true or false
      kafka.client_id = "" (flag --set): expected text of 1 to 249 characters
    "#);

    let variables = [("ZEROTOUCH__KAFKA__PROPERTIES__SASL_PASSWORD", "0123hunter2")];
    let harmless = minimal_and(
        "[kafka.properties]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"PLAIN\"\n\
         sasl.username = \"worker\"\n",
    );
    let config = read(&harmless, &variables, &ConfigArgs::default()).unwrap();
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
    let lines = config.explained.join("\n");
    assert!(lines.contains("sasl.password = [redacted] (variable ZEROTOUCH__KAFKA"), "{lines}");
    assert!(lines.contains("security.protocol = \"SASL_SSL\" (worker.toml:"), "{lines}");
    let password = &config.kafka.properties["sasl.password"];
    assert_eq!(secrecy::ExposeSecret::expose_secret(password), "0123hunter2");
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let file =
        minimal_and("[batch]\nitems_max = 1\n[log]\nlevel = \"error\"\n[intake]\nrecords_max = 1");
    let variables = [
        ("ZEROTOUCH__BATCH__ITEMS_MAX", "2"),
        ("ZEROTOUCH__INTAKE__RECORDS_MAX", "2"),
        ("ZEROTOUCH__KAFKA__GROUP_ID", "12345"),
    ];
    let args = ConfigArgs {
        set: vec!["batch.items_max=3".to_owned(), "log.level=warn".to_owned()],
        log_level: Some("debug".to_owned()),
        ..ConfigArgs::default()
    };
    let config = read(&file, &variables, &args).unwrap();
    assert_eq!(config.engine.batch_items_max, 3);
    assert_eq!(config.intake.records_max, 2);
    assert_eq!(config.log.level, "warn", "--set is the last word");
    assert_eq!(config.kafka.group_id, "12345", "digits stay text where text is wanted");
}

#[test]
fn the_environment_alone_is_enough() {
    let variables = [
        ("ZEROTOUCH__KAFKA__BOOTSTRAP_SERVERS", "kafka:9092"),
        ("ZEROTOUCH__KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SSL"),
        ("ZEROTOUCH__TOPICS__ORDERS", "a, b"),
        ("ZEROTOUCH__DEFAULT_ACCOUNT", "two"),
        ("ZEROTOUCH__ACCOUNTS__1__NAME", "two"),
        ("ZEROTOUCH__ACCOUNTS__1__PARTNER_ID", "2"),
        ("ZEROTOUCH__ACCOUNTS__0__NAME", "one"),
        ("ZEROTOUCH__ACCOUNTS__0__PARTNER_ID", "1"),
        ("ZEROTOUCH__ACCOUNTS__0__AUTH__KIND", "metadata_server"),
    ];
    let config = load_text(
        None,
        variables.map(|(name, text)| (name.to_owned(), text.to_owned())),
        &ConfigArgs::default(),
    )
    .unwrap();
    assert_eq!(config.topics.orders, ["a", "b"]);
    assert_eq!(config.accounts[0].auth, AuthConfig::MetadataServer);
    assert_eq!(&*config.accounts[1].name, "two");
    assert!(config.kafka.properties.contains_key("security.protocol"));
}

#[test]
fn a_variable_changes_one_account_of_the_file_and_inline_toml_replaces_all() {
    let one = [("ZEROTOUCH__ACCOUNTS__0__QUOTA_CALLS", "7")];
    let config = read(MINIMAL, &one, &ConfigArgs::default()).unwrap();
    assert_eq!(config.engine.accounts[0].quota_calls, 7);
    assert_eq!(&*config.accounts[0].name, "main");

    let all = [("ZEROTOUCH__ACCOUNTS", r#"[{ name = "new", partner_id = 9 }]"#)];
    let config = read(MINIMAL, &all, &ConfigArgs::default()).unwrap();
    assert_eq!(&*config.default_account, "new");
}

#[test]
fn a_variable_replaces_a_property_however_the_file_spells_it() {
    for spelling in ["sasl.username = \"a\"", "\"sasl.username\" = \"a\""] {
        let file = minimal_and(&format!("[kafka.properties]\n{spelling}\n"));
        let variables = [("ZEROTOUCH__KAFKA__PROPERTIES__SASL_USERNAME", "b")];
        let config = read(&file, &variables, &ConfigArgs::default()).unwrap();
        let value = &config.kafka.properties["sasl.username"];
        assert_eq!(secrecy::ExposeSecret::expose_secret(value), "b");
    }
}

#[test]
fn a_short_grace_is_allowed_with_a_sandbox_only() {
    let grace = "[retry]\nambiguous_grace = \"1s\"\n[api]\nendpoint = ";
    let local = format!("{MINIMAL}auth.kind = \"none\"\n{grace}\"http://127.0.0.1:8080/\"\n");
    let config = accepted(&local);
    assert_eq!(config.engine.ambiguous_grace, Duration::from_secs(1));
    assert_eq!(config.api.endpoint, "http://127.0.0.1:8080");
    let report = report(&minimal_and(&format!("{grace}\"https://127.example\"\n")), &[], &[]);
    assert!(report.contains("retry.ambiguous_grace = \"1s\" (worker.toml:"), "{report}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let attempt = |path: PathBuf| {
        let args = ConfigArgs { config: Some(path), ..ConfigArgs::default() };
        load(&args, Vec::new())
    };
    let report = attempt(folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(report.contains("cannot read the configuration file"), "{report}");
    assert!(report.contains("none.toml"), "{report}");
    assert!(!report.contains("missing"), "{report}");

    let binary = folder.path().join("binary.toml");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    assert!(attempt(binary).unwrap_err().to_string().contains("is not UTF-8"));

    let large = folder.path().join("large.toml");
    fs::write(&large, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(attempt(large).unwrap_err().to_string().contains("is larger than 1MiB"));

    let right = folder.path().join("right.toml");
    fs::write(&right, MINIMAL).unwrap();
    assert!(attempt(right).is_ok());
}

#[test]
fn the_schema_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/config.schema.json");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, schema()).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == schema(), "stale: run `UPDATE=1 cargo test --test config`");
}

#[test]
fn the_examples_are_valid_by_the_schema_too() {
    let schema = serde_json::from_str(&schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for example in [MINIMAL, COMMENTED] {
        let value: toml::Value = toml::from_str(example).unwrap();
        let value = serde_json::to_value(value).unwrap();
        let errors: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn the_reference_names_every_key_of_the_commented_example() {
    let table = reference_table();
    let mut section = String::new();
    let mut keys = 0;
    for line in COMMENTED.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).replace("accounts", "accounts[]");
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.contains([' ', '"'])
            && section != "kafka.properties"
            && key != "auth"
        {
            let key = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            assert!(table.contains(&format!("| `{key}` |")), "{key}");
            keys += 1;
        }
    }
    assert!(keys > 40, "{keys}");
    assert!(table.lines().skip(2).all(|row| row.matches(" | ").count() == 3), "{table}");
}

/// Text that is near enough to a configuration to get past the parser.
fn nearly() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "kafka",
        "properties",
        "bootstrap_servers",
        "topics",
        "orders",
        "accounts",
        "auth",
        "kind",
        "batch",
        "linger",
        "items_max",
        "api",
        "endpoint",
        "log",
        "level",
        "ca_file",
        "x",
    ]);
    let value = prop::sample::select(vec![
        "1",
        "-1",
        "\"a\"",
        "\"1s\"",
        "[]",
        "[1]",
        "[{}]",
        "{}",
        "{ kind = \"none\" }",
        "true",
        "1.5",
        "nan",
        "2026-01-01",
        "\"é{@\"",
        "\"http://[\"",
        "0x7fffffffffffffffff",
    ]);
    let path = prop::collection::vec(key, 1..4).prop_map(|keys| keys.join("."));
    let line = prop_oneof![
        (path.clone(), value).prop_map(|(path, value)| format!("{path} = {value}")),
        path.clone().prop_map(|path| format!("[{path}]")),
        path.prop_map(|path| format!("[[{path}]]")),
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

#[test]
fn where_traces_go_is_checked_and_what_opens_the_door_never_prints() {
    let telemetry = "[telemetry]\notlp_endpoint = \"https://c:4317/\"\notlp_protocol = \"http\"\n\
                     otlp_headers = { \"x-api-key\" = \"hunter2\" }\nlogs = true\n\
                     resource = { \"k8s.pod.name\" = \"pod-7\" }\n";
    let config = accepted(&minimal_and(telemetry));
    assert_eq!(config.telemetry.otlp_endpoint.as_deref(), Some("https://c:4317"));
    assert_eq!(config.telemetry.resource["k8s.pod.name"], "pod-7");
    assert_eq!((config.telemetry.logs, config.telemetry.sample_one_in), (Some(true), None));
    assert!(config.telemetry.otlp_headers.contains_key("x-api-key"));
    assert!(!format!("{config:?}").contains("hunter2"));

    let wrong = "[telemetry]\notlp_endpoint = \"collector\"\nsample_one_in = 0\n\
                 otlp_headers = { Authorization = \"hunter2\" }\nca_file = \"{}\"\n";
    let variables = [("ZEROTOUCH__TELEMETRY__OTLP_HEADERS__API_KEY", "hunter2")];
    assert_snapshot!(report(&minimal_and(wrong), &variables, &[]));
    let flag = report(MINIMAL, &[], &["telemetry.otlp_headers=hunter2"]);
    assert!(flag.contains("telemetry.otlp_headers = [redacted]"), "{flag}");
}

#[test]
fn an_unknown_security_protocol_or_mechanism_is_a_mistake_that_names_the_known_ones() {
    let with = |properties: &str| minimal_and(&format!("[kafka.properties]\n{properties}"));
    let wrong = with("security.protocol = \"SASL_SLL\"\nsasl.mechanism = \"SCRAM-SHA-521\"\n");
    let kerberos = with("security.protocol = \"SASL_SSL\"\nsasl.mechanisms = \"GSSAPI\"\n");
    let bare = with("security.protocol = \"sasl_plaintext\"\n");
    let tokens = with("security.protocol = \"SASL_SSL\"\nsasl.mechanism = \"OAUTHBEARER\"\n");
    let reports = [wrong, kerberos, bare, tokens].map(|file| report(&file, &[], &[]));
    assert_snapshot!(reports.join("\n"));
    for right in [
        "security.protocol = \"ssl\"\n",
        "security.protocol = \"SASL_SSL\"\nsasl.mechanism = \"SCRAM-SHA-512\"\n",
        "security.protocol = \"SASL_SSL\"\nsasl.mechanisms = \"PLAIN\"\n",
    ] {
        accepted(&with(right));
    }
}

#[test]
fn a_property_that_librdkafka_does_not_know_or_take_is_a_mistake_that_shows_no_secret() {
    let wrong = "[kafka.properties]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"PLAIN\"\n\
                 sasl.usrname = \"hunter2\"\nsasl.password = \"hunter2\"\nretries = 3\n\
                 linger.ms = \"soon\"\nfetch.min.bytes = \"many\"\nssl.ca.location = \"/not/here\"\n";
    let said = report(&minimal_and(wrong), &[], &[]);
    assert!(!said.contains("hunter2"), "{said}");
    assert_snapshot!(said);
}

#[test]
fn the_reply_about_the_largest_batch_has_to_fit_into_the_memory_for_it() {
    let devices = |items_max: u32| minimal_and(&format!("[batch]\nitems_max = {items_max}\n"));
    let largest = devices(100_000) + "[limits]\ncommands_max = 100000\n";
    assert_snapshot!(report(&largest, &[], &[]));
    accepted(&devices(67_000));
    accepted(&(largest + "[api]\nresponse_memory = \"100MB\"\n"));

    // As indented as Google's: what a device with everything that is usual takes.
    let item = serde_json::json!({
        "claim": {
            "deviceIdentifier": {
                "imei": "490154203237518", "imei2": "356938035643809",
                "serialNumber": "R58N12ABCDE", "manufacturer": "Samsung", "model": "SM-G991B",
            },
            "sectionType": "SECTION_TYPE_ZERO_TOUCH",
            "customerId": "1234567890",
            "deviceMetadata": { "entries": { "ordernumber": "SO-104233" } },
        },
        "result": {
            "errorIdentifier": "DEVICE_ALREADY_CLAIMED",
            "errorMessage": "the device is claimed by another customer of another reseller",
            "status": "SINGLE_DEVICE_STATUS_INVALID_DEVICE_IDENTIFIER",
        },
    });
    let reply = serde_json::json!({
        "name": "operations/1", "done": true, "response": { "perDeviceStatus": vec![item; 1_000] },
    });
    let bytes = serde_json::to_string_pretty(&reply).unwrap().len();
    assert!((600_000..1_000_000).contains(&bytes), "{bytes}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = read(&text, &[], &ConfigArgs::default());
    }

    #[test]
    fn nothing_that_nearly_fits_panics_and_a_report_is_one_line_for_each_mistake(
        file in nearly(),
        name in "ZEROTOUCH__(KAFKA|ACCOUNTS|TOPICS)?(__(0|1|PROPERTIES|ORDERS|[A-Z]{0,3})){0,3}",
        text in any::<String>(),
        set in "(kafka|accounts|api)?([.](0|properties|endpoint|[a-z]{0,3})){0,3}=?.{0,9}",
    ) {
        let args = ConfigArgs { set: vec![set], ..ConfigArgs::default() };
        if let Err(mistakes) = read(&file, &[(&name, &text)], &args) {
            prop_assert!(!mistakes.list().is_empty());
            let lines = mistakes.to_string().lines().count();
            prop_assert_eq!(lines, mistakes.list().len() + 1, "{}", mistakes);
        }
    }
}
