//! Rules about the text of this repository that no compiler holds: which room may name which room
//! and which crate, sizes, and what must not be in any file.
//!
//! Works on the text, so it sees `crate::room` and `super::room` but not what a macro makes. Each
//! rule has a test of its own that shows it finds what it is for.

// Every expectation here is a test of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every room, and the rooms that it may name beside itself.
const ROOMS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("wire", &["model"]),
    ("engine", &["model"]),
    ("verify", &["model"]),
    ("sandbox", &["wire", "model"]),
    ("config", &["model", "engine"]),
    ("shell", &["model", "wire", "engine", "config"]),
    ("demo", ALL),
    ("cli", ALL),
    ("main", ALL),
];

const ALL: &[&str] =
    &["model", "wire", "engine", "verify", "sandbox", "config", "shell", "demo", "cli"];

/// What of the engine the configuration may name.
const ENGINE_OPTIONS: [&str; 7] = [
    "options",
    "AccountOptions",
    "GuardMode",
    "Installation",
    "Options",
    "IntakeOptions",
    "StartFrom",
];

/// Crates with which things are done, and where they may be named.
const CRATES: [(&str, &[&str]); 9] = [
    ("tokio", &["shell", "sandbox/http", "sandbox/args", "demo", "cli", "main"]),
    ("tokio_util", &["shell", "sandbox/http", "sandbox/args", "demo", "cli", "main"]),
    ("axum", &["shell", "sandbox/http", "demo"]),
    ("hyper", &["shell"]),
    ("hyper_util", &["shell", "sandbox/http"]),
    // To the configuration it says which properties there are.
    ("rdkafka", &["shell", "demo", "config"]),
    ("reqwest", &["shell"]),
    ("rustls", &["shell"]),
    ("base64", &["shell"]),
];

/// Rooms that only decide: they neither look at a clock nor touch the world.
const PURE: [&str; 4] = ["model", "wire", "engine", "verify"];

/// Words that a room that only decides has no use for.
const WORLD: [&str; 8] =
    ["Instant", "SystemTime", "UNIX_EPOCH", "fs", "net", "process", "thread", "env"];

/// Rooms that may print to standard output and standard error.
const PRINTING: [&str; 3] = ["cli", "demo", "main"];

const CODE_LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 100;

/// Files that may be longer, each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// What is never committed, put together here so that this file does not hold it either.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// How far above a call the attribute that allows it may stand.
const ALLOW_REACH: usize = 8;

/// A Rust file, once as it is and once without comments and texts.
struct Source {
    path: String,
    text: String,
    code: Vec<String>,
    /// Lines from here on are tests.
    tests_from: usize,
}

impl Source {
    fn new(path: &str, text: &str, is_test: bool) -> Self {
        let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let tests_from = if is_test { 0 } else { tests_from(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, tests_from }
    }

    /// The file's place below `src`, without its ending; `None` for tests and benches.
    fn place(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.strip_suffix(".rs")
    }

    fn room(&self) -> Option<&str> {
        self.place()?.split('/').next().filter(|room| *room != "lib")
    }

    /// Whether the file is one of these places, or in one of them.
    fn is_in(&self, places: &[&str]) -> bool {
        let Some(place) = self.place() else { return false };
        places
            .iter()
            .any(|p| place.strip_prefix(p).is_some_and(|r| r.is_empty() || r.starts_with('/')))
    }

    /// Numbered lines of code without the tests at the end.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered().take(self.tests_from)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Where the module of tests at the end of a file begins.
fn tests_from(code: &[String]) -> usize {
    let begins = |index: &usize| {
        let after = &code[index + 1..];
        let item = after.iter().find(|line| !line.trim_start().starts_with("#["));
        let is_tests =
            |line: &String| line.split(' ').any(|word| word == "mod") && line.contains("tests");
        code[*index].starts_with("#[cfg(test)]") && item.is_some_and(is_tests)
    };
    (0..code.len()).find(begins).unwrap_or(code.len())
}

/// The text with comments as spaces and the contents of literals as quotation marks, line by line
/// the same.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (end, filler) = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => (line_end(&chars, at), ' '),
            '/' if chars.get(at + 1) == Some(&'*') => (comment_end(&chars, at), ' '),
            '"' => (text_end(&chars, at), '"'),
            'r' if !follows_word(&chars, at) => match raw_end(&chars, at) {
                Some(end) => (end, '"'),
                None => (at, ' '),
            },
            '\'' => match char_end(&chars, at) {
                Some(end) => (end, '"'),
                None => (at, ' '),
            },
            _ => (at, ' '),
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { filler }));
        at = end;
    }
    out
}

