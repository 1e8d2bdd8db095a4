//! What librdkafka thinks of a property. It looks at name and value alone; files that a value names
//! are read, and brokers asked, only when a client is made.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::mistakes::hint;

/// Properties that are often set, for hints: librdkafka does not list those that it has.
const USUAL: [&str; 21] = [
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

/// Properties of the Java client that are copied from its configurations, and what librdkafka takes
/// in their place.
const JAVA: [(&str, &str); 8] = [
    ("sasl.jaas.config", "write user and password as `sasl.username` and `sasl.password`"),
    ("sasl.login.callback.handler.class", "write `sasl.mechanism`; OAUTHBEARER is not built in"),
    ("ssl.keystore.type", "write a PKCS#12 file as `ssl.keystore.location`, or PEM files"),
    ("ssl.truststore.certificates", "write the certificates as `ssl.ca.pem`"),
    ("ssl.truststore.location", TRUST),
    ("ssl.truststore.password", TRUST),
    ("ssl.truststore.type", TRUST),
    ("ssl.protocol", "leave it out: TLS 1.2 and newer are spoken"),
];
const TRUST: &str =
    "write the certificates of the authorities, in a PEM file, as `ssl.ca.location`";

/// Why librdkafka refuses a property, if it does. What it says of a value may hold the value, which
/// may be secret.
pub(super) fn refusal(name: &str, value: &str) -> Option<String> {
    let judged = ClientConfig::new().set(name, value).create_native_config();
    let Err(KafkaError::ClientConfig(reason, ..)) = judged else { return None };
    if let Some((_, instead)) = JAVA.iter().find(|(java, _)| *java == name) {
        return Some(format!("this is a property of the Java client: {instead}"));
    }
    if name == "ssl.endpoint.identification.algorithm" {
        return Some("expected `https`, or `none` for no check of host names".to_owned());
    }
    if name.starts_with("sasl.oauthbearer.") {
        return Some("OAUTHBEARER is not built in: leave its properties out".to_owned());
    }
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
        for (name, instead) in JAVA {
            let refused = refusal(name, "hunter2").unwrap_or_default();
            assert!(
                refused.ends_with(instead) && !refused.contains("hunter2"),
                "{name}: {refused}"
            );
        }
        let blank = refusal("ssl.endpoint.identification.algorithm", "").unwrap();
        assert!(blank.contains("`none`"), "{blank}");
        assert_eq!(refusal("ssl.endpoint.identification.algorithm", "none"), None);
        let wrong = refusal("linger.ms", "hunter2").unwrap();
        assert!(wrong.contains("refuses the value") && !wrong.contains("hunter2"), "{wrong}");
        assert_eq!(refusal("ssl.ca.location", "/nowhere"), None);
    }
}
