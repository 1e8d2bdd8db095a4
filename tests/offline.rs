//! The built worker while no Kafka is there: what it does beside, and before.

// Tests may panic.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

/// A worker that runs until it is dropped.
struct Worker {
    child: Child,
    log: std::path::PathBuf,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the worker said\n{}", self.said());
        }
    }
}

impl Worker {
    /// Under `sh`, after these words of it; with these variables and nobody else's proxies.
    fn start(folder: &Path, before: &str, config: &str, variables: &[(&str, &str)]) -> Self {
        let file = folder.join("worker.toml");
        fs::write(&file, config).unwrap();
        let log = folder.join("log");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before} exec \"$0\" run --config \"$1\"")]);
        command.arg(env!("CARGO_BIN_EXE_zerotouch-worker")).arg(&file);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.envs(variables.iter().copied());
        let stderr = File::create(&log).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Self { child, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A free port, for a moment at least.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn config(rest: &str) -> String {
    format!(
        "{rest}\n[kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n[topics]\norders = [\"orders\"]\n"
    )
}

/// A proxy that writes down what it is asked for, and lets nothing through.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 4096];
            let Ok(length) = stream.read(&mut request) else { continue };
            seen.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (address.to_string(), asked)
}

fn key_file(folder: &Path, token_uri: &str) -> std::path::PathBuf {
    let key = openssl::rsa::Rsa::generate(2048).unwrap().private_key_to_pem().unwrap();
    let file = serde_json::json!({
        "type": "service_account", "client_email": "worker@project.example",
        "private_key": String::from_utf8(key).unwrap(), "token_uri": token_uri,
    });
    let path = folder.join("key.json");
    fs::write(&path, file.to_string()).unwrap();
    path
}

#[test]
fn tokens_and_calls_go_through_the_proxy_with_its_password_and_past_it_where_no_proxy_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(folder.path(), "https://tokens.invalid/token");
    let (address, asked) = proxy();
    let config = config(&format!(
        "default_account = \"without\"\n[admin]\nlisten = \"off\"\n\
         [api]\nendpoint = \"https://api.invalid\"\n\
         [[accounts]]\nname = \"with-key\"\npartner_id = 1\n\
         auth = {{ kind = \"service_account_key\", file = {key:?} }}\n\
         [[accounts]]\nname = \"without\"\npartner_id = 2\nauth = {{ kind = \"none\" }}\n"
    ));
    let url = format!("http://egress:hunter2@{address}");
    let worker = Worker::start(folder.path(), "", &config, &[("HTTPS_PROXY", &url)]);
    for host in ["tokens.invalid", "api.invalid"] {
        let line = format!("CONNECT {host}:443 ");
        wait_for(&line, || {
            let asked = asked.lock().unwrap();
            asked.iter().any(|request| {
                let head = request.to_lowercase();
                request.starts_with(&line) && head.contains("proxy-authorization: basic ")
            })
        });
    }
    assert!(!worker.said().contains("hunter2"));
    drop(worker);

    asked.lock().unwrap().clear();
    let variables = [("HTTPS_PROXY", &*url), ("NO_PROXY", "tokens.invalid")];
    let worker = Worker::start(folder.path(), "", &config, &variables);
    wait_for("a token call of its own", || {
        worker.said().contains("cannot reach the token endpoint")
    });
    let asked = asked.lock().unwrap().join("\n");
    assert!(!asked.contains("tokens.invalid"), "{asked}");
}

#[test]
fn probes_are_answered_though_more_connections_are_held_open_than_there_are_descriptors() {
    const DESCRIPTORS: usize = 256;
    let folder = tempfile::tempdir().unwrap();
    let (local, exposed) = (free(), free());
    let config = config(&format!(
        "[admin]\nlisten = \"{local}\"\nexpose = \"{exposed}\"\n\
         [api]\nendpoint = \"http://127.0.0.1:1\"\n\
         [[accounts]]\nname = \"main\"\npartner_id = 1\nauth = {{ kind = \"none\" }}\n"
    ));
    let before = format!("ulimit -n {DESCRIPTORS};");
    let worker = Worker::start(folder.path(), &before, &config, &[]);
    let get = |address: SocketAddr, path| {
        zerotouch_worker::shell::admin::ask(&format!("http://{address}"), "GET", path, SOON)
    };
    wait_for("the admin server", || get(local, "/livez").is_ok() && get(exposed, "/livez").is_ok());
    let mut crowd = Vec::new();
    for number in 0..3 * DESCRIPTORS {
        let mut stream = TcpStream::connect(exposed).unwrap();
        let half = if number % 2 == 0 { &b""[..] } else { b"GET /livez HTTP/1.1\r\n" };
        let _ = stream.write_all(half);
        crowd.push(stream);
        if number % 64 == 63 {
            assert_eq!(get(exposed, "/livez").unwrap().status, 200);
            assert_eq!(get(local, "/livez").unwrap().status, 200);
        }
    }
    let metrics = get(exposed, "/metrics").unwrap().body;
    let memory = metrics
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "))
        .map(|bytes| bytes.parse::<f64>().unwrap());
    assert!(memory.is_none_or(|bytes| bytes < 128e6), "{memory:?}");
    let said = worker.said();
    assert_eq!(said.matches("has all connections that it may have").count(), 1, "{said}");
    assert!(!said.contains("cannot accept"), "{said}");
}
