//! The sandbox as a process, and its control routes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{Process, wait_for};

pub(crate) struct Sandbox {
    _process: Process,
    address: String,
}

impl Sandbox {
    /// Starts one on a free port, with customers of any id and, unless told otherwise, no quota.
    pub(crate) fn start(directory: &Path, flags: &[&str]) -> Self {
        let mut arguments = vec!["--auto-customers"];
        if !flags.contains(&"--quota-calls") {
            arguments.extend(["--quota-calls", "0"]);
        }
        if !flags.contains(&"--operation-time") {
            arguments.extend(["--operation-time", "200ms"]);
        }
        arguments.extend(flags);
        Self::start_bare(directory, &arguments)
    }

    /// Starts one with these flags and no others.
    pub(crate) fn start_bare(directory: &Path, flags: &[&str]) -> Self {
        let mut arguments = vec!["sandbox", "--port", "0"];
        arguments.extend(flags);
        let mut process = Process::start(directory, "sandbox", &arguments);
        let address = wait_for("the sandbox listens", Duration::from_secs(20), || {
            assert!(process.ended().is_none(), "the sandbox ended: {}", process.stderr());
            let log = process.stderr();
            let (_, rest) = log.split_once("http://")?;
            let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
            Some(rest[..end].to_owned())
        });
        Self { _process: process, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn ask(&self, verb: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (address, length) = (&self.address, body.len());
        write!(
            stream,
            "{verb} /control/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").expect("a whole reply");
        assert!(head.starts_with("HTTP/1.1 200"), "{verb} {path}: {reply}");
        serde_json::from_str(body).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "")
    }

    /// A complete list of the log.
    pub(crate) fn entries(&self, path: &str) -> Vec<Value> {
        let mut list = self.get(path);
        assert_eq!(list["dropped"], 0, "{path} is not complete");
        let Value::Array(entries) = list["entries"].take() else { panic!("{list}") };
        entries
    }

    pub(crate) fn stats(&self) -> Value {
        self.get("stats")
    }

    /// Accepted batches of a method.
    pub(crate) fn batches(&self, method: &str) -> u64 {
        self.stats()["items"][method]["batches"].as_u64().unwrap_or(0)
    }

    /// Calls of a method with this HTTP status.
    pub(crate) fn calls(&self, method: &str, status: u16) -> u64 {
        self.stats()["calls"][method][status.to_string()].as_u64().unwrap_or(0)
    }

    pub(crate) fn rule(&self, rule: &Value) {
        self.ask("POST", "faults", &json!({"rules": [rule]}).to_string());
    }

    pub(crate) fn clear_faults(&self) {
        self.ask("DELETE", "faults", "");
    }

    pub(crate) fn seed(&self, devices: &Value) {
        self.ask("POST", "devices", &json!({"devices": devices}).to_string());
    }

    /// The record of one device.
    pub(crate) fn device(&self, key: &str) -> Option<Value> {
        let mut devices = self.get(&format!("devices?device={key}"));
        devices["devices"].as_array_mut().unwrap().pop()
    }
}
