//! The names under which a worker is known to the brokers, and what can be tried under them before
//! it runs: each right that it needs, and its positions.

use super::intake;
use super::kafka::rights_check::{self, Tried};
use super::kafka::{KafkaOptions, TopicError, TopicPlan, message_limits};
use crate::engine::StartFrom;

/// The Kafka options of a half: it has a group of its own.
pub(super) fn half(kafka: &KafkaOptions, name: &str) -> KafkaOptions {
    KafkaOptions { group_id: format!("{}.{name}", kafka.group_id), ..kafka.clone() }
}

/// Under which name a half writes its transactions.
pub(super) fn transactional_id(kafka: &KafkaOptions, half: &str, instance: &str) -> String {
    format!("{}.{half}.{instance}", kafka.group_id)
}

/// How far the group is in each order topic, and what has to be said before it is read.
pub async fn order_topics(
    kafka: &KafkaOptions,
    plan: &TopicPlan,
    start: Option<StartFrom>,
) -> Vec<Tried> {
    intake::order_topics(half(kafka, "intake"), plan.orders.clone(), start).await
}

/// Tries each right that `run` needs at the brokers; leaves nothing behind, and disturbs no worker
/// that runs.
///
/// # Errors
/// Kafka does not answer.
pub async fn try_all(kafka: &KafkaOptions, plan: &TopicPlan) -> Result<Vec<Tried>, TopicError> {
    let limits = message_limits(kafka, plan).await?;
    let (kafka, plan) = (kafka.clone(), plan.clone());
    let tried = tokio::task::spawn_blocking(move || {
        let halves: &[&str] =
            if plan.orders.is_empty() { &["dispatch"] } else { &["intake", "dispatch"] };
        let mut tried = Vec::new();
        for topic in plan.orders.iter().chain([&plan.commands, &plan.ledger]) {
            tried.push(rights_check::reading(&kafka, topic));
        }
        for topic in [&plan.commands, &plan.ledger, &plan.outcomes, &plan.dead_letters] {
            tried.push(rights_check::writing(&kafka, topic, limits.get(topic).copied()));
        }
        for name in halves {
            tried.push(rights_check::joining(&half(&kafka, name), &plan.commands));
        }
        for name in halves {
            // A worker that runs has another one, and is not fenced.
            let id = transactional_id(&kafka, name, "check-config");
            tried.push(rights_check::transactions(&half(&kafka, name), &id));
        }
        tried
    });
    Ok(tried.await.unwrap_or_default())
}
