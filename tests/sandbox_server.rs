//! The sandbox over HTTP: Google's own Python client, lost replies, control routes.

// Every function here is part of a test: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use zerotouch_worker::sandbox::{Options, Sandbox};

const CLAIM: &str = r#"{"claims":[{"customerId":"100","sectionType":"SECTION_TYPE_ZERO_TOUCH",
    "deviceIdentifier":{"imei":"490154203237518"}}]}"#;

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    sandbox: Sandbox,
}

impl Server {
    async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let sandbox = Sandbox::new(options);
        let served = tokio::spawn({
            let sandbox = sandbox.clone();
            async move { sandbox.serve(listener, async { drop(stopped.await) }).await }
        });
        Self { address, stop, served, sandbox }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), self.served)
            .await
            .expect("the server should end")
            .unwrap()
            .unwrap();
    }

    /// Everything that comes back until the server closes the connection.
    async fn raw(&self, verb: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{verb} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        // A cut connection may end with a reset: what came before it is what counts.
        let _reset = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).unwrap()
    }

    async fn json(&self, verb: &str, path: &str, body: &str) -> (u16, Value) {
        let reply = self.raw(verb, path, "", body).await;
        let (head, body) = reply.split_once("\r\n\r\n").expect("a whole reply");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    async fn rule(&self, rule: Value) {
        let body = json!({"rules": [rule]}).to_string();
        let (status, reply) = self.json("POST", "/control/faults", &body).await;
        assert_eq!(status, 200, "{reply}");
    }
}

fn open() -> Options {
    Options { auto_customers: true, operation_time: Duration::ZERO, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_python_client_works_with_nothing_changed_but_the_endpoint() {
    let vendors = json!({"vendors": [{"partnerId": "1234567", "companyId": "77",
        "companyName": "Sub", "customers": [{"companyId": "200", "companyName": "Theirs"}]}]});
    let server = Server::start(Options {
        customers: serde_json::from_value(vendors).unwrap(),
        operation_time: Duration::from_secs(1),
        ..Options::default()
    })
    .await;
    let url = format!("http://{}", server.address);
    let output = tokio::task::spawn_blocking(move || {
        let script = root().join("tests/google_client/test_google_client.py");
        Command::new(python_with_googles_client())
            .arg(script)
            .env("SANDBOX_URL", url)
            .env("SANDBOX_VENDORS", "77")
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    server.stop().await;
}

#[tokio::test]
async fn a_lost_reply_closes_the_connection_without_a_byte_and_the_operation_still_runs() {
    let server = Server::start(open()).await;
    server.rule(json!({"method": "claimAsync", "times": 1, "fault": {"kind": "loseReply"}})).await;
    let reply = server.raw("POST", "/v1/partners/1/devices:claimAsync", "", CLAIM).await;
    assert_eq!(reply, "");
    let (_, log) = server.json("GET", "/control/log?device=imei:490154203237518", "").await;
    assert_eq!(log["entries"][0]["to"]["customerId"], "100");
    let (_, operations) = server.json("GET", "/control/operations", "").await;
    assert_eq!(operations["entries"][0]["delivery"], "closed");
    server.stop().await;
}

#[tokio::test]
async fn a_hanging_reply_ends_with_the_server() {
    let server = Server::start(open()).await;
    server.rule(json!({"fault": {"kind": "loseReply", "hang": true}})).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = "GET /v1/partners/1/customers HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let seen = async {
        while server.sandbox.state().log().calls.entries.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the call should arrive");
    server.stop().await;
    let mut reply = Vec::new();
    let _reset = stream.read_to_end(&mut reply).await;
    assert_eq!(reply, b"");
}

#[tokio::test]
async fn errors_have_the_envelope_and_their_headers() {
    let server = Server::start(Options { quota_calls: 1, ..open() }).await;
    let version_2 = "X-GOOG-API-FORMAT-VERSION: 2\r\nAccept-Encoding: gzip\r\n";
    let path = "/v1/partners/1/devices:findByIdentifier";
    let refused = server.raw("POST", path, version_2, r#"{"limit":"1"}"#).await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(refused.contains(r#""code":"INVALID_IDENTIFIER_SET""#), "{refused}");
    let throttled = server.raw("POST", path, "", r#"{"limit":"1"}"#).await;
    assert!(throttled.starts_with("HTTP/1.1 429"), "{throttled}");
    assert!(throttled.to_lowercase().contains("retry-after: 100\r\n"), "{throttled}");
    assert!(throttled.contains(r#""status":"RESOURCE_EXHAUSTED""#), "{throttled}");
    server.stop().await;
}

#[tokio::test]
async fn the_control_routes_seed_show_revoke_and_reset() {
    let server = Server::start(open()).await;
    let seed = json!({"devices": [{"partnerId": "9", "customerId": "5",
        "deviceIdentifier": {"imei": "490154203237518"}}]});
    let (status, seeded) = server.json("POST", "/control/devices", &seed.to_string()).await;
    assert_eq!((status, seeded["deviceIds"].as_array().unwrap().len()), (200, 1));
    let (_, operation) = server.json("POST", "/v1/partners/1/devices:claimAsync", CLAIM).await;
    let path = format!("/v1/{}", operation["name"].as_str().unwrap());
    let (_, operation) = server.json("GET", &path, "").await;
    let result = &operation["response"]["perDeviceStatus"][0]["result"];
    assert_eq!(result["status"], "SINGLE_DEVICE_STATUS_SECTION_NOT_YOURS");

    let revoke = r#"{"revoke": ["stolen"]}"#;
    assert_eq!(server.json("POST", "/control/tokens", revoke).await.0, 200);
    let bearer = "Authorization: Bearer stolen\r\n";
    let refused = server.raw("GET", "/v1/partners/1/customers", bearer, "").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");

    let (_, stats) = server.json("GET", "/control/stats", "").await;
    assert_eq!(stats["calls"]["customers.list"]["401"], 1);
    assert_eq!(stats["items"]["claimAsync"]["max"], 1);
    assert_eq!(stats["deviceInFlightMax"], 1);
    let (_, calls) = server.json("GET", "/control/calls?method=claimAsync", "").await;
    assert_eq!(calls["entries"][0]["items"], 1);

    assert_eq!(server.json("POST", "/control/reset", "").await.0, 200);
    let (_, devices) = server.json("GET", "/control/devices", "").await;
    assert_eq!(devices, json!({"devices": []}));
    let (status, error) = server.json("POST", "/control/faults", r#"{"rules": 1}"#).await;
    assert_eq!(status, 400);
    assert!(error["error"].as_str().unwrap().starts_with("the body: "), "{error}");
    assert_eq!(server.json("GET", "/control/nothing", "").await.0, 404);
    server.stop().await;
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A Python that has Google's client, in a virtual environment made once for each version of the
/// requirements. Fails loudly when there is no Python or no package index.
fn python_with_googles_client() -> PathBuf {
    let requirements = root().join("tests/google_client/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let cache = root().join(".cache/google-client");
    let python = cache.join("bin/python");
    let done = cache.join("installed.txt");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    std::fs::create_dir_all(&cache).unwrap();
    must_run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&cache));
    must_run(pip(&python).arg("-r").arg(&requirements));
    std::fs::write(&done, wanted).unwrap();
    python
}

fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command
}

fn must_run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("could not run {command:?}: {error}; this test needs python3 with venv")
    });
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
