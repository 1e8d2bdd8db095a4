//! An Apache Kafka broker for the tests: one for each test binary, gone when the binary ends.

// Not every test binary uses all of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// The broker answers within this time, or the test fails. The first run of all fetches the jars.
const START_LIMIT: Duration = Duration::from_secs(180);

/// What the tests run on; `KAFKA_VERSION` names another one.
const VERSION: &str = "4.4.0";
/// What a broker of its own is that is hung, stopped or killed: by that, a later one without
/// replicas can lose the end of a committed transaction (KAFKA-20734), and nothing holds on a Kafka
/// that loses what it has acknowledged.
const SOUND_VERSION: &str = "4.2.2";

/// A running broker, with a data directory of its own.
pub(crate) struct Kafka {
    version: String,
    /// Whether it checks what the worker may do; see `rights.properties`.
    is_guarded: bool,
    dir: PathBuf,
    port: u16,
    controller_port: u16,
    proxied_port: u16,
    /// Bound from the beginning, since the broker advertises its address.
    proxy: TcpListener,
    script: Option<Child>,
}

impl Kafka {
    /// The broker that all tests of this binary share: starting one takes about three seconds.
    pub(crate) fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Kafka::of_version(VERSION, false))
    }

    /// A broker that this test alone may stop, kill and restart.
    pub(crate) fn start() -> Kafka {
        Kafka::of_version(SOUND_VERSION, false)
    }

    /// A broker that all tests of this binary share, and that checks rights of those who come to
    /// [`Kafka::guarded_servers`].
    pub(crate) fn guarded() -> &'static Kafka {
        static GUARDED: OnceLock<Kafka> = OnceLock::new();
        GUARDED.get_or_init(|| Kafka::of_version(VERSION, true))
    }

    /// Where only the user `worker` gets in, and may do what was granted.
    pub(crate) fn guarded_servers(&self) -> String {
        format!("127.0.0.1:{}", self.proxied_port)
    }

    fn of_version(version: &str, is_guarded: bool) -> Kafka {
        let version = std::env::var("KAFKA_VERSION").unwrap_or_else(|_| version.to_owned());
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = tempfile::Builder::new().prefix("kafka-").tempdir_in(root).unwrap().keep();
        fs::write(dir.join(".temporary"), "").unwrap();
        let [port, controller_port, proxied_port] = free_ports();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let script = None;
        let mut kafka =
            Kafka { version, is_guarded, dir, port, controller_port, proxied_port, proxy, script };
        kafka.launch();
        kafka
    }

    /// What a client calls `bootstrap.servers`.
    pub(crate) fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where a proxy listens to whose clients the broker advertises it, and what it forwards to.
    /// What is not given a proxy waits there in vain.
    pub(crate) fn proxy(&self) -> (TcpListener, String) {
        (self.proxy.try_clone().unwrap(), format!("127.0.0.1:{}", self.proxied_port))
    }

    /// Transactions that hang: in which nothing was written for this long. A line for each.
    pub(crate) fn hanging(&self, silent: Duration) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache = std::env::var_os("ZEROTOUCH_TEST_CACHE")
            .map_or_else(|| root.join(".cache"), PathBuf::from);
        let output = Command::new("java")
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(cache.join("kafka").join(&self.version).join("*"))
            .arg(root.join("tests/kafka/HangingTransactions.java"))
            .args([self.bootstrap_servers(), silent.as_secs().to_string()])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "looking for hanging transactions: {errors}");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Stops the broker in order; the data stays.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        self.wait_for_end();
    }

    /// Kills the broker as a crash would; the data stays.
    pub(crate) fn kill9(&mut self) {
        self.signal("-KILL");
        self.wait_for_end();
    }

    /// Starts the broker again, with its data, on the same port.
    pub(crate) fn restart(&mut self) {
        assert!(self.script.is_none(), "the broker is still running: stop or kill it first");
        self.launch();
    }

    /// Freezes (`-STOP`) or thaws (`-CONT`) the broker, or sends another signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.dir.join("pid")).unwrap();
        let status = Command::new("kill").args([signal, pid.trim()]).status().unwrap();
        assert!(status.success(), "kill {signal} {pid}: {status}");
    }

    fn launch(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/kafka.sh");
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let advertised = match self.is_guarded {
            true => self.proxied_port,
            false => self.proxy.local_addr().unwrap().port(),
        };
        let child = Command::new(script)
            .env("KAFKA_VERSION", &self.version)
            .env("KAFKA_MORE_PROPERTIES", if self.is_guarded { "rights.properties" } else { "" })
            .arg("run")
            .arg(&self.dir)
            .arg(self.port.to_string())
            .arg(self.controller_port.to_string())
            .arg(self.proxied_port.to_string())
            .arg(advertised.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.script = Some(child);
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_LIMIT;
        let probe: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("reconnect.backoff.max.ms", "200")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()
            .unwrap();
        while probe.fetch_metadata(None, Duration::from_millis(500)).is_err() {
            if let Some(status) = self.ended() {
                panic!("no Kafka for the tests ({status}):\n{}", self.log_text());
            }
            assert!(Instant::now() < deadline, "Kafka is not ready:\n{}", self.log_text());
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.script.as_mut().and_then(|script| script.try_wait().unwrap())
    }

    /// The script ends once its input is closed; it must not take the data along this time.
    fn wait_for_end(&mut self) {
        let marker = self.dir.join(".temporary");
        fs::remove_file(&marker).unwrap();
        let pid = fs::read_to_string(self.dir.join("pid")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while is_alive(pid.trim()) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        if let Some(mut script) = self.script.take() {
            drop(script.stdin.take());
            script.wait().unwrap();
        }
        fs::write(&marker, "").unwrap();
    }

    fn log(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    /// How often the broker says that it left the end of a transaction out of a partition
    /// (KAFKA-20734).
    pub(crate) fn ends_left_out(&self) -> usize {
        self.log_text().matches("likely deleted already").count()
    }

    /// What the broker has logged so far.
    fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Kafka {
    // Benches that start a broker allow no such output otherwise.
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        let has_failed = std::thread::panicking();
        if has_failed {
            // What the broker wrote may be all that explains a test that failed.
            let _ = fs::remove_file(self.dir.join(".temporary"));
            eprintln!("--- the broker's log and data are kept in {}", self.dir.display());
        }
        if let Some(mut script) = self.script.take() {
            drop(script.stdin.take());
            let _ = script.wait();
        }
        if !has_failed {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A zombie counts as ended: only the script can reap it, and it waits for its input to close.
fn is_alive(pid: &str) -> bool {
    let status = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    let state = String::from_utf8_lossy(&status.stdout);
    let state = state.trim();
    !state.is_empty() && !state.starts_with('Z')
}

/// Ports that nobody used a moment ago.
fn free_ports() -> [u16; 3] {
    let taken = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}