fn follows_word(chars: &[char], at: usize) -> bool {
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    // `br"…"` is a raw text too.
    let before = |n: usize| at.checked_sub(n).map(|index| &chars[index]);
    match before(1) {
        Some('b' | 'c') => before(2).is_some_and(is_word),
        one => one.is_some_and(is_word),
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

fn comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn text_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| {
        chars[*at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((open + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes))
}

/// The end of a character; `None` for a lifetime.
fn char_end(chars: &[char], start: usize) -> Option<usize> {
    match chars.get(start + 1)? {
        '\\' => {
            // The escaped character itself may be a quotation mark.
            let rest = chars.get(start + 3..)?;
            rest.iter().take(10).position(|c| *c == '\'').map(|length| start + 4 + length)
        }
        _ => (chars.get(start + 2) == Some(&'\'')).then_some(start + 3),
    }
}

/// Words and signs of a code, each with its line.
fn tokens<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<(usize, &'a str)> {
    let mut tokens = Vec::new();
    for (number, line) in lines {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((number, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// What is named right after `from::`: each name with the name after it, if there is one.
fn named_below<'a>(tokens: &[(usize, &'a str)], from: &str) -> Vec<(usize, &'a str, Vec<&'a str>)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if tokens[at].1 == from && tokens.get(at + 1).is_some_and(|token| token.1 == "::") {
            for name in group(tokens, at + 2) {
                let below = match tokens.get(name + 1) {
                    Some((_, "::")) => group(tokens, name + 2),
                    _ => Vec::new(),
                };
                let below = below.into_iter().map(|index| tokens[index].1).collect();
                found.push((tokens[name].0, tokens[name].1, below));
            }
        }
    }
    found
}

/// The index of the name here, or of the first names within the braces here.
fn group(tokens: &[(usize, &str)], at: usize) -> Vec<usize> {
    if tokens.get(at).is_none_or(|token| token.1 != "{") {
        return if at < tokens.len() { vec![at] } else { Vec::new() };
    }
    let (mut depth, mut names) = (0, Vec::new());
    for index in at..tokens.len() {
        match tokens[index].1 {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(tokens[index - 1].1, "{" | ",") => names.push(index),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn arrows(source: &Source) -> Vec<String> {
    let Some(room) = source.room() else { return Vec::new() };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![source.at(1, &format!("{room} is no room that this test knows"))];
    };
    let tokens = tokens(source.numbered());
    let mut named = named_below(&tokens, "crate");
    named.extend(named_below(&tokens, "zerotouch_worker"));
    if source.place() == Some(&*format!("{room}/mod")) || source.place() == Some(room) {
        let tokens = self::tokens(source.product());
        named.extend(named_below(&tokens, "super"));
    }
    let mut faults = Vec::new();
    for (line, name, below) in named {
        if !ALL.contains(&name) || name == room {
            continue;
        }
        if !allowed.contains(&name) {
            faults.push(source.at(line, &format!("{room} may not name {name}")));
        } else if (room, name) == ("config", "engine") {
            let others = below.iter().filter(|item| !ENGINE_OPTIONS.contains(item));
            faults.extend(others.map(|item| {
                source.at(line, &format!("config may name the engine's options only, not {item}"))
            }));
        }
    }
    faults
}

fn crates(source: &Source) -> Vec<String> {
    if source.place().is_none() {
        return Vec::new();
    }
    let tokens = tokens(source.numbered());
    let mut faults = Vec::new();
    for window in tokens.windows(2) {
        let [(line, name), (_, sign)] = window else { continue };
        let banned = CRATES.iter().any(|(banned, places)| banned == name && !source.is_in(places));
        if banned && matches!(*sign, "::" | ";") {
            faults.push(source.at(*line, &format!("{name} may not be named here")));
        }
    }
    faults
}

fn world(source: &Source) -> Vec<String> {
    if !source.is_in(&PURE) {
        return Vec::new();
    }
    let tokens = tokens(source.product());
    let mut faults = Vec::new();
    for (line, name, below) in named_below(&tokens, "std") {
        let all = std::iter::once(name).chain(below);
        let used: Vec<_> = all.filter(|word| WORLD.contains(word)).collect();
        faults.extend(used.iter().map(|word| {
            source.at(line, &format!("a room that only decides may not name std's {word}"))
        }));
    }
    for window in tokens.windows(3) {
        if window.iter().map(|token| token.1).eq(["Timestamp", "::", "now"]) {
            faults.push(source.at(window[0].0, "a room that only decides is told the time"));
        }
    }
    faults
}

fn too_long(source: &Source) -> Vec<String> {
    let lines = source.product().filter(|(_, line)| !line.trim().is_empty()).count();
    let is_listed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    match (lines > CODE_LINES_MAX, is_listed) {
        (true, false) => {
            vec![source.at(1, &format!("{lines} lines of code, more than {CODE_LINES_MAX}"))]
        }
        (false, true) => vec![source.at(1, "no longer needs to be listed as a long file")],
        (true, true) | (false, false) => Vec::new(),
    }
}

fn ill_formed(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//! ") {
        faults.push(source.at(1, "does not open with //! and what the file is for"));
    }
    for (index, line) in source.text.lines().enumerate() {
        // The inside of a text of several lines is data.
        let is_data = source.code[index].starts_with('"') && !line.starts_with('"');
        if line.chars().count() > COLUMNS_MAX && !is_data {
            faults.push(source.at(index + 1, &format!("more than {COLUMNS_MAX} columns")));
        }
    }
    let tokens = tokens(source.numbered());
    for window in tokens.windows(3) {
        let words = [window[0].1, window[1].1, window[2].1];
        match words {
            ["super", "::", "super"] => {
                faults.push(source.at(window[0].0, "super::super: name it from crate::"));
            }
            ["#", "[", "ignore"] => {
                faults.push(source.at(window[0].0, "a test that is ignored proves nothing"));
            }
            _ => {}
        }
    }
    faults
}

fn printing(source: &Source) -> Vec<String> {
    if source.place().is_none() || source.is_in(&PRINTING) {
        return Vec::new();
    }
    let tokens = tokens(source.product());
    let prints = |window: &&[(usize, &str)]| {
        window[1].1 == "!" && matches!(window[0].1, "println" | "print" | "eprintln" | "eprint")
    };
    let found = tokens.windows(2).filter(prints);
    found.map(|window| source.at(window[0].0, "printing is for cli, demo and main")).collect()
}

/// An error that says itself what caused it, and names the cause too: whoever prints both says it
/// twice.
fn doubled(source: &Source) -> Vec<String> {
    let lines = source.text.lines().zip(1..);
    let named = lines.filter(|(line, _)| source.place().is_some() && line.contains("{source"));
    named.map(|(_, number)| source.at(number, "name it otherwise, such as {reason}")).collect()
}

fn panics(source: &Source) -> Vec<String> {
    if source.place().is_none() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let calls = [
        (".unwrap()", "unwrap_used"),
        // With a text: others have a method of this name too.
        (".expect(\"", "expect_used"),
        (".expect(&format!", "expect_used"),
    ];
    for (number, line) in source.product() {
        for (call, lint) in calls {
            let above = &source.code[number.saturating_sub(ALLOW_REACH)..number];
            let is_allowed = above.iter().any(|line| line.contains("#[") && line.contains(lint));
            if line.contains(call) && !is_allowed {
                faults.push(source.at(number, &format!("{call} outside tests, not allowed there")));
            }
        }
    }
    faults
}

/// What no text file may hold, whatever its language.
fn words(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let letter = |c: char| c.is_alphanumeric() || c == '_';
        let begins = |at: usize| !line[..at].ends_with(letter);
        let ends = |at: usize| !line[at..].starts_with(letter);
        let unfinished = UNFINISHED.iter().filter(|word| {
            let mut found = line.match_indices(**word);
            found.any(|(at, word)| begins(at) && ends(at + word.len()))
        });
        let paths = MACHINE_PATHS
            .iter()
            .filter(|path| line.match_indices(**path).any(|(at, _)| begins(at)));
        for word in unfinished.chain(paths) {
            faults.push(format!("{path}:{}: holds {word:?}", index + 1));
        }
    }
    faults
}

fn faults(source: &Source) -> Vec<String> {
    [arrows, crates, world, too_long, ill_formed, printing, panics, doubled]
        .iter()
        .flat_map(|rule| rule(source))
        .collect()
}

/// Files that hold tests alone: by name, or declared by a `mod` that only tests compile.
fn test_places(files: &[(String, String)]) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for (path, text) in files {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let name = pair[1].strip_suffix(';').and_then(|item| item.rsplit_once("mod "));
            if let ("#[cfg(test)]", Some((_, name))) = (pair[0], name) {
                let folder = path
                    .strip_suffix("mod.rs")
                    .map_or_else(|| format!("{}/", path.trim_end_matches(".rs")), str::to_owned);
                let _ = places.insert(format!("{folder}{name}"));
            }
        }
    }
    places
}

