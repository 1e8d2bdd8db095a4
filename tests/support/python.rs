//! Virtual environments for the tests' Python programs, made once for each version of their
//! requirements. A missing Python, or no package index, fails the test and says what to install.

// Not every test binary uses all of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The interpreter of the environment `name` with everything in `requirements`, a path below
/// `tests/`.
pub(crate) fn python_with(name: &str, requirements: &str) -> PathBuf {
    // Two tests that want one environment must not both make it.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let requirements = root.join("tests").join(requirements);
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    let home = cache(root).join(name);
    let (python, done) = (home.join("bin/python"), home.join("installed.txt"));
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    std::fs::create_dir_all(&home).unwrap();
    must_run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    must_run(Command::new(&python).args(install).arg(&requirements));
    std::fs::write(&done, wanted).unwrap();
    python
}

/// Where the jars of Kafka are, too.
fn cache(root: &Path) -> PathBuf {
    std::env::var_os("ZEROTOUCH_TEST_CACHE").map_or_else(|| root.join(".cache"), PathBuf::from)
}

fn must_run(command: &mut Command) {
    let install = "these tests need Python 3 with venv (Debian: apt-get install python3-venv; \
                   macOS: brew install python) and, once, a package index (PyPI)";
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("could not run {command:?}: {error}; {install}"));
    assert!(
        output.status.success(),
        "{command:?} failed; {install}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
