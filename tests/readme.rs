//! The README is held to the code: its tables, examples, commands, flags and links.
//! `UPDATE=1` rewrites the part of it that is made from the code.

// Every expectation here is a test of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use zerotouch_worker::config::{ConfigArgs, load_text, reference_table};
use zerotouch_worker::model::{DeadLetterReason, Status};
use zerotouch_worker::wire::schema;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The text below a heading, up to the next one of the same level.
fn section(readme: &str, heading: &str) -> String {
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().unwrap().to_owned()
}

/// Blocks of a language with the line before each.
fn blocks(text: &str, language: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        if line.trim_start() == format!("```{language}") {
            let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
            let block: Vec<&str> = block.collect();
            found.push((before.to_owned(), block.join("\n")));
        }
        before = line;
    }
    found
}

/// What stands in the first column, in backquotes, of the rows of all tables.
fn first_column(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(cell, _)| cell.to_owned()).collect()
}

/// Words with dashes in front, in backquotes or in a shell block.
fn flags(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        if word.len() > 3 && word.starts_with("--") && word.as_bytes()[2].is_ascii_lowercase() {
            let _ = found.insert(word.to_owned());
        }
    }
    found
}

fn help(command: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_zerotouch-worker");
    let output = Command::new(program).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the subcommands, with those below them.
fn subcommands(command: &[&str]) -> Vec<String> {
    let help = help(command);
    let Some((_, list)) = help.split_once("\nCommands:\n") else {
        return vec![command.join(" ")];
    };
    let list = list.split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .flat_map(|name| subcommands(&[command, &[name]].concat()))
        .collect()
}

#[test]
fn the_reference_of_the_configuration_is_fresh() {
    const MARKS: [&str; 2] = ["<!-- config-reference:begin -->\n", "<!-- config-reference:end -->"];
    let readme = readme();
    let (before, rest) = readme.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let fresh = [before, MARKS[0], &reference_table(), MARKS[1], after].concat();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(root().join("README.md"), &fresh).unwrap();
    } else {
        assert!(readme == fresh, "README.md is stale; run the tests with UPDATE=1");
    }
}

#[test]
fn every_example_of_a_record_obeys_its_schema() {
    let readme = readme();
    let blocks = blocks(&readme, "json");
    assert!(blocks.len() >= 6, "{}", blocks.len());
    for (mark, text) in blocks {
        let name = mark.strip_prefix("<!-- checked: ").and_then(|rest| rest.strip_suffix(" -->"));
        let name = name.unwrap_or_else(|| panic!("no mark above {text}"));
        let schema: Value = serde_json::from_str(&schema::schema(name).unwrap()).unwrap();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let example: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let errors: Vec<_> = validator.iter_errors(&example).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {text}");
    }
}

#[test]
fn the_configurations_shown_can_be_loaded() {
    let load = |text: &str| load_text(Some(("README.md", text)), [], &ConfigArgs::default());
    let readme = readme();
    let shown: Vec<_> = blocks(&readme, "toml").into_iter().map(|(_, text)| text).collect();
    let [whole, sandbox, telemetry] = shown.as_slice() else { panic!("{} blocks", shown.len()) };
    let _ = load(whole).unwrap();
    let rest = "[kafka]\nbootstrap_servers = \"k:9092\"\n[topics]\norders = [\"o\"]\n";
    let _ = load(&format!("{sandbox}\n{rest}")).unwrap();
    let _ = load(&format!("{sandbox}\n{rest}\n{telemetry}")).unwrap();
}

#[test]
fn all_statuses_are_explained_and_no_others() {
    let statuses: Vec<_> = Status::ALL.iter().map(|status| status.as_str().to_owned()).collect();
    let listed = first_column(&section(&readme(), "Outcomes"));
    let listed: Vec<_> = listed.into_iter().skip_while(|word| word != "status").skip(1).collect();
    assert_eq!(listed, statuses);
}

