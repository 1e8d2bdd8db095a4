//! What can be wrong with the topics, and what to do about it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::KafkaOptions;
use super::topics::{TopicPlan, message_bytes_min};

/// The settings of a topic, or why they could not be read.
pub(super) type Settings = Result<BTreeMap<String, String>, String>;

/// Something about the topics that has to be put right before a worker may run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicProblem {
    /// One of the worker's own topics is not there.
    #[error("the topic {topic} does not exist: make it, for instance with `topics create`")]
    Missing {
        /// The topic.
        topic: String,
    },
    /// An order topic is not there.
    #[error(
        "the order topic {topic} does not exist: check its name in the configuration, and whether \
         this worker may see it"
    )]
    OrdersMissing {
        /// The topic.
        topic: String,
    },
    /// The ledger of a lane is in the partition of the same number.
    #[error(
        "the topic {ledger} has {ledger_partitions} partitions and {commands} has \
         {commands_partitions}, but the numbers must be equal: stop all workers and add \
         partitions to the smaller one while no command is waiting"
    )]
    PartitionsDiffer {
        /// The commands topic.
        commands: String,
        /// Its partitions.
        commands_partitions: i32,
        /// The ledger topic.
        ledger: String,
        /// Its partitions.
        ledger_partitions: i32,
    },
    /// A topic is cleaned up in the wrong way.
    #[error(
        "the topic {topic} has cleanup.policy={actual} where {expected} is expected, so it \
         would {harm}: set cleanup.policy={expected}"
    )]
    CleanupPolicy {
        /// The topic.
        topic: String,
        /// Its policy.
        actual: String,
        /// The right one.
        expected: &'static str,
        /// What would happen.
        harm: &'static str,
    },
    /// Commands would be deleted before they are worked off.
    #[error(
        "the topic {topic} keeps records for {actual:?} where at least {expected:?} is expected, \
         so commands could be lost in an outage: raise retention.ms"
    )]
    RetentionTooShort {
        /// The topic.
        topic: String,
        /// How long it keeps records.
        actual: Duration,
        /// How long it should.
        expected: Duration,
    },
    /// Commands would be deleted however new they are.
    #[error(
        "the topic {topic} has retention.bytes={actual} where no limit of size is expected, so \
         waiting commands could be deleted: set retention.bytes=-1"
    )]
    SizeLimited {
        /// The topic.
        topic: String,
        /// The limit, in bytes.
        actual: i64,
    },
    /// The topic would refuse what the worker writes.
    #[error(
        "the topic {topic} has max.message.bytes={actual} where at least {expected} is expected, \
         so it would refuse large records: raise it"
    )]
    MessageBytesTooSmall {
        /// The topic.
        topic: String,
        /// Its limit.
        actual: i64,
        /// What is needed.
        expected: i64,
    },
    /// The topic's settings could not be read.
    #[error(
        "the settings of the topic {topic} could not be read ({reason}): allow this worker to \
         describe them (ACL DescribeConfigs)"
    )]
    Unreadable {
        /// The topic.
        topic: String,
        /// What Kafka said.
        reason: String,
    },
}

impl TopicProblem {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::OrdersMissing { .. })
    }

    /// Whether this topic is one of those that the problem is about.
    pub fn concerns(&self, name: &str) -> bool {
        match self {
            Self::PartitionsDiffer { commands, ledger, .. } => commands == name || ledger == name,
            Self::Missing { topic }
            | Self::OrdersMissing { topic }
            | Self::CleanupPolicy { topic, .. }
            | Self::RetentionTooShort { topic, .. }
            | Self::SizeLimited { topic, .. }
            | Self::MessageBytesTooSmall { topic, .. }
            | Self::Unreadable { topic, .. } => topic == name,
        }
    }
}

/// Compares the plan with what there is.
pub(super) fn problems(
    plan: &TopicPlan,
    options: &KafkaOptions,
    counts: &BTreeMap<String, i32>,
    settings: &BTreeMap<String, Settings>,
) -> Vec<TopicProblem> {
    let mut problems = Vec::new();
    for topic in plan.orders.iter().filter(|topic| !counts.contains_key(*topic)) {
        problems.push(TopicProblem::OrdersMissing { topic: topic.clone() });
    }
    for topic in [&plan.commands, &plan.ledger, &plan.outcomes, &plan.dead_letters] {
        if !counts.contains_key(topic) {
            problems.push(TopicProblem::Missing { topic: topic.clone() });
        }
        match settings.get(topic) {
            None => {}
            Some(Err(reason)) => {
                let (topic, reason) = (topic.clone(), reason.clone());
                problems.push(TopicProblem::Unreadable { topic, reason });
            }
            Some(Ok(settings)) => {
                check_settings(plan, options, topic, settings, &mut problems);
            }
        }
    }
    if let (Some(commands), Some(ledger)) = (counts.get(&plan.commands), counts.get(&plan.ledger))
        && commands != ledger
    {
        problems.push(TopicProblem::PartitionsDiffer {
            commands: plan.commands.clone(),
            commands_partitions: *commands,
            ledger: plan.ledger.clone(),
            ledger_partitions: *ledger,
        });
    }
    problems
}

