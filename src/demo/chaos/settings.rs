//! The configuration of the workers that are killed: short time-outs, so that a minute shows much.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::demo::broker::Ready;
use crate::demo::{ACCOUNT, PARTNER};
use crate::shell::Topics;

/// The file's name.
pub(super) const FILE: &str = "worker.toml";

/// Calls in a window that the API grants: looking up what is in doubt must not take minutes here.
pub(in crate::demo) const QUOTA_CALLS: u32 = 100_000;
/// Longest and shortest operation differ by a factor of two.
pub(in crate::demo) const OPERATION_TIME: Duration = Duration::from_secs(1);
/// How long the API thinks before it answers a submit, so that many are killed while they wait.
pub(in crate::demo) const SUBMIT_TIME: Duration = Duration::from_millis(300);

/// Longer than any operation of the sandbox lasts after its call was made, with room for a machine
/// that is busy.
const GRACE: &str = "6s";

/// Writes the file into a new directory, in which the workers' logs are to be too.
pub(super) fn write(ready: &Ready, api: &str, batch_items_max: u32) -> Result<PathBuf> {
    let run = uuid::Uuid::new_v4().simple().to_string();
    let directory = std::env::temp_dir().join(format!("zerotouch-demo-{}", &run[..8]));
    std::fs::create_dir(&directory)
        .with_context(|| format!("making the directory {}", directory.display()))?;
    let (kafka, topics) = (&ready.kafka, &ready.topics);
    let text = text(&kafka.bootstrap_servers, &kafka.group_id, topics, api, batch_items_max);
    let file = directory.join(FILE);
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(directory)
}

/// Removes what [`write()`] made, logs included.
pub(super) fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::warn!(%error, directory = %directory.display(), "logs could not be removed");
    }
}

fn text(servers: &str, group: &str, topics: &Topics, api: &str, batch_items_max: u32) -> String {
    let mut text = String::new();
    // TOML reads strings, numbers and lists of strings as JSON writes them.
    let mut section = |name: &str, keys: &[(&str, serde_json::Value)]| {
        let _ = writeln!(text, "{name}");
        for (key, value) in keys {
            let _ = writeln!(text, "{key} = {value}");
        }
    };
    section(
        "[kafka]",
        &[
            ("bootstrap_servers", json!(servers)),
            ("group_id", json!(group)),
            // The least that brokers take unless they are told otherwise.
            ("session_timeout", json!("6s")),
            ("max_poll_interval", json!("20s")),
            ("transaction_timeout", json!("6s")),
            ("commit_timeout", json!("5s")),
        ],
    );
    section(
        "[topics]",
        &[
            ("orders", json!(topics.orders.iter().map(|topic| &**topic).collect::<Vec<_>>())),
            ("commands", json!(&*topics.commands)),
            ("ledger", json!(&*topics.ledger)),
            ("outcomes", json!(&*topics.outcomes)),
            ("dead_letters", json!(&*topics.dead_letters)),
        ],
    );
    section(
        "[api]",
        &[
            ("endpoint", json!(api)),
            ("connect_timeout", json!("2s")),
            ("request_timeout", json!("5s")),
        ],
    );
    // Orders may well be there before the first worker is.
    section("[intake]", &[("start", json!("earliest"))]);
    section("[admin]", &[("listen", json!("off"))]);
    section("[batch]", &[("items_max", json!(batch_items_max))]);
    let polls = [("poll_delay_min", json!("500ms")), ("poll_delay_max", json!("2s"))];
    section("[operation]", &polls);
    section("[retry]", &[("ambiguous_grace", json!(GRACE))]);
    section(
        "[[accounts]]",
        &[
            ("name", json!(ACCOUNT)),
            ("partner_id", json!(PARTNER.parse::<u64>().unwrap_or_default())),
            ("quota_calls", json!(QUOTA_CALLS)),
            ("auth.kind", json!("none")),
        ],
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigArgs, load_text};

    #[test]
    fn the_workers_of_the_demo_can_read_it() {
        let topic = |name: &str| name.into();
        let topics = Topics {
            orders: vec![topic("o")],
            commands: topic("c"),
            ledger: topic("l"),
            outcomes: topic("u"),
            dead_letters: topic("d"),
        };
        let text = text("k:9092", "group", &topics, "http://127.0.0.1:1", 17);
        let args = ConfigArgs::default();
        let config = load_text(Some((FILE, &text)), [], &args).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.topics.orders, ["o"]);
        assert_eq!(config.engine.batch_items_max, 17);
        assert_eq!(config.engine.ambiguous_grace, Duration::from_secs(6));
        assert!(config.engine.ambiguous_grace > SUBMIT_TIME + 2 * OPERATION_TIME);
        assert_eq!(config.accounts[0].partner_id.to_string(), PARTNER);
    }
}
