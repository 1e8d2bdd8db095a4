//! What librdkafka thinks of a property. It looks at name and value alone; files that a value names
//! are read, and brokers asked, only when a client is made.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::mistakes::hint;

/// Properties that are often set, for hints: librdkafka does not list those that it has.
const USUAL: [&str; 24] = [
    "broker.address.family",
    "client.dns.lookup",
    "client.rack",
    "compression.type",
    "connections.max.idle.ms",
    "enable.ssl.certificate.verification",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "linger.ms",
    "reconnect.backoff.max.ms",
    "sasl.mechanism",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
];

/// Why librdkafka refuses a property, if it does. What it says of a value may hold the value, which
/// may be secret.
pub(super) fn refusal(name: &str, value: &str) -> Option<String> {
    let judged = ClientConfig::new().set(name, value).create_native_config();
    let Err(KafkaError::ClientConfig(reason, ..)) = judged else { return None };
    Some(match reason {
        RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => {
            format!("unknown property: librdkafka 2.12 has none of this name{}", hint(name, USUAL))
        }
        RDKafkaConfRes::RD_KAFKA_CONF_INVALID | RDKafkaConfRes::RD_KAFKA_CONF_OK => {
            "librdkafka refuses the value: its CONFIGURATION.md lists what each property takes"
                .to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::owned_properties::OWNED;

    #[test]
    fn what_is_usual_exists_and_what_is_misspelt_is_told_with_what_was_meant() {
        let owned = OWNED.iter().map(|(name, _)| *name);
        for name in USUAL.into_iter().chain(owned) {
            let refused = refusal(name, "no such value").unwrap_or_default();
            assert!(!refused.contains("unknown"), "{name}: {refused}");
        }
        let misspelt = refusal("sasl.pasword", "hunter2").unwrap();
        assert!(misspelt.ends_with("did you mean `sasl.password`?"), "{misspelt}");
        let unknown = refusal("frobnicate", "hunter2").unwrap();
        assert!(unknown.contains("unknown") && !unknown.contains("hunter2"), "{unknown}");
        let wrong = refusal("linger.ms", "hunter2").unwrap();
        assert!(wrong.contains("refuses the value") && !wrong.contains("hunter2"), "{wrong}");
        assert_eq!(refusal("ssl.ca.location", "/nowhere"), None);
    }
}