fn is_test(path: &str, places: &BTreeSet<String>) -> bool {
    let below = |place: &String| {
        path.strip_prefix(place.as_str()).is_some_and(|rest| matches!(&rest[..1], "/" | "."))
    };
    !path.starts_with("src/") || places.iter().any(below)
}

/// All text files of the repository, but for what is built or fetched.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if matches!(&*name, ".git" | ".cache" | "target") || name.ends_with("__pycache__") {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_repository_keeps_its_rules() {
    let files = files();
    let places = test_places(&files);
    let mut found = Vec::new();
    for (path, text) in &files {
        found.extend(words(path, text));
        if path.ends_with(".rs") {
            found.extend(faults(&Source::new(path, text, is_test(path, &places))));
        }
    }
    let rust = files.iter().filter(|(path, _)| path.starts_with("src/") && path.ends_with(".rs"));
    assert!(rust.count() > 100, "the source was not found");
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}

/// What a rule says about a file, without the path.
fn found(path: &str, rule: fn(&Source) -> Vec<String>, text: &str) -> Vec<String> {
    let faults = rule(&Source::new(path, text, false));
    faults.iter().map(|fault| fault.strip_prefix(path).unwrap().to_owned()).collect()
}

#[test]
fn forbidden_rooms_are_found_however_they_are_named() {
    let engine = |text| found("src/engine/lane/mod.rs", arrows, text);
    assert_eq!(engine("use crate::wire::order;"), [":1: engine may not name wire"]);
    assert_eq!(engine("use crate::{\n    model::Offset,\n    shell::{Clock, kafka},\n};").len(), 1);
    assert_eq!(engine("fn f() { crate::config::load() }").len(), 1);
    assert_eq!(engine("#[cfg(test)]\nmod tests { use crate::verify::check; }").len(), 1);
    assert_eq!(
        engine("use crate::model::Offset;\nuse crate::engine::Now;\nuse super::wire;").len(),
        0
    );
    assert_eq!(engine("// use crate::wire;\nconst A: &str = \"crate::wire::x\";").len(), 0);
    assert_eq!(found("src/engine/mod.rs", arrows, "use super::wire::order;").len(), 1);
    assert_eq!(found("src/verify/mod.rs", arrows, "use crate::engine::Now;").len(), 1);
    assert_eq!(found("src/sandbox/state/mod.rs", arrows, "use crate::engine::Now;").len(), 1);
    assert_eq!(found("src/shell/mod.rs", arrows, "use crate::sandbox::State;").len(), 1);
    assert_eq!(found("src/model/mod.rs", arrows, "use crate::wire::json;").len(), 1);
    assert_eq!(found("src/cli.rs", arrows, "use crate::{demo, shell};").len(), 0);
    assert_eq!(found("src/main.rs", arrows, "use zerotouch_worker::{cli, demo};").len(), 0);
    assert_eq!(found("src/attic/mod.rs", arrows, "").len(), 1);
    assert_eq!(found("src/lib.rs", arrows, "pub mod attic;").len(), 0);
    assert_eq!(found("tests/a.rs", arrows, "use zerotouch_worker::demo;").len(), 0);
}

