//! Whether a member of a group reaches a broker, and if not, why: librdkafka's statistics tell the
//! first, its complaints the second.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::Deserialize;

use super::complaints::Worst;
use super::repeats;
use crate::shell::lock::locked;

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

/// A client that has no connection for this long and does not say why. A connection that is cut
/// off is no complaint, and the next attempt may be cut off, too.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const SILENT: &str = "connections are cut off, or never come about; the client does not say why";

/// Whether any broker is connected; none if what is told cannot be read.
fn is_reached(statistics: &[u8]) -> Option<bool> {
    let Statistics { brokers } = serde_json::from_slice(statistics).ok()?;
    Some(brokers.values().any(|broker| CONNECTED.contains(&broker.state)))
}

/// Whether an error says that brokers are not reached, which is told here, and not that they
/// refuse something.
pub(super) fn is_of_the_way(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::PartitionEOF
    )
}

/// Groups whose brokers were lost when their member was made anew, and since when.
static LOST: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

/// How a member of a group stands with the brokers.
#[derive(Debug)]
pub(super) struct Reach {
    group: String,
    worst: Worst,
    /// Since when no broker is connected, and whether that is more than a moment.
    apart: Option<(Instant, bool)>,
}

impl Reach {
    pub(super) fn new(group: String) -> Self {
        let since = locked(&LOST).remove(&group);
        Self { group, worst: Worst::default(), apart: since.map(|since| (since, true)) }
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
            if let Some((since, true)) = self.apart.take() {
                let apart_for = now.saturating_duration_since(since);
                tracing::info!(group = self.group, ?apart_for, "Kafka is reached again");
            }
            return;
        }
        let (since, is_lost) = self.apart.get_or_insert((now, false));
        let apart_for = now.saturating_duration_since(*since);
        *is_lost = *is_lost || self.worst.get().is_some() || apart_for >= SILENCE_MAX;
        let Some(reason) = self.lost() else { return };
        if repeats::tell(&format!("{}: {reason}", self.group)).is_some() {
            tracing::warn!(
                group = self.group,
                ?apart_for,
                reason,
                "no broker is reached; the worker waits, nothing is lost"
            );
        }
    }

    /// Why no broker is reached; none while one is.
    pub(super) fn lost(&self) -> Option<&str> {
        let (_, is_lost) = self.apart?;
        is_lost.then(|| self.worst.get().unwrap_or(SILENT))
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        if let Some((since, true)) = self.apart {
            locked(&LOST).insert(std::mem::take(&mut self.group), since);
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_client_that_is_apart_for_longer_than_a_moment_is_told_of_though_it_says_nothing() {
        let start = Instant::now();
        let mut reach = Reach::new("silent.dispatch".into());
        let mut lost = |states, seconds| {
            reach.note(&told(states), start + Duration::from_secs(seconds));
            reach.lost().map(str::to_owned)
        };
        assert_eq!(lost(["TRY_CONNECT", "DOWN"], 5), None);
        assert_eq!(lost(["UP", "DOWN"], 10), None);
        assert_eq!(lost(["CONNECT", "DOWN"], 15), None);
        assert_eq!(lost(["APIVERSION_QUERY", "DOWN"], 20), None);
        assert_eq!(lost(["DOWN", "DOWN"], 25).as_deref(), Some(SILENT));
        assert_eq!(lost(["UP", "INIT"], 30), None);
    }

    #[test]
    fn the_end_of_an_outage_is_known_although_the_client_was_made_anew() {
        let start = Instant::now();
        let mut first = Reach::new("anew.dispatch".into());
        first.note(&told(["DOWN", "DOWN"]), start);
        first.note(&told(["DOWN", "DOWN"]), start + SILENCE_MAX);
        drop(first);
        let mut second = Reach::new("anew.dispatch".into());
        assert_eq!(second.apart, Some((start, true)));
        second.note(&told(["UP", "DOWN"]), start + 2 * SILENCE_MAX);
        drop(second);
        assert_eq!(Reach::new("anew.dispatch".into()).apart, None);
    }
}
