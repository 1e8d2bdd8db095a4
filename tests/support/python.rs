//! Python environments for the tests: made once for each version of their requirements.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A Python that has what `tests/<name>/requirements.txt` names. Fails loudly when there is no
/// Python or no package index.
pub(crate) fn python_for(name: &str) -> PathBuf {
    // Tests of one binary run side by side.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let requirements = root.join("tests").join(name).join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let cache = root.join(".cache/python").join(name);
    let python = cache.join("bin/python");
    let done = cache.join("installed.txt");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    fs::create_dir_all(&cache).unwrap();
    must_run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&cache));
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    must_run(Command::new(&python).args(install).arg(&requirements));
    fs::write(&done, wanted).unwrap();
    python
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