#[test]
fn the_configuration_sees_nothing_of_the_engine_but_its_options() {
    let config = |text| found("src/config/convert.rs", arrows, text);
    assert_eq!(config("use crate::engine::{AccountOptions, GuardMode, Options};").len(), 0);
    assert_eq!(config("use crate::engine::{Options, Worker};").len(), 1);
    assert_eq!(config("fn f() -> crate::engine::Worker {}").len(), 1);
}

#[test]
fn crates_that_do_things_are_found_outside_their_rooms() {
    let in_engine = |text| found("src/engine/worker/mod.rs", crates, text);
    assert_eq!(in_engine("use tokio::time::sleep;"), [":1: tokio may not be named here"]);
    assert_eq!(in_engine("fn f(e: rdkafka::error::KafkaError) {}").len(), 1);
    assert_eq!(in_engine("let tokio = 1; // tokio::spawn").len(), 0);
    assert_eq!(found("src/sandbox/state/mod.rs", crates, "use axum::Router;").len(), 1);
    assert_eq!(found("src/sandbox/http/server.rs", crates, "use axum::Router;").len(), 0);
    assert_eq!(found("src/sandbox/http/server.rs", crates, "use reqwest::Client;").len(), 1);
    assert_eq!(found("src/demo/mod.rs", crates, "use reqwest::Client;").len(), 1);
    assert_eq!(found("src/shell/http/client.rs", crates, "use reqwest::Client;").len(), 0);
    assert_eq!(found("tests/a.rs", crates, "use rdkafka::ClientConfig;").len(), 0);
}

