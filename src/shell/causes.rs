//! An error together with what caused it.

use std::error::Error;
use std::fmt::Write as _;

/// An error and its causes in one line. Errors of some crates say themselves what caused them, and
/// name the cause too: that is not said twice.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut last = error.to_string();
    let mut text = last.clone();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !last.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        last = said;
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    use super::*;
    use crate::shell::admin::{AdminError, AskError};
    use crate::shell::http::ClientError;
    use crate::shell::run::StartError;

    #[derive(Debug, thiserror::Error)]
    #[error("the file {name} cannot be read")]
    struct Outer {
        name: &'static str,
        source: std::io::Error,
    }

    #[test]
    fn each_cause_is_said_once() {
        let source = std::io::Error::from_raw_os_error(2);
        let error = Outer { name: "a", source };
        let text = chain(&error);
        assert_eq!(text, "the file a cannot be read: No such file or directory (os error 2)");
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure);
        assert!(error.source().is_some(), "or this test is of no use");
        assert_eq!(chain(&error), error.to_string());
    }

    #[test]
    fn why_a_worker_does_not_start_or_answer_is_said_once() {
        let io = || std::io::Error::from_raw_os_error(2);
        let address = "127.0.0.1:9700".parse().unwrap();
        let listen = AdminError::Listen { key: "admin.listen", address, reason: io() };
        let read = ClientError::Read { what: "credentials file", path: "key".into(), source: io() };
        let account = StartError::Account { account: "acme-de".into(), source: read };
        let url = "http://127.0.0.1:9700".to_owned();
        let asked = AskError::Unreachable { url, reason: io() };
        let errors: [&dyn Error; 3] = [&StartError::Admin(listen), &account, &asked];
        for text in errors.map(chain) {
            assert_eq!(text.matches("os error 2").count(), 1, "{text}");
            assert!(text.matches("acme-de").count() <= 1, "{text}");
        }
        for error in errors {
            let cause = error.source().map(ToString::to_string);
            assert!(cause.is_none_or(|cause| !error.to_string().contains(&cause)), "{error}");
        }
    }
}
