//! What an installation is called at Kafka: names that are not given follow from `prefix`, so that
//! one setting tells installations apart.

use super::settings::Settings;

/// The names, given or derived.
pub(super) struct Names {
    pub(super) commands: String,
    pub(super) ledger: String,
    pub(super) outcomes: String,
    pub(super) dead_letters: String,
    pub(super) group_id: String,
    pub(super) client_id: String,
}

impl Names {
    pub(super) fn of(settings: &Settings) -> Self {
        let Settings { prefix, kafka, topics, .. } = settings;
        let name = |given: &Option<String>, end: &str| {
            given.clone().unwrap_or_else(|| format!("{prefix}{end}"))
        };
        Self {
            commands: name(&topics.commands, ".commands"),
            ledger: name(&topics.ledger, ".ledger"),
            outcomes: name(&topics.outcomes, ".outcomes"),
            dead_letters: name(&topics.dead_letters, ".dead-letters"),
            group_id: name(&kafka.group_id, "-worker"),
            client_id: name(&kafka.client_id, "-worker"),
        }
    }
}
