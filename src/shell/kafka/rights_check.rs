//! Tries each right that a worker needs, and leaves nothing behind: nothing is written, no group is
//! joined, no offset is committed, and no running worker is fenced.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::TopicPartition;
use super::client::{ClientError, KafkaOptions, Role, config, log_line, refused};
use super::examine::Eye;
use super::rights::Right;
use super::troubles::Found;
use crate::shell::lock::locked;

/// One thing that was tried: what, and how it went.
pub type Tried = (String, Result<String, String>);

/// A record larger than this is not made to see whether a topic refuses it.
const PROBE_MAX: i64 = 64 << 20;

/// What a client complained of last.
#[derive(Default)]
struct Heard {
    complaint: Mutex<Option<(Code, String)>>,
    delivered: Mutex<Option<Result<(), Code>>>,
}

impl Heard {
    /// An error, with the complaint that explains it.
    fn explained(&self, error: &KafkaError) -> String {
        match &*locked(&self.complaint) {
            Some((_, reason)) => format!("{error}; {reason}"),
            None => error.to_string(),
        }
    }

    fn has_heard(&self, code: Code) -> bool {
        locked(&self.complaint).as_ref().is_some_and(|(known, _)| *known == code)
    }
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut complaint = locked(&self.complaint);
        // That brokers are gone explains less than what one of them said.
        let is_empty = complaint.is_none();
        if let Some(code) = error.rdkafka_error_code()
            && (is_empty || code != Code::AllBrokersDown)
        {
            *complaint = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Heard {}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let failed = |error: &KafkaError| error.rdkafka_error_code().unwrap_or(Code::Fail);
        *locked(&self.delivered) =
            Some(result.as_ref().map(|_| ()).map_err(|(error, _)| failed(error)));
    }
}

/// Whether a topic may be read: it is fetched from, at its end. Blocks.
pub fn reading(options: &KafkaOptions, topic: &str) -> Tried {
    let result = Eye::new(options).map_err(|error| error.to_string()).and_then(|eye| {
        let place = TopicPartition::new(topic, 0);
        for found in [eye.topic(topic), eye.partition(&place, None)] {
            match found {
                Found::Readable => {}
                Found::Trouble(trouble) => return Err(trouble.to_string()),
                Found::Unknown => return Err("there was no answer in time".to_owned()),
            }
        }
        Ok("may be read".to_owned())
    });
    (format!("reading {topic}"), result)
}

/// Whether this principal may be a member of a group: an offset is committed for a topic that does
/// not exist, which brokers refuse after they have looked at the right, and before they look at the
/// group. Blocks.
pub fn joining(options: &KafkaOptions, commands: &str) -> Tried {
    let group = &options.group_id;
    let result = try_group(options, &format!("{commands}.no-such-topic"));
    (format!("group {group}"), result.map(|()| "may be joined".to_owned()))
}

fn try_group(options: &KafkaOptions, nowhere: &str) -> Result<(), String> {
    let missing = || Right::join(&options.group_id).to_string();
    let client: BaseConsumer<Heard> = config(options, Role::Reader)
        .and_then(|config| {
            let made = config.create_with_context(Heard::default());
            made.map_err(|error| refused("group check", &error))
        })
        .map_err(|error| error.to_string())?;
    let mut list = TopicPartitionList::with_capacity(1);
    let added = list.add_partition_offset(nowhere, 0, Offset::Offset(0));
    added.map_err(|error| error.to_string())?;
    // A commit has no time limit of its own: first it is seen whether the group has a coordinator.
    let asked = client.committed_offsets(list.clone(), options.request_timeout);
    client.poll(Duration::ZERO);
    let context = client.context();
    if let Err(error) = asked {
        let code = error.rdkafka_error_code();
        if code == Some(Code::GroupAuthorizationFailed)
            || context.has_heard(Code::GroupAuthorizationFailed)
        {
            return Err(missing());
        }
        if !is_of_nowhere(code) {
            return Err(format!("could not be tried: {}", context.explained(&error)));
        }
    }
    match client.commit(&list, CommitMode::Sync) {
        Ok(()) => Ok(()),
        Err(error) => match error.rdkafka_error_code() {
            Some(Code::GroupAuthorizationFailed) => Err(missing()),
            // The right was there: the topic is not, or the group has members.
            code if is_of_nowhere(code) => Ok(()),
            Some(Code::UnknownMemberId | Code::IllegalGeneration) => Ok(()),
            _ => Err(format!("could not be tried: {}", context.explained(&error))),
        },
    }
}