#[test]
fn a_room_that_only_decides_is_told_the_time_and_does_nothing() {
    let engine = |text| found("src/engine/quota.rs", world, text);
    assert_eq!(engine("use std::time::{Duration, Instant};").len(), 1);
    assert_eq!(engine("use std::time::Duration;").len(), 0);
    assert_eq!(engine("fn f() { std::thread::sleep(a) }").len(), 1);
    assert_eq!(engine("let now = Timestamp::now();").len(), 1);
    assert_eq!(engine("#[cfg(test)]\nmod tests { use std::fs; }").len(), 0);
    assert_eq!(found("src/shell/clock.rs", world, "use std::time::Instant;").len(), 0);
}

#[test]
fn long_files_are_found_with_comments_blank_lines_and_tests_left_out() {
    let size = |text: &str| found("src/model/a.rs", too_long, text);
    let full = "let a = 1;\n".repeat(CODE_LINES_MAX);
    assert_eq!(size(&full).len(), 0);
    assert_eq!(size(&format!("{full}let b = 2;")).len(), 1);
    assert_eq!(size(&format!("{full}\n\n// one\n/* two\n three */")).len(), 0);
    assert_eq!(size(&format!("{full}#[cfg(test)]\nmod tests {{\n{full}}}")).len(), 0);
    let test = Source::new("src/model/a/tests.rs", &full.repeat(2), true);
    assert_eq!(too_long(&test).len(), 0);
}

#[test]
fn faults_of_form_are_found() {
    let form = |text: &str| found("src/model/a.rs", ill_formed, &format!("//! What.\n{text}"));
    assert_eq!(form("use crate::model;").len(), 0);
    assert_eq!(form("use super::super::x;"), [":2: super::super: name it from crate::"]);
    assert_eq!(form("#[test]\n#[ignore]\nfn a() {}").len(), 1);
    assert_eq!(form("#[ignore = \"slow\"]").len(), 1);
    assert_eq!(form(&format!("// {}", "a".repeat(98))).len(), 1);
    assert_eq!(form(&format!("// {}", "ä".repeat(97))).len(), 0);
    assert_eq!(form(&format!("const A: &str = \"\n{}\n\";", "a ".repeat(60))).len(), 0);
    assert_eq!(found("src/model/a.rs", ill_formed, "use std::fmt;").len(), 1);
}

