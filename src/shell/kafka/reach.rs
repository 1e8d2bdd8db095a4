//! Whether a member of a group reaches a broker, and if not, why: librdkafka's statistics tell the
//! first, its complaints the second.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::error::KafkaError;
use serde::Deserialize;

use super::complaints::Worst;
use super::repeats;

#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow)]
    brokers: BTreeMap<&'a str, Broker<'a>>,
}

#[derive(Deserialize)]
struct Broker<'a> {
    state: &'a str,
}

/// Connected, or proving itself anew without having been away.
const CONNECTED: [&str; 2] = ["UP", "REAUTH"];

/// Whether any broker is connected; none if what is told cannot be read.
fn is_reached(statistics: &[u8]) -> Option<bool> {
    let Statistics { brokers } = serde_json::from_slice(statistics).ok()?;
    Some(brokers.values().any(|broker| CONNECTED.contains(&broker.state)))
}

/// How a member of a group stands with the brokers.
#[derive(Debug)]
pub(super) struct Reach {
    group: String,
    worst: Worst,
    lost: Option<Instant>,
}

impl Reach {
    pub(super) fn new(group: String) -> Self {
        Self { group, worst: Worst::default(), lost: None }
    }

    /// Takes in a complaint.
    pub(super) fn complain(&mut self, error: &KafkaError, reason: &str, now: Instant) {
        self.worst.note(error, reason, now);
    }

    /// Takes in statistics, and tells the log when brokers are lost and found.
    pub(super) fn note(&mut self, statistics: &[u8], now: Instant) {
        let Some(is_reached) = is_reached(statistics) else { return };
        if is_reached {
            self.worst.clear();
            if let Some(since) = self.lost.take() {
                let lost_for = now.saturating_duration_since(since);
                tracing::info!(group = self.group, ?lost_for, "Kafka is reached again");
            }
            return;
        }
        // Without a complaint the client is still at its first attempt.
        let Some(reason) = self.worst.get() else { return };
        let since = *self.lost.get_or_insert(now);
        if repeats::tell(&format!("{}: {reason}", self.group)).is_some() {
            let lost_for = now.saturating_duration_since(since);
            tracing::warn!(
                group = self.group,
                ?lost_for,
                reason,
                "no broker is reached; the worker waits, nothing is lost"
            );
        }
    }

    /// Why no broker is reached; none while one is.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.and_then(|_| self.worst.get())
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;

    fn told(states: [&str; 2]) -> Vec<u8> {
        let [one, other] = states;
        format!(
            r#"{{"brokers":{{"a:9092/1":{{"name":"a:9092/1","state":"{one}"}},
                "GroupCoordinator":{{"state":"{other}"}}}},"cgrp":null}}"#
        )
        .into_bytes()
    }

    #[test]
    fn no_broker_is_reached_once_one_complained_and_none_is_up() {
        let now = Instant::now();
        let mut reach = Reach::new("orders.dispatch".into());
        reach.note(&told(["TRY_CONNECT", "INIT"]), now);
        assert_eq!(reach.lost(), None, "nothing went wrong so far");
        let refused = KafkaError::Global(RDKafkaErrorCode::Authentication);
        reach.complain(&refused, "SASL authentication error", now);
        assert_eq!(reach.lost(), None, "another broker may be connected");
        reach.note(&told(["UP", "DOWN"]), now);
        assert_eq!(reach.lost(), None);
        reach.complain(&refused, "SASL authentication error", now);
        reach.note(&told(["AUTH_REQ", "DOWN"]), now);
        reach.note(b"garbage", now);
        assert_eq!(reach.lost(), Some("SASL authentication error"));
        reach.note(&told(["REAUTH", "DOWN"]), now);
        assert_eq!(reach.lost(), None);
        reach.note(&told(["DOWN", "DOWN"]), now);
        assert_eq!(reach.lost(), None, "an old complaint explains no new silence");
    }
}