/// What is said of a topic that does not exist.
fn is_of_nowhere(code: Option<Code>) -> bool {
    matches!(
        code,
        Some(
            Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::TopicAuthorizationFailed
                | Code::NoOffset
        )
    )
}

/// Whether transactions are possible, under an id of its own. Blocks.
pub fn transactions(options: &KafkaOptions, id: &str) -> Tried {
    let result = try_transactions(options, id);
    (format!("transactions under the id {id}"), result.map(|()| "are possible".to_owned()))
}

fn try_transactions(options: &KafkaOptions, id: &str) -> Result<(), String> {
    let client: BaseProducer<Heard> = config(options, Role::Transactional(id))
        .and_then(|config| {
            let made = config.create_with_context(Heard::default());
            made.map_err(|error| refused("transaction check", &error))
        })
        .map_err(|error| error.to_string())?;
    let Err(error) = client.init_transactions(options.request_timeout) else { return Ok(()) };
    // Complaints wait for this.
    client.poll(Duration::from_millis(50));
    let context = client.context();
    let is = |code| error.rdkafka_error_code() == Some(code) || context.has_heard(code);
    if is(Code::TransactionalIdAuthorizationFailed) {
        return Err(Right::transactions(id).to_string());
    }
    if is(Code::InvalidTransactionTimeout) {
        return Err(format!(
            "the brokers refuse `kafka.transaction_timeout` ({:?}): raise their \
             transaction.max.timeout.ms, or lower the key",
            options.transaction_timeout
        ));
    }
    let reason = context.explained(&error);
    Err(format!("are not possible: {reason}; the worker needs brokers with transactions"))
}

/// Whether a topic may be written to: a record is sent that is larger than the topic takes
/// (`bytes_max`), which brokers refuse after they have looked at the right. Blocks.
pub fn writing(options: &KafkaOptions, topic: &str, bytes_max: Option<i64>) -> Tried {
    let what = format!("writing {topic}");
    let Some(bytes) = bytes_max.filter(|bytes| *bytes < PROBE_MAX) else {
        let text = "not tried: it is not known how large a record it refuses";
        return (what, Ok(text.to_owned()));
    };
    let result = match refusal(options, topic, bytes) {
        Ok(Code::TopicAuthorizationFailed) => Err(Right::write(topic).to_string()),
        Ok(Code::MessageSizeTooLarge | Code::InvalidRecord) => Ok("may be written".to_owned()),
        Ok(code) => Err(format!("could not be tried: {code}")),
        Err(error) => Err(error.to_string()),
    };
    (what, result)
}

/// Why a record that is too large was refused.
fn refusal(options: &KafkaOptions, topic: &str, bytes_max: i64) -> Result<Code, ClientError> {
    let size = usize::try_from(bytes_max).unwrap_or_default() + 1_024;
    let mut config = config(options, Role::Admin)?;
    // Nothing may make it smaller on its way.
    config
        .set("compression.type", "none")
        .set("enable.idempotence", "false")
        .set("acks", "all")
        .set("message.max.bytes", (size + 1_024).to_string())
        .set("message.timeout.ms", options.request_timeout.as_millis().to_string());
    let client: BaseProducer<Heard> = config
        .create_with_context(Heard::default())
        .map_err(|error| refused("writing check", &error))?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    });
    let payload: Vec<u8> = noise.take(size).collect();
    let record: BaseRecord<'_, [u8], [u8]> =
        BaseRecord::to(topic).key(&b"check-config"[..]).payload(&payload[..]).partition(0);
    if let Err((error, _)) = client.send(record) {
        return Ok(error.rdkafka_error_code().unwrap_or(Code::Fail));
    }
    let _ = client.flush(options.request_timeout * 2);
    let delivered = locked(&client.context().delivered).take();
    Ok(match delivered {
        Some(Err(code)) => code,
        Some(Ok(())) => Code::NoError,
        None => Code::MessageTimedOut,
    })
}
