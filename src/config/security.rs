//! What can be wrong with how brokers are spoken to. librdkafka says so when the first client is
//! made, or tries without end; here it is said before anything runs. User and password are left to
//! it, so that a configuration can be checked where its secrets are not.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::mistakes::hint;
use super::values::Property;

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
/// Those of librdkafka that are built in. `GSSAPI` (Kerberos) is not, and nothing here gets tokens
/// for `OAUTHBEARER`.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// What is wrong with a property.
pub(super) enum Problem {
    /// Its value.
    Wrong(String),
    /// It is not there; what is expected.
    Missing(String),
}

/// Properties with what is wrong with them.
pub(super) fn problems(properties: &BTreeMap<String, Property>) -> Vec<(&'static str, Problem)> {
    let value = |name: &str| properties.get(name).map(|property| property.0.expose_secret());
    let mut problems = Vec::new();
    let protocol = value("security.protocol").unwrap_or("PLAINTEXT").to_ascii_uppercase();
    if !PROTOCOLS.contains(&&*protocol) {
        let expected = format!("expected {}{}", any_of(&PROTOCOLS), hint(&protocol, PROTOCOLS));
        problems.push(("security.protocol", Problem::Wrong(expected)));
    }
    // The two are one property with two names.
    let names = ["sasl.mechanism", "sasl.mechanisms"];
    let given: Vec<_> = names.iter().filter_map(|name| Some((*name, value(name)?))).collect();
    for (name, mechanism) in &given {
        if !MECHANISMS.contains(mechanism) {
            let reason = match *mechanism {
                "GSSAPI" => "; Kerberos is not built in".to_owned(),
                "OAUTHBEARER" => "; OAUTHBEARER is not built in".to_owned(),
                other => hint(other, MECHANISMS),
            };
            let expected = format!("expected {}{reason}", any_of(&MECHANISMS));
            problems.push((*name, Problem::Wrong(expected)));
        }
    }
    if problems.is_empty() && given.is_empty() && protocol.starts_with("SASL_") {
        let expected = format!("{}, since `security.protocol` is {protocol}", any_of(&MECHANISMS));
        problems.push(("sasl.mechanism", Problem::Missing(expected)));
    }
    problems
}

fn any_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}
