//! Control groups of our own, version 1, where this machine lets us make them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::wait_for;
use crate::world::SOON;

const ROOT: &str = "/sys/fs/cgroup";

/// A group, empty and gone at the end.
pub(crate) struct Group(PathBuf);

impl Group {
    /// A group of a controller with one setting; none where that cannot be had, which is said.
    pub(crate) fn new(controller: &str, settings: &[(&str, u64)]) -> Option<Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = format!("zerotouch-test-{}-{number}", std::process::id());
        let group = Self(Path::new(ROOT).join(controller).join(name));
        let made = fs::create_dir(&group.0).and_then(|()| {
            let mut settings = settings.iter();
            settings.try_for_each(|(key, value)| fs::write(group.0.join(key), value.to_string()))
        });
        match made {
            Ok(()) => Some(group),
            Err(error) => {
                let path = group.0.display();
                eprintln!("NOT RUN in a cgroup: {path} cannot be made and set: {error}");
                None
            }
        }
    }

    /// A command that runs what it is given in this group.
    pub(crate) fn entering(&self) -> Vec<String> {
        let enter =
            format!("echo $$ >{} && exec \"$0\" \"$@\"", self.0.join("cgroup.procs").display());
        ["sh", "-c", &enter].map(str::to_owned).into()
    }

    pub(crate) fn read(&self, key: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(key)).unwrap();
        text.trim().parse().unwrap_or_else(|_| panic!("{key}: {text}"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.0.exists() && !std::thread::panicking() {
            // A process that has ended leaves its group a moment later.
            wait_for("an empty group", SOON, || fs::remove_dir(&self.0).ok());
        }
    }
}
