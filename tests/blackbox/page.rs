//! The status page in a real browser: what it shows, and whether a phone can show it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::asking::{ADMIN, Admin, ask, value};
use crate::client::Record;
use crate::events::single_sales;
use crate::invariants;
use crate::process::{Process, wait_for};
use crate::world::{SOON, Setup, World};

/// CSS pixels of a phone, fewer than a browser's window may have.
const PHONE: u32 = 390;

fn world(name: &str) -> World {
    World::new(name, Setup { settings: &ADMIN, ..Setup::default() })
}

fn chromium() -> Option<&'static str> {
    let paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let found = paths.into_iter().find(|path| std::path::Path::new(path).exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "Chromium is missing, and .ci/run installs it");
        eprintln!(
            "NOT TESTED: the status page, since Chromium is missing (apt-get install chromium)"
        );
    }
    found
}

/// The page as the browser shows it; it must have nothing to complain of.
fn rendered(chromium: &str, url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(chromium);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args([
            "--enable-logging=stderr",
            "--hide-scrollbars",
            "--window-size=800,2200",
            "--virtual-time-budget=4000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()));
    if let Some(picture) = std::env::var_os("PICTURE") {
        let mut argument = std::ffi::OsString::from("--screenshot=");
        argument.push(picture);
        command.arg(argument);
    }
    let said = command.arg("--dump-dom").arg(url).output().unwrap();
    let log = String::from_utf8_lossy(&said.stderr);
    let page = String::from_utf8(said.stdout).unwrap();
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert_eq!(console, Vec::<&str>::new());
    page
}

/// The texts of the cells of a row.
fn row(page: &str, table: &str, key: &str) -> Vec<String> {
    let (_, rest) = page.split_once(&format!("id=\"{table}\"")).unwrap();
    let (rows, _) = rest.split_once("</table>").unwrap();
    let (_, rest) = rows
        .split_once(&format!("data-key=\"{key}\""))
        .unwrap_or_else(|| panic!("no row {key} in {table}: {rows}"));
    let (row, _) = rest.split_once("</tr>").unwrap();
    let cells = row.split("<td").skip(1);
    cells.map(|cell| cell.split(['>', '<']).nth(1).unwrap().to_owned()).collect()
}

#[test]
fn the_status_page_shows_the_figures_of_the_state_in_a_real_browser() {
    let Some(chromium) = chromium() else { return };
    let mut world = world("admin-page");
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    let mut sales = single_sales(0..40);
    // What an order says is text on the page, never markup.
    let markup = "<img src=x onerror=console.error('injected')>";
    sales[0]["orderId"] = json!(markup);
    world.send(&sales);
    world.wait_for_outcomes(40, SOON);
    world.wait_until_quiet(SOON);
    let state = wait_for("a quiet state", SOON, || {
        let state = admin.state();
        (state["dispatch"]["report"]["commands"] == 0).then_some(state)
    });
    let page = rendered(chromium, &format!("{}/", admin.url()));
    assert!(
        page.contains(r#"<span id="verdict" role="status" class="good">ready</span>"#),
        "{page}"
    );
    let counters = &state["counters"];
    for (key, name) in [
        ("orders", "order events"),
        ("commands", "commands written"),
        ("outcomes", "outcomes written"),
        ("submits", "batches sent"),
        ("polls", "polls"),
    ] {
        assert_eq!(row(&page, "moving", name)[1], counters[key].to_string(), "{name}");
    }
    assert_eq!(row(&page, "outcomes", "succeeded")[1], "40");
    let account = row(&page, "accounts", "main");
    assert_eq!((&*account[1], &*account[3]), ("works", "0"));
    // Calls flow in while nobody makes any.
    let left = |state: &Value| {
        state["dispatch"]["report"]["accounts"][0]["quotaTokens"].as_f64().unwrap().floor()
    };
    let shown: f64 = account[2].replace(',', "").parse().unwrap();
    assert!((left(&state)..=left(&admin.state())).contains(&shown), "{shown}");
    for lane in state["dispatch"]["report"]["lanes"].as_array().unwrap() {
        let row = row(&page, "lanes", &lane["partition"].to_string());
        let watermark = lane["watermark"].to_string();
        assert_eq!(row[1..5], ["live", "0", "0", &watermark], "{lane}");
    }
    assert!(page.contains(r#"<ul id="stuck"><li class="good">nothing</li></ul>"#), "{page}");
    invariants::hold(&world);
}

#[test]
fn what_needs_a_person_is_among_what_is_stuck_and_a_long_reason_is_folded() {
    let Some(chromium) = chromium() else { return };
    let mut world = world("admin-person");
    let fault = json!({"kind": "status", "http": 403});
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": fault}));
    let garbage =
        Record { topic: world.topic("orders"), value: Some(b"{".to_vec()), ..Record::default() };
    world.send_records(&[], &[garbage]);
    world.send(&single_sales(0..1));
    let worker = world.worker();
    let admin = Admin::of(&worker);
    let reason = wait_for("the refusal", SOON, || admin.reason("account:main"));
    wait_for("the dead letter", SOON, || {
        (admin.state()["counters"]["deadLetters"] == 1).then_some(())
    });
    let page = rendered(chromium, &format!("{}/", admin.url()));
    let (_, rest) = page.split_once(r#"<ul id="stuck">"#).unwrap();
    let (stuck, _) = rest.split_once("</ul>").unwrap();
    assert!(
        stuck.contains("1 dead letter since 2") && stuck.contains("dead-letter-reason"),
        "{stuck}"
    );
    assert!(stuck.contains("See ZerotouchDeadLetters in the runbook"), "{stuck}");
    assert!(!stuck.contains("unresolved"), "there is none: {stuck}");
    // In full only once it is opened.
    let (_, rest) = stuck.split_once("<details><summary>").expect("a reason that is folded");
    let (short, rest) = rest.split_once("</span><span class=\"whole\">").unwrap();
    let (whole, _) = rest.split_once("</span>").unwrap();
    assert!(short.ends_with('…') && short.len() < whole.len(), "{stuck}");
    assert!(whole.contains(&reason), "{stuck}");
}

/// Shows the page in a frame as wide as a phone, since no window may be that narrow; and what was
/// measured there. Everything else is passed on, the state after a change.
fn phone(admin: &Admin, change: fn(&mut Value)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/phone", listener.local_addr().unwrap());
    let admin = admin.local.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let admin = admin.clone();
            thread::spawn(move || drop(answer(stream.unwrap(), &admin, change)));
        }
    });
    url
}

fn answer(mut stream: TcpStream, admin: &str, change: fn(&mut Value)) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/phone" => (200, FRAME.replace("WIDTH", &PHONE.to_string())),
        "/state" => {
            let (status, body) = ask(admin, "GET", path, "");
            let mut state = serde_json::from_str(&body)?;
            change(&mut state);
            (status, state.to_string())
        }
        path => ask(admin, "GET", path, ""),
    };
    let kind = if path == "/state" { "application/json" } else { "text/html; charset=utf-8" };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

const FRAME: &str = r#"<!doctype html>
<meta charset="utf-8"><link rel="icon" href="data:,">
<body style="margin: 0">
<iframe id="phone" src="/" width="WIDTH" height="2200" style="border: 0"></iframe>
<script type="application/json" id="measured"></script>
<script>
setTimeout(async () => {
  const frame = document.getElementById('phone').contentWindow;
  const page = frame.document;
  // How many lines of text a cell takes.
  const lines = (cell) => {
    const range = page.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map((rect) => Math.round(rect.top))).size;
  };
  const cells = (id) => [...page.querySelectorAll(`#${id} td`)].map((cell) => ({
    label: cell.dataset.label, text: cell.textContent, lines: lines(cell),
    shown: frame.getComputedStyle(cell, '::before').content,
  }));
  // Of what is folded, before and after somebody opens it; and whether it stays open.
  const folded = () => page.querySelector('#accounts details');
  const heights = [];
  if (folded()) {
    heights.push(lines(folded()));
    folded().querySelector('summary').click();
    heights.push(lines(folded()));
    frame.show(await (await frame.fetch('/state')).json());
    heights.push(lines(folded()));
  }
  document.getElementById('measured').textContent = JSON.stringify({
    width: frame.innerWidth,
    scrollWidth: page.scrollingElement.scrollWidth,
    wide: [...page.querySelectorAll('section')].filter((s) => s.scrollWidth > s.clientWidth)
      .map((s) => s.querySelector('h2').textContent),
    heights, lanes: cells('lanes'), heads: cells('heads'),
    stuck: [...page.querySelectorAll('#stuck li')].map((item) => ({
      key: item.dataset.key || '', text: item.textContent, kind: item.className,
    })),
  }).replaceAll('<', '\\u003c');
}, 2500);
</script>
"#;

/// A command that was taken in long ago and is in a batch ever since: its operation never ends.
fn old_command(received: Timestamp) -> Value {
    let sample = std::fs::read_to_string("schemas/examples/command.claim.json").unwrap();
    let mut command: Value = serde_json::from_str(&sample).unwrap();
    command["receivedAt"] = json!(received.to_string());
    // Of a version that did not say for whom a command is.
    command.as_object_mut().unwrap().remove("for");
    command
}

/// A worker with a command in each of several lanes whose operation never ends, one of them old.
/// The state of it, once nothing moves any more.
fn stuck_world(received: Timestamp) -> (World, Process, Value) {
    let mut world = world("admin-phone");
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": {"kind": "neverDone"}}));
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    let old = Record {
        topic: world.topic("commands"),
        value: Some(old_command(received).to_string().into_bytes()),
        ..Record::default()
    };
    world.send_records(&[], &[old]);
    world.send(&single_sales(0..8));
    let state = wait_for("operations that hold lanes", SOON, || {
        let state = admin.state();
        let heads = state["dispatch"]["heads"].as_array()?;
        let polled = |head: &Value| head["batch"]["phase"] == "polling";
        let is_whole = state["dispatch"]["report"]["commands"] == 9 && heads.len() > 1;
        (is_whole && old_head(&state).is_some() && heads.iter().all(polled)).then_some(state)
    });
    (world, worker, state)
}

fn old_head(state: &Value) -> Option<&Value> {
    let heads = state["dispatch"]["heads"].as_array()?;
    heads.iter().find(|head| head["orderId"] == "SO-104233")
}

/// What was measured on the phone, on which everything fits.
fn measured(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"id="measured">"#).unwrap();
    let (measured, _) = rest.split_once("</script>").unwrap();
    let seen: Value = serde_json::from_str(measured).unwrap();
    assert_eq!((&seen["width"], &seen["scrollWidth"]), (&json!(PHONE), &json!(PHONE)));
    assert_eq!(seen["wide"], json!([]), "sections that have to be scrolled");
    seen
}

/// The cells of a table as a phone shows them, with their labels; each on one line but for long
/// ids.
fn cards(seen: &Value, table: &str) -> Vec<(String, String)> {
    let cells = seen[table].as_array().unwrap().iter();
    cells
        .map(|cell| {
            let text = |key: &str| cell[key].as_str().unwrap().to_owned();
            let is_long = matches!(&*text("label"), "batch" | "operation");
            assert!(cell["lines"].as_u64().unwrap() <= 1 + u64::from(is_long), "{cell}");
            assert!(text("shown").contains(&text("label")), "a card has labels: {cell}");
            (text("label"), text("text"))
        })
        .collect()
}

/// The same, as the state has them.
fn figures(rows: &Value, columns: &[(&str, &str)]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let cell = |row: &Value, (label, place): &(&str, &str)| {
        ((*label).to_owned(), text(row.pointer(place).unwrap()))
    };
    let rows = rows.as_array().unwrap().iter();
    rows.flat_map(|row| columns.iter().map(move |column| cell(row, column))).collect()
}

#[test]
fn on_a_phone_the_page_fits_and_says_what_is_stuck_and_since_when() {
    let Some(chromium) = chromium() else { return };
    let received = Timestamp::now() - jiff::SignedDuration::from_mins(47);
    let (mut world, mut worker, state) = stuck_world(received);
    let admin = Admin::of(&worker);
    let head = old_head(&state).unwrap();
    assert!((47 * 60..52 * 60).contains(&head["heldSeconds"].as_u64().unwrap()), "{head}");
    assert_eq!(head["device"], "imei:…3809");
    // What the alert looks at says the same.
    let series = format!("zerotouch_lane_head_age_seconds{{partition=\"{}\"}}", head["partition"]);
    let age = value(&admin.scrape(), &series);
    assert!(age >= 47.0 * 60.0, "{age}");

    let page = rendered(chromium, &phone(&admin, |_| ()));
    let seen = measured(&page);
    let [line] = &seen["stuck"].as_array().unwrap()[..] else { panic!("{seen}") };
    stuck_line(line["text"].as_str().unwrap(), head, received);
    let mut lanes = cards(&seen, "lanes");
    lanes.retain(|(label, _)| label != "lag");
    assert_eq!(lanes, figures(&state["dispatch"]["report"]["lanes"], &LANES));
    let mut heads = cards(&seen, "heads");
    heads.retain(|(label, _)| !matches!(&**label, "since" | "for" | "batch"));
    assert_eq!(heads, figures(&state["dispatch"]["heads"], &HEADS));
    assert!(!page.contains("490154203237518") && !page.contains("356938035643809"));

    // A restart does not make it younger.
    worker.kill9();
    let worker = world.worker();
    let admin = Admin::of(&worker);
    let again = wait_for("the head of the lane after a restart", SOON, || {
        old_head(&admin.state()).cloned()
    });
    assert!(again["heldSeconds"].as_u64() >= head["heldSeconds"].as_u64(), "{again}");
    assert_eq!(again["receivedAt"], head["receivedAt"]);
    assert_eq!(again["batch"]["id"], head["batch"]["id"]);
}

/// As of a worker that has seen much: what the API says about an account can be of any length.
fn grave(state: &mut Value) {
    state["counters"]["deadLetters"] = json!(1);
    let outcome = |status: &str, code: Option<&str>, count: u64| {
        let action = "claim";
        json!({"action": action, "status": status, "code": code, "count": count})
    };
    state["outcomes"] = json!([
        outcome("unresolved", Some("transport.deadline_exceeded"), 2),
        outcome("unresolved", Some("transport.result_missing"), 1),
        outcome("succeeded", None, 20_000),
    ]);
    let refusal = "the caller does not have permission; ".repeat(25);
    state["dispatch"]["report"]["accounts"][0]["refusedBecause"] = json!(refusal);
}

#[test]
fn unresolved_ones_are_listed_and_a_long_refusal_takes_little_room_until_it_is_opened() {
    let Some(chromium) = chromium() else { return };
    let mut world = world("admin-grave");
    let worker = world.worker();
    let admin = Admin::of(&worker);
    admin.wait_until_ready();
    let page = rendered(chromium, &phone(&admin, grave));
    let seen = measured(&page);
    let state = admin.state();
    let began = state["startedAt"].as_str().unwrap()[..19].replace('T', " ");
    let runbook = std::fs::read_to_string("docs/runbook.md").unwrap();
    for (key, beginning, section) in [
        ("unresolved", format!("3 unresolved outcomes since {began} UTC: "), "ZerotouchUnresolved"),
        ("dead-letters", format!("1 dead letter since {began} UTC: "), "ZerotouchDeadLetters"),
    ] {
        let mut lines = seen["stuck"].as_array().unwrap().iter();
        let line = lines.find(|line| line["key"] == key);
        let text = line.unwrap_or_else(|| panic!("{seen}"))["text"].as_str().unwrap();
        assert!(text.starts_with(&beginning), "{text}");
        assert!(text.ends_with(&format!("See {section} in the runbook")), "{text}");
        assert!(runbook.contains(&format!("\n## {section}\n")), "{section}");
    }
    let heights = seen["heights"].as_array().unwrap().iter();
    let heights: Vec<u64> = heights.map(|lines| lines.as_u64().unwrap()).collect();
    let [closed, open, redrawn] = heights[..] else { panic!("{seen}") };
    assert!(closed <= 4 && open > 10, "{heights:?}");
    assert_eq!(redrawn, open, "what somebody opened stays open when it is drawn anew");
}

const LANES: [(&str, &str); 5] = [
    ("lane", "/partition"),
    ("state", "/phase"),
    ("devices", "/devices"),
    ("undecided", "/pending"),
    ("read position", "/watermark"),
];

const HEADS: [(&str, &str); 9] = [
    ("lane", "/partition"),
    ("device", "/device"),
    ("action", "/action"),
    ("order", "/orderId"),
    ("account", "/account"),
    ("stage", "/stage"),
    ("sent", "/attempts"),
    ("offset", "/offset"),
    ("operation", "/batch/operation"),
];

/// What is stuck, and since when.
fn stuck_line(text: &str, head: &Value, received: Timestamp) {
    let lane = &head["partition"];
    let since = received.strftime("%Y-%m-%d %H:%M:%S UTC");
    let beginning = format!(
        "lane {lane}: imei:…3809 (claim, order SO-104233, account main) waits since {since}, for "
    );
    assert!(text.starts_with(&beginning), "{text}");
    let batch = head["batch"]["id"].as_str().unwrap();
    let operation = head["batch"]["operation"].as_str().unwrap();
    let end = format!(": in_batch, batch polling claim {batch}, {operation}");
    assert!(text.ends_with(&end), "{text}");
}
