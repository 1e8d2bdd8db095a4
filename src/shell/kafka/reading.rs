//! What a member makes of the errors that it is told: each is logged, looked at, and kept in mind
//! until it is over.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::client::KafkaOptions;
use super::examine::{Examiner, Place};
use super::reach;
use super::rebalance::RebalanceContext;
use super::repeats;
use super::rights::Right;
use super::troubles::{Trouble, Troubles};

/// A refusal of the group is not over before: that the group counts a member in may be known from
/// before the refusal.
const REFUSED_MIN: Duration = Duration::from_secs(8);

/// What is in the way of a member's reading.
pub(super) struct Reading {
    troubles: Troubles,
    examiner: Examiner,
    /// When the group refused this member last.
    refused: Option<Instant>,
}

impl Reading {
    pub(super) fn new(kafka: &KafkaOptions, topics: &[&str]) -> Self {
        let troubles = Troubles::new(kafka.group_id.clone());
        Self { troubles, examiner: Examiner::new(kafka, topics), refused: None }
    }

    /// Takes in an error that is not fatal: librdkafka mends it itself if it can, and tells it
    /// once.
    pub(super) fn on_error(&mut self, context: &RebalanceContext, code: RDKafkaErrorCode) {
        // Of brokers that are not reached the log hears elsewhere.
        if reach::is_of_the_way(code) {
            return;
        }
        let (group, now) = (context.group(), Instant::now());
        if code == RDKafkaErrorCode::GroupAuthorizationFailed {
            self.refused = Some(now);
            self.troubles.add(Trouble::NoRight(Right::join(group)), now);
            self.troubles.tell(now);
            context.show_troubles(self.troubles.get());
            return;
        }
        let reason = context.last_complaint(code).unwrap_or_else(|| code.to_string());
        if let Some(again) = repeats::tell(&format!("{group}: {reason}")) {
            tracing::warn!(group, %code, again, "the consumer reports an error: {reason}");
        }
        self.examiner.want(now);
    }

    /// To be called often: looks at what cannot be read, if something cannot. `places` are the
    /// partitions that are read.
    pub(super) fn turn(&mut self, context: &RebalanceContext, places: impl FnOnce() -> Vec<Place>) {
        let now = Instant::now();
        let mut has_changed = self.examiner.turn(now, &mut self.troubles, places);
        let is_over = |refused: Instant| now.saturating_duration_since(refused) > REFUSED_MIN;
        if self.refused.is_some_and(is_over) && context.is_in() {
            self.refused = None;
            self.troubles.replace(Vec::new(), Trouble::is_of_group, now);
            has_changed = true;
        }
        if has_changed {
            context.show_troubles(self.troubles.get());
        }
    }

    /// Why the group does not take this member in, if it has said so.
    pub(super) fn refusal(&self) -> Option<String> {
        let known = self.troubles.get().into_iter().find(Trouble::is_of_group);
        known.map(|trouble| trouble.to_string())
    }
}
