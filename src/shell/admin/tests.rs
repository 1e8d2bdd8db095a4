//! The admin server, asked over its sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;

const SOON: Duration = Duration::from_secs(10);

struct Running {
    stats: Arc<Stats>,
    drain: CancellationToken,
    local: String,
    exposed: String,
    _admin: Admin,
}

/// A free port, for a moment at least.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn running() -> Running {
    running_with(Bounds::default())
}

fn running_with(bounds: Bounds) -> Running {
    let (listen, expose) = (free(), free());
    let config = AdminConfig { listen: Some(listen), is_asked_for: true, expose: Some(expose) };
    let (stats, drain) = (Arc::new(Stats::default()), CancellationToken::new());
    stats.board.set_facts(Facts { accounts: vec!["ma in".into()], ..Facts::default() });
    let admin = start_bounded(&config, &stats, None, &drain, bounds).unwrap().unwrap();
    let (local, exposed) = (format!("http://{listen}"), format!("http://{expose}"));
    Running { stats, drain, local, exposed, _admin: admin }
}

fn json(reply: &Reply) -> serde_json::Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}

#[test]
fn probes_and_metrics_are_served_on_both_listeners_and_the_rest_on_one() {
    let worker = running();
    for path in ["/livez", "/readyz", "/metrics"] {
        let local = ask(&worker.local, "GET", path, SOON).unwrap();
        let exposed = ask(&worker.exposed, "GET", path, SOON).unwrap();
        assert_eq!(local.status, exposed.status, "{path}");
        assert_ne!(local.status, 404, "{path}");
    }
    for (method, path) in [("GET", "/"), ("GET", "/state"), ("POST", "/drain")] {
        assert_eq!(ask(&worker.exposed, method, path, SOON).unwrap().status, 404, "{path}");
        assert_eq!(ask(&worker.local, method, path, SOON).unwrap().status, 200, "{path}");
    }
    assert!(worker.drain.is_cancelled());
}

#[test]
fn probes_are_exposed_though_the_rest_is_off() {
    let expose = free();
    let config = AdminConfig { expose: Some(expose), ..AdminConfig::default() };
    let stats = Arc::new(Stats::default());
    let admin = start(&config, &stats, None, &CancellationToken::new()).unwrap().unwrap();
    assert_eq!(admin.address, None);
    let exposed = format!("http://{expose}");
    assert_eq!(ask(&exposed, "GET", "/livez", SOON).unwrap().status, 200);
}

#[test]
fn livez_says_yes_while_readyz_says_no_and_why() {
    let worker = running();
    worker.stats.board.kafka_is_waited_for("no broker answers");
    let live = ask(&worker.exposed, "GET", "/livez", SOON).unwrap();
    assert_eq!((live.status, json(&live)["live"].as_bool()), (200, Some(true)));
    let ready = ask(&worker.exposed, "GET", "/readyz", SOON).unwrap();
    assert_eq!(ready.status, 503);
    let latch = &json(&ready)["latches"][0];
    assert_eq!((&latch["name"], &latch["ok"]), (&"kafka".into(), &false.into()));
    assert_eq!(latch["reason"], "no broker answers");
}

#[test]
fn accounts_are_paused_by_name_and_unknown_ones_are_named_back() {
    let worker = running();
    let post = |path: &str| ask(&worker.local, "POST", path, SOON).unwrap();
    assert_eq!(post("/accounts/ma%20in/pause").status, 200);
    assert_eq!(worker.stats.board.paused().borrow().len(), 1);
    assert_eq!(post("/accounts/ma%20in/resume").status, 200);
    assert_eq!(worker.stats.board.paused().borrow().len(), 0);
    let unknown = post("/accounts/other/pause");
    assert_eq!(unknown.status, 404);
    let error = json(&unknown)["error"].as_str().unwrap().to_owned();
    assert_eq!(error, "there is no account \"other\"; there are: ma in");
}

#[test]
fn what_is_asked_wrongly_is_answered_in_json() {
    let worker = running();
    let asked = |method, path| ask(&worker.local, method, path, SOON).unwrap();
    for (reply, status) in [
        (asked("GET", "/nothing"), 404),
        (asked("POST", "/state"), 405),
        (asked("GET", "/drain"), 405),
        (asked("POST", "/log-level"), 409),
    ] {
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(json(&reply)["error"].is_string(), "{reply:?}");
    }
    assert!(!worker.drain.is_cancelled());
}

#[test]
fn a_port_that_is_taken_stops_a_start_that_asked_for_it_and_no_other() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = AdminConfig { listen: taken.local_addr().ok(), ..AdminConfig::default() };
    let start = |config: AdminConfig| {
        start(&config, &Arc::new(Stats::default()), None, &CancellationToken::new())
    };
    let asked = start(AdminConfig { is_asked_for: true, ..config }).unwrap_err().to_string();
    assert!(asked.contains("`admin.listen`"), "{asked}");
    assert!(start(config).is_ok());
    let expose = config.listen;
    assert!(start(AdminConfig { expose, ..config }).is_err(), "it was asked for");
    assert!(start(AdminConfig::default()).unwrap().is_none(), "off");
}

/// Connects, and sends this much of a request.
fn held(url: &str, sent: &[u8]) -> TcpStream {
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    // Closed already for a newer one: that is as good.
    let _ = stream.write_all(sent);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Whether the server closes the connection within [`SOON`].
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn probes_are_answered_on_both_listeners_while_hundreds_of_connections_are_held_open() {
    let worker = running();
    let unfinished: [&[u8]; 3] = [
        b"",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nin",
    ];
    let mut crowd = Vec::new();
    for number in 0..400 {
        let url = if number % 4 == 0 { &worker.local } else { &worker.exposed };
        crowd.push(held(url, unfinished[number % 3]));
        if number % 100 == 99 {
            for url in [&worker.local, &worker.exposed] {
                assert_eq!(ask(url, "GET", "/livez", SOON).unwrap().status, 200, "{number}");
            }
        }
    }
    let metrics = ask(&worker.exposed, "GET", "/metrics", SOON).unwrap().body;
    let closed = |key: &str| {
        let series = format!(
            "zerotouch_admin_connections_closed_total{{listener=\"{key}\",reason=\"crowded\"}} "
        );
        let line = metrics.lines().find_map(|line| line.strip_prefix(&*series)).unwrap();
        line.parse::<usize>().unwrap()
    };
    assert!(closed("admin.listen") >= 100 - 64, "{}", closed("admin.listen"));
    assert!(closed("admin.expose") >= 200 - 64, "{}", closed("admin.expose"));
    assert!(is_closed(&mut crowd[0]), "the oldest had to go");
}

#[test]
fn who_sends_no_whole_request_or_takes_no_reply_is_closed_after_a_while() {
    let short = Duration::from_millis(200);
    let bounds = Bounds { head: short, request: short, quiet: short * 2, ..Bounds::default() };
    let worker = running_with(bounds);
    let head = b"POST /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nin";
    let after_one = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (sent, what) in [
        (&b""[..], "idle"),
        (b"GET /livez HTTP/1.1\r\n", "half a head"),
        (head, "half a body"),
        (after_one, "idle after a request"),
    ] {
        assert!(is_closed(&mut held(&worker.local, sent)), "{what}");
    }
}

#[test]
fn only_the_first_version_of_http_is_spoken_and_heads_are_short() {
    let worker = running();
    let mut two = held(&worker.local, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let mut said = String::new();
    two.read_to_string(&mut said).unwrap();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    let long = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let mut long = held(&worker.local, long.as_bytes());
    let mut said = [0; 12];
    long.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"HTTP/1.1 431");
}