#[test]
fn all_classes_of_dead_letters_are_explained_and_no_others() {
    let classes: Vec<_> = DeadLetterReason::ALL.iter().map(|r| r.as_str().to_owned()).collect();
    let listed = first_column(&section(&readme(), "Dead letters"));
    let listed: Vec<_> = listed.into_iter().filter(|word| !word.starts_with("dead-")).collect();
    assert_eq!(listed, classes);
}

#[test]
fn all_failure_codes_are_explained_and_no_others() {
    let schema: Value = serde_json::from_str(&schema::schema("outcome").unwrap()).unwrap();
    let codes: Vec<_> = schema["$defs"]["FailureCode"]["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code["const"].as_str().unwrap().to_owned())
        .collect();
    let listed = first_column(&section(&readme(), "Failure codes"));
    let listed: Vec<_> = listed.into_iter().filter(|code| !code.starts_with("failure")).collect();
    assert_eq!(listed, codes);
}

#[test]
fn every_subcommand_is_mentioned() {
    let readme = readme();
    let subcommands = subcommands(&[]);
    assert!(subcommands.len() >= 3, "{subcommands:?}");
    for name in subcommands {
        let is_shown =
            [format!("zerotouch-worker {name}"), format!("cargo run --release -- {name}")]
                .iter()
                .any(|command| readme.contains(command));
        assert!(is_shown, "README.md does not show {name}");
    }
}

#[test]
fn every_flag_shown_for_the_sandbox_exists() {
    let known = flags(&help(&["sandbox"]));
    let shown = flags(&section(&readme(), "Sandbox"));
    assert!(shown.len() > 20, "{shown:?}");
    assert!(shown.is_subset(&known), "{:?}", shown.difference(&known).collect::<Vec<_>>());
}

#[test]
fn every_schema_is_mentioned() {
    let readme = readme();
    let mut count = 0;
    for entry in fs::read_dir(root().join("schemas")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
            assert!(readme.contains(&format!("({name})")), "README.md has no link to {name}");
            count += 1;
        }
    }
    assert!(count > schema::names().len() - 1, "{count}");
}

/// What links lead to within a page: its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")))
        .map(|heading| heading.to_lowercase().replace(' ', "-").replace([',', '.', '\''], ""))
        .collect()
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    let readme = readme();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let mut count = 0;
    for (link, _) in links.filter(|(link, _)| !link.starts_with("http")) {
        count += 1;
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        assert!(root().join(file).exists(), "no file {link}");
        if !anchor.is_empty() {
            let page = match file {
                "" => readme.clone(),
                file => fs::read_to_string(root().join(file)).unwrap(),
            };
            assert!(anchors(&page).contains(anchor), "no heading for {link}");
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn the_subscriber_is_sound_python_and_knows_every_status() {
    let path = root().join("schemas/examples/subscriber.py");
    let program = "import ast, json, sys
tree = ast.parse(open(sys.argv[1], encoding='utf-8').read(), sys.argv[1])
compile(tree, sys.argv[1], 'exec')
for node in tree.body:
    if isinstance(node, ast.Assign) and node.targets[0].id == 'LINE_STATES':
        print(json.dumps(list(ast.literal_eval(node.value))))";
    let output = Command::new("python3").args(["-c", program]).arg(&path).output();
    let output = output.expect("this test needs python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let known: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    let statuses: Vec<_> = Status::ALL.iter().map(|status| status.as_str().to_owned()).collect();
    assert_eq!(known, statuses);
    let shown = blocks(&readme(), "python").remove(0).1;
    let shown: Vec<&str> = shown.lines().map(str::trim).skip(1).collect();
    let file = fs::read_to_string(&path).unwrap();
    for line in shown.iter().filter(|line| line.starts_with('"') && line.contains("# ")) {
        assert!(file.contains(line), "the sample has no line {line}");
    }
}
