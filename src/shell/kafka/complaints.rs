//! Why Kafka does not answer. What a call gives back is "no broker could be reached", be it for the
//! network, a certificate or a password; which one librdkafka tells beside.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::log_line;

/// Events that are looked at after a call has failed, at most.
const EVENTS_MAX: usize = 100;
const A_MOMENT: Duration = Duration::from_millis(50);

/// Notes the complaint that tells most.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Option<(u8, String)>>);

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let weight = weight(error.rdkafka_error_code());
        let mut worst = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if worst.as_ref().is_none_or(|(known, _)| *known <= weight) {
            *worst = Some((weight, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Complaints {}

/// How much an error tells: that all brokers are down is said of each one that cannot be reached,
/// and that one cannot be reached of each that refuses us.
fn weight(code: Option<RDKafkaErrorCode>) -> u8 {
    match code {
        Some(
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism,
        ) => 3,
        Some(RDKafkaErrorCode::Resolve) => 2,
        Some(RDKafkaErrorCode::AllBrokersDown) => 0,
        _ => 1,
    }
}

/// Why a call was not answered, with what its client had to say.
pub(super) fn explained(client: &BaseConsumer<Complaints>, error: &KafkaError) -> String {
    // Complaints wait until somebody asks for events, among lines for the log. Without any time,
    // `poll` ends at the first of those.
    for _ in 0..EVENTS_MAX {
        if client.poll(A_MOMENT).is_none() {
            break;
        }
    }
    let worst = client.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
    match worst {
        Some((_, complaint)) => format!("{error}; {complaint}"),
        None => error.to_string(),
    }
}