fn check_settings(
    plan: &TopicPlan,
    options: &KafkaOptions,
    topic: &str,
    settings: &BTreeMap<String, String>,
    problems: &mut Vec<TopicProblem>,
) {
    let number = |key: &str| settings.get(key).and_then(|value| value.parse::<i64>().ok());
    let own = || topic.to_string();
    // Outcomes may well be compacted: they are keyed by device, and the user chooses.
    let policy = match topic {
        _ if topic == plan.ledger => Some(("compact", "lose what became of its batches")),
        _ if topic == plan.commands => Some(("delete", "drop commands before they are done")),
        _ if topic == plan.dead_letters => Some(("delete", "drop dead letters of one key")),
        _ => None,
    };
    if let (Some(actual), Some((expected, harm))) = (settings.get("cleanup.policy"), policy)
        && actual != expected
    {
        let actual = actual.clone();
        problems.push(TopicProblem::CleanupPolicy { topic: own(), actual, expected, harm });
    }
    if topic == plan.commands {
        let kept = number("retention.ms").and_then(|ms| u64::try_from(ms).ok());
        if let Some(actual) = kept.map(Duration::from_millis)
            && actual < plan.commands_retention
        {
            let expected = plan.commands_retention;
            problems.push(TopicProblem::RetentionTooShort { topic: own(), actual, expected });
        }
        if let Some(actual) = number("retention.bytes").filter(|bytes| *bytes >= 0) {
            problems.push(TopicProblem::SizeLimited { topic: own(), actual });
        }
    }
    let expected = message_bytes_min(options);
    if let Some(actual) = number("max.message.bytes").filter(|bytes| *bytes < expected) {
        problems.push(TopicProblem::MessageBytesTooSmall { topic: own(), actual, expected });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topic: &str, changed: &[(&str, &str)]) -> Vec<String> {
        let plan = TopicPlan { orders: vec!["orders".into()], ..TopicPlan::default() };
        let names = ["orders", &plan.commands, &plan.ledger, &plan.outcomes, &plan.dead_letters];
        let counts = names.iter().map(|name| (name.to_string(), 12)).collect();
        let settings = names[1..]
            .iter()
            .map(|name| {
                let policy = if *name == plan.ledger { "compact" } else { "delete" };
                let mut settings = BTreeMap::from([
                    ("cleanup.policy".to_string(), policy.to_string()),
                    ("retention.ms".to_string(), "1209600000".to_string()),
                    ("retention.bytes".to_string(), "-1".to_string()),
                    ("max.message.bytes".to_string(), "1048588".to_string()),
                ]);
                for (key, value) in changed.iter().filter(|_| *name == topic) {
                    settings.insert(key.to_string(), value.to_string());
                }
                (name.to_string(), Ok(settings))
            })
            .collect();
        let found = problems(&plan, &KafkaOptions::default(), &counts, &settings);
        assert!(found.iter().all(|problem| problem.concerns(topic)), "{found:?}");
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn topics_as_planned_have_no_problem() {
        assert_eq!(check("zerotouch.commands", &[]), [""; 0]);
    }

    #[test]
    fn a_policy_that_deletes_from_the_ledger_or_merges_commands_is_found() {
        for (topic, policy) in [
            ("zerotouch.ledger", "delete"),
            ("zerotouch.ledger", "compact,delete"),
            ("zerotouch.commands", "compact"),
            ("zerotouch.dead-letters", "compact"),
        ] {
            let found = check(topic, &[("cleanup.policy", policy)]);
            assert_eq!(found.len(), 1);
            assert!(found[0].contains(policy), "{found:?}");
        }
        assert_eq!(check("zerotouch.outcomes", &[("cleanup.policy", "compact")]), [""; 0]);
    }

    #[test]
    fn a_short_or_small_retention_of_commands_is_found_and_an_endless_one_is_not() {
        for changed in [("retention.ms", "86400000"), ("retention.bytes", "1000000")] {
            assert_eq!(check("zerotouch.commands", &[changed]).len(), 1);
            assert_eq!(check("zerotouch.outcomes", &[changed]).len(), 0);
        }
        assert_eq!(check("zerotouch.commands", &[("retention.ms", "-1")]).len(), 0);
    }

    #[test]
    fn a_topic_that_refuses_large_records_is_found() {
        assert_eq!(check("zerotouch.outcomes", &[("max.message.bytes", "1000511")]).len(), 1);
        assert_eq!(check("zerotouch.outcomes", &[("max.message.bytes", "1000512")]).len(), 0);
    }
}
