//! Whether another installation works on the same topics: a look before the work begins, so that
//! it is said at once and of all lanes, not when the first foreign command is reached.
//!
//! It is a look at the end of the topics only. What it misses stops its lane later.

use std::time::Duration;

use super::Stats;
use super::kafka::{KafkaOptions, NewestError, newest, repeats};
use crate::config::Config;
use crate::wire;

/// How long one answer of Kafka is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks while the topics are somebody else's.
const EVERY: Duration = Duration::from_secs(15);

/// A record of another installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Which record, and whose, in words for a person.
    pub what: String,
    /// Whether it is a command that waits in this group, so that its lane will stop there.
    pub is_waiting: bool,
    /// Whether this group has done nothing here yet: then the topics are somebody else's.
    pub is_new_here: bool,
}

/// Looks once; none if all that is seen is this installation's. `kafka` is as
/// [`super::run::kafka`] gives it. Blocks.
///
/// # Errors
/// Kafka does not let it look.
pub fn look(
    config: &Config,
    kafka: &KafkaOptions,
    partitions: u32,
) -> Result<Option<Neighbour>, NewestError> {
    let dispatch =
        KafkaOptions { group_id: format!("{}.dispatch", kafka.group_id), ..kafka.clone() };
    let topic = &config.topics.commands;
    let seen = newest(&dispatch, topic, partitions, PATIENCE)?;
    let is_new_here = seen.committed.iter().all(Option::is_none);
    let mut found: Option<Neighbour> = None;
    for record in seen.records.iter() {
        let Some(why) = foreign_command(config, record.payload()) else { continue };
        let (partition, offset) = (record.partition(), record.offset());
        let committed = usize::try_from(partition).ok().and_then(|at| seen.committed.get(at));
        let is_waiting = committed.copied().flatten().is_none_or(|committed| offset >= committed);
        let what = format!("the command at {topic} [{partition}], offset {offset}, {why}");
        if found.as_ref().is_none_or(|found| is_waiting && !found.is_waiting) {
            found = Some(Neighbour { what, is_waiting, is_new_here });
        }
    }
    if found.is_some() {
        return Ok(found);
    }
    let topic = &config.topics.ledger;
    let seen = newest(&dispatch, topic, partitions, PATIENCE)?;
    Ok(seen.records.iter().find_map(|record| {
        let why = foreign_record(config, record.payload())?;
        let (partition, offset) = (record.partition(), record.offset());
        let what = format!("the ledger record at {topic} [{partition}], offset {offset}, {why}");
        Some(Neighbour { what, is_waiting: false, is_new_here })
    }))
}

fn foreign_command(config: &Config, value: Option<&[u8]>) -> Option<String> {
    let (command, purpose) = wire::command::decode_for(value?).ok()?;
    config.engine.foreign_command(&command.account, &purpose?.into())
}

fn foreign_record(config: &Config, value: Option<&[u8]>) -> Option<String> {
    let record = wire::ledger::decode_value(value?).ok()?;
    config.engine.foreign_group(record.purpose.as_deref()?)
}

/// Waits for as long as the topics are another installation's.
pub(super) async fn wait(config: &Config, kafka: &KafkaOptions, partitions: u32, stats: &Stats) {
    loop {
        let (own, options) = (config.clone(), kafka.clone());
        let looked = tokio::task::spawn_blocking(move || look(&own, &options, partitions)).await;
        match looked {
            Ok(Ok(Some(neighbour))) if neighbour.is_new_here => {
                let what = neighbour.what;
                stats.board.topics_are_waited_for(&what);
                if let Some(again) = repeats::tell(&what) {
                    tracing::error!(
                        what,
                        again,
                        "the topics are another installation's: this worker has done nothing here \
                         yet and does not begin"
                    );
                }
                tokio::time::sleep(EVERY).await;
            }
            Ok(Ok(Some(Neighbour { what, is_waiting, .. }))) => {
                tracing::warn!(
                    what,
                    is_waiting,
                    "another installation writes to these topics, or this one was changed"
                );
                return;
            }
            Ok(Ok(None)) => return,
            // Each lane looks at what it reads, so nothing is sent for it.
            Ok(Err(error)) => {
                tracing::warn!(%error, "it could not be seen whether the topics are shared");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "the look for other installations panicked");
                return;
            }
        }
    }
}
