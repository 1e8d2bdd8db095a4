//! The built binary as a process: its output goes to files, whose end is shown when a test fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Lines shown of the standard error of each process of a failed test.
const TAIL_LINES: usize = 60;

/// A running `zerotouch-worker`.
pub(crate) struct Process {
    child: Child,
    name: String,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

/// What a process that ran to its end has said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command of the built binary that inherits no setting from whoever runs the tests. Another
/// build of it can be named in `ZEROTOUCH_WORKER_BIN`: for long runs, an optimised one.
pub(crate) fn binary() -> Command {
    binary_by(&[])
}

/// By way of a command that runs the one it is given in place of itself, such as `nice`.
fn binary_by(by: &[&str]) -> Command {
    let named = std::env::var_os("ZEROTOUCH_WORKER_BIN");
    let program = named.unwrap_or_else(|| env!("CARGO_BIN_EXE_zerotouch-worker").into());
    let mut command = match by {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ZEROTOUCH_") || text.starts_with("OTEL_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Said {
    let output = binary().args(arguments).stdin(Stdio::null()).output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Process {
    pub(crate) fn start(directory: &Path, name: &str, arguments: &[&str]) -> Self {
        Self::start_with(directory, name, arguments, &[])
    }

    /// With variables in its environment.
    pub(crate) fn start_with(
        directory: &Path,
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = binary();
        command.envs(variables.iter().copied());
        Self::start_command(directory, name, arguments, command)
    }

    /// By way of a command that runs the one it is given in place of itself, such as `nice`.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn start_by(directory: &Path, name: &str, arguments: &[&str], by: &[&str]) -> Self {
        Self::start_command(directory, name, arguments, binary_by(by))
    }

    fn start_command(
        directory: &Path,
        name: &str,
        arguments: &[&str],
        mut command: Command,
    ) -> Self {
        let stderr = directory.join(format!("{name}.stderr"));
        let child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(directory.join(format!("{name}.stdout"))).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, name: name.to_owned(), stderr, ended: None }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success(), "kill {signal} {}: {status}", self.name);
    }

    pub(crate) fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.ended = Some(self.child.wait().unwrap());
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// The exit code, once it has ended by itself.
    pub(crate) fn exit_code(&mut self, limit: Duration) -> i32 {
        let name = self.name.clone();
        let status = wait_for(&format!("the end of {name}"), limit, || self.ended());
        status.code().unwrap_or_else(|| panic!("{name} ended by a signal: {status}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill9();
        }
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.stderr).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            let (name, ended) = (&self.name, self.ended);
            eprintln!("--- {name} ({ended:?}), last lines:\n{}\n---", tail.join("\n"));
        }
    }
}

/// Looks again and again until there is something; fails the test after the limit.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        // Only so that two cores are not spent on looking.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
