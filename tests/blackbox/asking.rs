//! The admin server of a worker, asked over HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Process, wait_for};
use crate::world::SOON;

/// Where a worker can be asked, as its log says.
pub(crate) struct Admin {
    pub(crate) local: String,
    pub(crate) exposed: String,
}

impl Admin {
    pub(crate) fn of(worker: &Process) -> Self {
        let address = |key: &str| {
            wait_for(&format!("{key} listens"), SOON, || {
                let log = worker.stderr();
                let line = log.lines().find(|line| line.contains(key))?;
                let (_, address) = line.split_once("address=")?;
                Some(address.split_whitespace().next()?.to_owned())
            })
        };
        Self { local: address("admin.listen"), exposed: address("admin.expose") }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(&self.local, method, path, body)
    }

    pub(crate) fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("GET", path, "");
        (status, serde_json::from_str(&body).unwrap())
    }

    pub(crate) fn state(&self) -> Value {
        self.json("/state").1
    }

    pub(crate) fn scrape(&self) -> String {
        let (status, text) = ask(&self.exposed, "GET", "/metrics", "");
        assert_eq!(status, 200);
        text
    }

    /// The reason why a latch is open, if it is.
    pub(crate) fn reason(&self, name: &str) -> Option<String> {
        let (_, ready) = self.json("/readyz");
        let latches = ready["latches"].as_array().unwrap();
        let latch = latches.iter().find(|latch| latch["name"] == name);
        let latch = latch.unwrap_or_else(|| panic!("no latch {name}: {ready}"));
        assert_eq!(latch["ok"] == true, latch["reason"].is_null(), "{latch}");
        latch["reason"].as_str().map(str::to_owned)
    }

    pub(crate) fn wait_until_ready(&self) {
        wait_for("ready", SOON, || (self.json("/readyz").0 == 200).then_some(()));
    }

    pub(crate) fn is_live(&self) -> bool {
        ask(&self.exposed, "GET", "/livez", "").0 == 200
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.local)
    }
}

pub(crate) fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: \
         {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").expect("a whole reply");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub(crate) const ADMIN: [(&str, &str); 2] =
    [("admin.listen", "\"127.0.0.1:0\""), ("admin.expose", "\"127.0.0.1:0\"")];

/// The value of a series.
pub(crate) fn value(scrape: &str, series: &str) -> f64 {
    let line = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{scrape}")).parse().unwrap()
}