#[test]
fn printing_is_found_outside_the_command_line() {
    let engine = |text| found("src/engine/a.rs", printing, text);
    assert_eq!(engine("println!(\"a\");").len(), 1);
    assert_eq!(engine("eprint!(\"a\");").len(), 1);
    assert_eq!(engine("// println!\nwriteln!(f);").len(), 0);
    assert_eq!(engine("#[cfg(test)]\nmod tests { fn a() { println!(); } }").len(), 0);
    assert_eq!(found("src/cli/run.rs", printing, "println!(\"a\");").len(), 0);
}

#[test]
fn calls_that_panic_are_found_unless_they_are_allowed_or_in_tests() {
    let model = |text| found("src/model/a.rs", panics, text);
    assert_eq!(model("let a = b.unwrap();").len(), 1);
    assert_eq!(model("let a = b\n    .expect(\"b\");").len(), 1);
    assert_eq!(model("let a = b.expect(&format!(\"{c}\"));").len(), 1);
    assert_eq!(model("ledger.expect(&order);").len(), 0);
    assert_eq!(model("#[cfg(test)]\npub(crate) mod tests { fn a() { b.unwrap() } }").len(), 0);
    assert_eq!(model("let a = b.unwrap_or(1); // .unwrap()").len(), 0);
    assert_eq!(model("#[allow(clippy::expect_used)]\nlet a = b.expect(\"b\");").len(), 0);
    assert_eq!(model("#[allow(clippy::unwrap_used)]\nlet a = b.expect(\"b\");").len(), 1);
    assert_eq!(model("#[cfg(test)]\nmod tests { fn a() { b.unwrap() } }").len(), 0);
    assert_eq!(found("tests/a.rs", panics, "b.unwrap();").len(), 0);
}

#[test]
fn an_error_that_says_its_cause_and_names_it_too_is_found() {
    let shell = |text| found("src/shell/a.rs", doubled, text);
    assert_eq!(shell("#[error(\"no answer: {source}\")]").len(), 1);
    assert_eq!(shell("#[error(\n\"no answer: {source:?}\"\n)]").len(), 1);
    assert_eq!(shell("#[error(\"no answer: {reason}\")]").len(), 0);
    assert_eq!(found("tests/a.rs", doubled, "format!(\"{source}\")").len(), 0);
}

#[test]
fn words_that_do_not_belong_in_a_commit_are_found() {
    for word in UNFINISHED.iter().chain(&MACHINE_PATHS) {
        assert_eq!(words("a.md", &format!("one\n({word}): two")).len(), 1, "{word}");
        assert_eq!(words("a.md", &format!("a{word}")).len(), 0, "{word}");
    }
    assert_eq!(words("a.md", &format!("{}S", UNFINISHED[0])).len(), 0);
    assert_eq!(words("a.md", &format!("{}a/b", MACHINE_PATHS[0])).len(), 1);
}

#[test]
fn files_of_tests_are_known_by_their_declaration() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let places = test_places(&[
        file("src/wire/mod.rs", "#[cfg(test)]\npub(crate) mod samples;\nmod order;"),
        file("src/wire/order.rs", "#[cfg(test)]\nmod tests;"),
    ]);
    for path in ["src/wire/samples.rs", "src/wire/order/tests.rs", "src/wire/order/tests/a.rs"] {
        assert!(is_test(path, &places), "{path}");
    }
    for path in ["src/wire/order.rs", "src/wire/samples_of.rs", "src/wire/mod.rs"] {
        assert!(!is_test(path, &places), "{path}");
    }
    assert!(is_test("tests/a.rs", &places));
}

#[test]
fn comments_and_literals_are_blanked_and_nothing_else() {
    for (text, blanked) in [
        ("a /* b /* c */ d */ e", "a                   e"),
        ("a // \"b\nc", "a      \nc"),
        (r#"a("b\"c") d"#, r#"a("""""") d"#),
        ("r#\"a\"b\"# c", "\"\"\"\"\"\"\"\" c"),
        ("br\"\\\" c", "b\"\"\"\" c"),
        ("for r in 'a'..='\\'' {}", "for r in \"\"\"..=\"\"\"\" {}"),
        ("fn a<'a>(b: &'a str) {}", "fn a<'a>(b: &'a str) {}"),
        ("\"a\nb\" c", "\"\"\n\"\" c"),
    ] {
        assert_eq!(blank(text), blanked, "{text}");
    }
}
