//! The OpenTelemetry Collector as a process. It hands what it receives on, as JSON over HTTP, to a
//! receiver in the test.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::lines::{Line, lines};
use crate::process::wait_for;
use crate::spans::{Seen, seen};

const SOON: Duration = Duration::from_secs(60);

/// The built collector; `None` if it cannot be built here, which is said, and fails in CI.
fn binary() -> Option<PathBuf> {
    let has_go = Command::new("go").arg("version").output().is_ok_and(|out| out.status.success());
    if !has_go {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "Go is missing, and in CI the tests of traces must run");
        eprintln!("NOT RUN: the tests of traces need Go, to build an OpenTelemetry Collector");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otel/collector.sh");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the collector was not built: {}", output.status);
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

pub(crate) struct Collector {
    process: Child,
    grpc: u16,
    http: u16,
    scheme: &'static str,
    bodies: Arc<Mutex<Vec<Value>>>,
    directory: TempDir,
}

impl Collector {
    /// Starts one and waits until it listens. `None` if this machine cannot build it.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(None)
    }

    /// The same, with a certificate.
    pub(crate) fn start_with(certificates: Option<&Certificates>) -> Option<Self> {
        let binary = binary()?;
        let directory = tempfile::Builder::new().prefix("otelcol-").tempdir().unwrap();
        let bodies = Arc::default();
        let receiver = receive(Arc::clone(&bodies));
        let [grpc, http] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [grpc, http] = [grpc, http].map(|held| held.local_addr().unwrap().port());
        let tls =
            certificates.map_or_else(String::new, |Certificates { certificate, key, .. }| {
                format!(", tls: {{cert_file: {certificate:?}, key_file: {key:?}}}")
            });
        let config = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'{tls}}}, \
             http: {{endpoint: '127.0.0.1:{http}'{tls}}}}}}}}}\n\
             exporters: {{otlphttp: {{endpoint: 'http://127.0.0.1:{receiver}', encoding: json, \
             compression: none, sending_queue: {{enabled: false}}}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
             pipelines: {{traces: {{receivers: [otlp], exporters: [otlphttp]}}, \
             logs: {{receivers: [otlp], exporters: [otlphttp]}}}}\n"
        );
        let path = directory.path().join("collector.yaml");
        std::fs::write(&path, config).unwrap();
        let log = directory.path().join("collector.log");
        let process = Command::new(binary)
            .arg(format!("--config={}", path.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let mut collector = Self { process, grpc, http, scheme, bodies, directory };
        wait_for("the collector listens", SOON, || {
            let ended = collector.process.try_wait().unwrap();
            assert!(ended.is_none(), "the collector ended: {}", collector.log());
            let listens = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
            (listens(grpc) && listens(http)).then_some(())
        });
        Some(collector)
    }

    /// What a worker calls `telemetry.otlp_endpoint`.
    pub(crate) fn endpoint(&self, protocol: &str) -> String {
        let port = if protocol == "grpc" { self.grpc } else { self.http };
        format!("{}://127.0.0.1:{port}", self.scheme)
    }

    /// Stops answering, and keeps the connections.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Answers again.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// All spans that have come so far.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        self.bodies.lock().unwrap().iter().flat_map(seen).collect()
    }

    /// All log lines that have come so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.bodies.lock().unwrap().iter().flat_map(lines).collect()
    }

    /// Waits until the log lines are as wanted, and gives them.
    pub(crate) fn wait_for_lines(
        &self,
        what: &str,
        is_there: impl Fn(&[Line]) -> bool,
    ) -> Vec<Line> {
        wait_for(what, SOON, || Some(self.lines()).filter(|lines| is_there(lines)))
    }

    /// Everything that has come so far, as text.
    pub(crate) fn text(&self) -> String {
        self.bodies.lock().unwrap().iter().map(Value::to_string).collect()
    }

    /// Waits until the spans are as wanted, and gives them.
    pub(crate) fn wait_for(&self, what: &str, is_there: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        wait_for(what, SOON, || Some(self.spans()).filter(|spans| is_there(spans)))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("collector.log")).unwrap_or_default()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let names: Vec<String> = self.spans().iter().map(ToString::to_string).collect();
            eprintln!("--- spans:\n{}\n--- collector:\n{}", names.join("\n"), self.log());
        }
    }
}

/// Takes what the collector exports. Its threads end with the test.
fn receive(bodies: Arc<Mutex<Vec<Value>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, bodies) = (stream.unwrap(), Arc::clone(&bodies));
            std::thread::spawn(move || while answer(&stream, &bodies).is_some() {});
        }
    });
    port
}

/// One request; `None` once the connection is closed.
fn answer(mut stream: &TcpStream, bodies: &Mutex<Vec<Value>>) -> Option<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    let reply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(reply.as_bytes()).ok()
}
