//! What keeps a consumer from reading: a right that is missing, a topic that is gone, a batch that
//! cannot be read. Kept until it is known to be over, and told again as long as it lasts.

use std::fmt;
use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode as Code;
use serde::{Serialize, Serializer};

use super::TopicPartition;
use super::repeats;
use super::rights::Right;

/// One thing that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::shell) enum Trouble {
    /// The brokers do not let this principal.
    NoRight(Right),
    /// The topic is not there, or may not be seen.
    Gone {
        /// The topic.
        topic: String,
    },
    /// What is at this place cannot be read by this client.
    Unreadable {
        /// The partition.
        partition: TopicPartition,
        /// From where on.
        position: i64,
        /// Behind what cannot be read, if that is known.
        next: Option<i64>,
        /// What the client says.
        reason: String,
    },
}

impl Trouble {
    /// Whether it is about the group, and no topic.
    pub(in crate::shell) fn is_of_group(&self) -> bool {
        use super::rights::Resource;
        matches!(self, Self::NoRight(Right { on: Resource::Group(_), .. }))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRight(right) => right.fmt(f),
            Self::Gone { topic } => write!(
                f,
                "the topic {topic} is not there any more, or this principal may not see it: make \
                 it again, or grant DESCRIBE; the worker goes on by itself then"
            ),
            Self::Unreadable { partition, position, next, reason } => {
                write!(f, "{partition} cannot be read at offset {position} ({reason})")?;
                if let Some(next) = next {
                    write!(f, ", and can be from offset {next} on")?;
                }
                f.write_str(
                    ": this partition waits, others go on; the runbook says how to go past it \
                     (ZerotouchCannotRead)",
                )
            }
        }
    }
}

impl Serialize for Trouble {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What one look found at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is read.
    Readable,
    /// It is not.
    Trouble(Trouble),
    /// There was no answer, or one that says nothing of the place.
    Unknown,
}

/// What an error of a fetch says of the partition that was fetched.
pub(super) fn of_fetch(
    code: Code,
    partition: &TopicPartition,
    position: i64,
    reason: &str,
) -> Found {
    let topic = partition.topic.as_ref();
    Found::Trouble(match code {
        Code::TopicAuthorizationFailed => Trouble::NoRight(Right::read(topic)),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            Trouble::Gone { topic: topic.to_owned() }
        }
        Code::BadCompression
        | Code::NotImplemented
        | Code::BadMessage
        | Code::InvalidMessage
        | Code::InvalidMessageSize
        | Code::MessageSizeTooLarge
        | Code::UnsupportedCompressionType => Trouble::Unreadable {
            partition: partition.clone(),
            position,
            next: None,
            reason: reason.to_owned(),
        },
        _ => return Found::Unknown,
    })
}

/// What is in the way of one consumer.
#[derive(Debug)]
pub(super) struct Troubles {
    group: String,
    known: Vec<(Trouble, Instant)>,
}

impl Troubles {
    pub(super) fn new(group: String) -> Self {
        Self { group, known: Vec::new() }
    }

    pub(super) fn get(&self) -> Vec<Trouble> {
        self.known.iter().map(|(trouble, _)| trouble.clone()).collect()
    }

    /// This is in the way, too.
    pub(super) fn add(&mut self, trouble: Trouble, now: Instant) {
        if !self.known.iter().any(|(known, _)| *known == trouble) {
            self.known.push((trouble, now));
            self.known.sort();
        }
    }

    /// All of one kind, as they were looked at: what is not among them is over.
    pub(super) fn replace(
        &mut self,
        mut found: Vec<Trouble>,
        is_of_kind: impl Fn(&Trouble) -> bool,
        now: Instant,
    ) {
        let group = &self.group;
        self.known.retain(|(trouble, since)| {
            let stays = !is_of_kind(trouble) || found.contains(trouble);
            if !stays {
                let lasted = now.saturating_duration_since(*since);
                tracing::info!(group, ?lasted, was = %trouble, "the consumer can read again");
            }
            stays
        });
        found.drain(..).for_each(|trouble| self.add(trouble, now));
    }

    /// Tells the log of each, once and then once a minute.
    pub(super) fn tell(&self, now: Instant) {
        for (trouble, since) in &self.known {
            let line = format!("{}: {trouble}", self.group);
            if repeats::tell(&line).is_some() {
                let lasts = now.saturating_duration_since(*since);
                tracing::error!(group = self.group, ?lasts, "{trouble}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition::new("shop.orders", 3)
    }

    #[test]
    fn an_error_of_a_fetch_is_a_trouble_with_the_topic_in_its_words() {
        for (code, words) in [
            (Code::TopicAuthorizationFailed, "no READ on topic shop.orders"),
            (Code::UnknownTopicOrPartition, "the topic shop.orders is not there any more"),
            (Code::BadCompression, "shop.orders [3] cannot be read at offset 17 (too much)"),
            (Code::InvalidMessage, "shop.orders [3] cannot be read at offset 17 (too much)"),
        ] {
            let Found::Trouble(trouble) = of_fetch(code, &partition(), 17, "too much") else {
                panic!("{code} is no trouble");
            };
            assert!(trouble.to_string().contains(words), "{trouble}");
            assert!(!trouble.is_of_group());
        }
        for code in [Code::BrokerTransportFailure, Code::AllBrokersDown, Code::RequestTimedOut] {
            assert_eq!(of_fetch(code, &partition(), 17, ""), Found::Unknown);
        }
    }

    #[test]
    fn where_it_can_be_read_again_is_said_if_it_is_known() {
        let (partition, reason) = (partition(), "too much".to_owned());
        let trouble = Trouble::Unreadable { partition, position: 17, next: Some(112), reason };
        let words = "shop.orders [3] cannot be read at offset 17 (too much), and can be from \
                     offset 112 on: this partition waits";
        assert!(trouble.to_string().starts_with(words), "{trouble}");
    }

    #[test]
    fn a_trouble_is_kept_until_a_look_does_not_find_it_any_more() {
        let start = Instant::now();
        let mut troubles = Troubles::new("z.intake".into());
        let group = Trouble::NoRight(Right::join("z.intake"));
        let orders = Trouble::NoRight(Right::read("shop.orders"));
        let gone = Trouble::Gone { topic: "old.orders".into() };
        troubles.add(group.clone(), start);
        let topics = |trouble: &Trouble| !trouble.is_of_group();
        troubles.replace(vec![orders.clone(), gone], topics, start);
        assert_eq!(troubles.get().len(), 3);
        let later = start + Duration::from_secs(5);
        troubles.replace(vec![orders.clone()], topics, later);
        assert_eq!(troubles.get(), [orders.clone(), group]);
        assert!(troubles.known.iter().all(|(_, since)| *since == start), "they last");
        troubles.replace(Vec::new(), Trouble::is_of_group, later);
        assert_eq!(troubles.get(), [orders]);
        troubles.replace(Vec::new(), topics, later);
        assert_eq!(troubles.get(), []);
    }
}
