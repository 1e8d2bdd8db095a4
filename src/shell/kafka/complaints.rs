//! Why Kafka does not answer. What a call gives back is "no broker could be reached", be it for the
//! network, a certificate or a password; which one librdkafka tells beside.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::log_line;
use crate::shell::lock::locked;

/// Events that are looked at after a call has failed, at most.
const EVENTS_MAX: usize = 100;
const A_MOMENT: Duration = Duration::from_millis(50);
/// A complaint that has not been repeated for this long is over. librdkafka holds back those that
/// are the same for half a minute.
const OVER: Duration = Duration::from_secs(60);

/// The complaint that tells most of those that were heard lately.
#[derive(Debug, Default)]
pub(super) struct Worst(Option<(u8, Instant, String)>);

impl Worst {
    pub(super) fn note(&mut self, error: &KafkaError, reason: &str, now: Instant) {
        let Some(weight) = weight(error.rdkafka_error_code()) else { return };
        let outweighs = |(known, at, _): &(u8, Instant, String)| {
            *known <= weight || now.saturating_duration_since(*at) > OVER
        };
        if self.0.as_ref().is_none_or(outweighs) {
            self.0 = Some((weight, now, reason.to_owned()));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_ref().map(|(_, _, reason)| reason.as_str())
    }

    /// An error, with the complaint that explains it.
    pub(super) fn explained(&self, error: &KafkaError) -> String {
        match self.get() {
            Some(complaint) => format!("{error}; {complaint}"),
            None => error.to_string(),
        }
    }
}

/// How much an error tells: that all brokers are down is said of each one that cannot be reached,
/// and that one cannot be reached of each that refuses us.
fn weight(code: Option<RDKafkaErrorCode>) -> Option<u8> {
    Some(match code {
        // Is asked for, and no error.
        Some(RDKafkaErrorCode::PartitionEOF) => return None,
        Some(
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism,
        ) => 3,
        Some(RDKafkaErrorCode::Resolve) => 2,
        Some(RDKafkaErrorCode::AllBrokersDown) => 0,
        _ => 1,
    })
}

/// Notes the complaint that tells most.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Worst>);

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut worst = locked(&self.0);
        worst.note(&error, reason, Instant::now());
    }
}

impl ConsumerContext for Complaints {}

/// Why a call was not answered, with what its client had to say.
pub(super) fn explained(client: &BaseConsumer<Complaints>, error: &KafkaError) -> String {
    // Complaints wait until somebody asks for events, among lines for the log. Without any time,
    // `poll` ends at the first of those.
    for _ in 0..EVENTS_MAX {
        if client.poll(A_MOMENT).is_none() {
            break;
        }
    }
    locked(&client.context().0).explained(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_most_is_kept_until_it_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut worst = Worst::default();
        let mut note = |code, reason, seconds| {
            worst.note(&KafkaError::Global(code), reason, at(seconds));
            worst.get().map(str::to_owned)
        };
        let (down, refused) = ("1/1 brokers are down", "wrong password");
        assert_eq!(note(RDKafkaErrorCode::AllBrokersDown, down, 0).as_deref(), Some(down));
        assert_eq!(note(RDKafkaErrorCode::Authentication, refused, 1).as_deref(), Some(refused));
        assert_eq!(note(RDKafkaErrorCode::AllBrokersDown, down, 2).as_deref(), Some(refused));
        let gone = "Connection refused";
        let transport = RDKafkaErrorCode::BrokerTransportFailure;
        assert_eq!(note(transport, gone, 61).as_deref(), Some(refused));
        assert_eq!(note(transport, gone, 62).as_deref(), Some(gone), "the password is over");
        worst.clear();
        worst.note(&KafkaError::Global(RDKafkaErrorCode::PartitionEOF), "the end", start);
        assert_eq!(worst.get(), None);
    }
}
