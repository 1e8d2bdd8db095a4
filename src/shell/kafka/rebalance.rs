//! Who may still write for which partition: assignment, held revocations, lost partitions.
//!
//! Kafka checks that a committing member is of the present generation, never that it owns the
//! partition. So a partition is kept until its lane has ended: librdkafka's callback only leaves
//! a note here, and the consumer's thread gives the partitions up once the driver has released
//! all of them. That barrier is what makes it safe to move a lane (I5).

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use serde::Serialize;

use super::TopicPartition;
use super::client::{KafkaOptions, changed_topic, log_error, log_line};
use super::consumer::Command;
use super::ends::{self, End};
use super::membership::Membership;
use super::reach::Reach;
use super::troubles::Trouble;
use crate::shell::lock::locked;

/// Membership of the group in one ownership epoch. A transaction whose contents were decided in
/// an epoch must carry the membership of that very epoch; a later one would let it pass although
/// a partition may have moved.
pub struct GroupMetadata {
    epoch: u64,
    inner: ConsumerGroupMetadata,
}

impl GroupMetadata {
    pub(super) fn new(epoch: u64, inner: ConsumerGroupMetadata) -> Self {
        Self { epoch, inner }
    }

    /// Counts the rebalances that this consumer has seen; later is larger.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn inner(&self) -> &ConsumerGroupMetadata {
        &self.inner
    }
}

impl std::fmt::Debug for GroupMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupMetadata").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Partitions that are lost: another worker may own them already. Drop their lanes, then drop
/// this value; only then does the consumer unassign them and join the group again.
#[derive(Debug)]
pub struct LostPartitions {
    partitions: Vec<TopicPartition>,
    commands: Sender<Command>,
}

impl LostPartitions {
    pub(super) fn new(partitions: Vec<TopicPartition>, commands: Sender<Command>) -> Self {
        Self { partitions, commands }
    }

    /// The partitions.
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }
}

impl Drop for LostPartitions {
    fn drop(&mut self) {
        // If the consumer has ended, so has its assignment.
        let _ = self.commands.send(Command::Release(std::mem::take(&mut self.partitions)));
    }
}

/// What librdkafka has said about the assignment.
pub(super) enum Notice {
    Assign(TopicPartitionList),
    Revoke { partitions: TopicPartitionList, lost: bool },
}

/// How a consumer stands, as its client told last: a few seconds old.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::shell) struct Standing {
    /// Why no broker is reached; none while one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::shell) unreached: Option<String>,
    /// In which state the client is while the group does not count it in; none if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::shell) outside: Option<String>,
    /// What it cannot read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::shell) troubles: Vec<Trouble>,
}

/// The standing, and where the partitions end, for those who watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Arc<Mutex<(Standing, Vec<End>)>>);

impl Told {
    pub(super) fn get(&self) -> (Standing, Vec<End>) {
        locked(&self.0).clone()
    }

    fn set_outside(&self, membership: &Membership) {
        locked(&self.0).0.outside = membership.outside().map(str::to_owned);
    }
}

/// librdkafka's callbacks: they only leave notices.
pub(super) struct RebalanceContext {
    group: String,
    /// The last complaint: it has the words that an error of a poll has not.
    complaint: Mutex<Option<(RDKafkaErrorCode, String)>>,
    membership: Mutex<Membership>,
    reach: Mutex<Reach>,
    told: Told,
    notices: Mutex<VecDeque<Notice>>,
    made_anew: Mutex<Option<String>>,
    /// While the consumer closes there is nobody left who would release anything.
    closing: AtomicBool,
}

impl RebalanceContext {
    pub(super) fn new(options: &KafkaOptions, told: Told) -> Self {
        let membership = Membership::new(options.group_protocol, Instant::now());
        told.set_outside(&membership);
        Self {
            group: options.group_id.clone(),
            complaint: Mutex::default(),
            membership: Mutex::new(membership),
            reach: Mutex::new(Reach::new(options.group_id.clone())),
            told,
            notices: Mutex::default(),
            made_anew: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// Why the member has to be made anew, if it has been outside of the group for too long.
    pub(super) fn outside_for(&self, limit: Duration) -> Option<String> {
        let complaint = locked(&self.membership).complaint(Instant::now(), limit)?;
        Some(match locked(&self.reach).lost() {
            Some(reason) => format!("no broker is reached for too long a time: {reason}"),
            None => complaint,
        })
    }

    /// The group has handed out partitions.
    pub(super) fn taken_in(&self) {
        let mut membership = locked(&self.membership);
        membership.taken_in();
        self.told.set_outside(&membership);
    }

    /// Whether the group counts this member in, as far as is known.
    pub(super) fn is_in(&self) -> bool {
        locked(&self.membership).outside().is_none()
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// What was complained of last, if that was this error.
    pub(super) fn last_complaint(&self, code: RDKafkaErrorCode) -> Option<String> {
        let (_, reason) = locked(&self.complaint).take().filter(|(known, _)| *known == code)?;
        Some(reason)
    }

    /// Puts up what cannot be read.
    pub(super) fn show_troubles(&self, troubles: Vec<Trouble>) {
        locked(&self.told.0).0.troubles = troubles;
    }

    /// From where a partition is read, as was told last.
    pub(super) fn position(&self, partition: &TopicPartition) -> Option<i64> {
        let told = locked(&self.told.0);
        told.1.iter().find(|end| end.is_of(partition)).map(End::position)
    }

    /// A topic that was deleted and made anew since this consumer began to read it.
    pub(super) fn made_anew(&self) -> Option<String> {
        locked(&self.made_anew).clone()
    }

    pub(super) fn next_notice(&self) -> Option<Notice> {
        locked(&self.notices).pop_front()
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

impl ClientContext for RebalanceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(topic) = changed_topic(message) {
            *locked(&self.made_anew) = Some(topic.to_owned());
        }
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        locked(&self.reach).complain(&error, reason, Instant::now());
        if let Some(code) = error.rdkafka_error_code() {
            *locked(&self.complaint) = Some((code, reason.to_owned()));
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let now = Instant::now();
        let mut membership = locked(&self.membership);
        membership.note(statistics, now);
        self.told.set_outside(&membership);
        let mut reach = locked(&self.reach);
        reach.note(statistics, now);
        let mut told = locked(&self.told.0);
        told.0.unreached = reach.lost().map(str::to_owned);
        told.1 = ends::read(statistics);
    }
}

impl ConsumerContext for RebalanceContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::SeqCst) {
            // The client waits for an answer before it closes.
            let answer = if assign { Ok(()) } else { unassign(consumer, partitions) };
            if let Err(error) = answer.or_else(|_| consumer.unassign()) {
                tracing::warn!(%error, "partitions could not be given up while closing");
            }
            return;
        }
        let notice = if assign {
            Notice::Assign(partitions.clone())
        } else {
            let lost = consumer.assignment_lost();
            Notice::Revoke { partitions: partitions.clone(), lost }
        };
        locked(&self.notices).push_back(notice);
    }
}

/// Takes over partitions, as the group's protocol demands it.
pub(super) fn assign(
    consumer: &BaseConsumer<RebalanceContext>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
    }
}

/// Gives partitions up, as the group's protocol demands it.
pub(super) fn unassign(
    consumer: &BaseConsumer<RebalanceContext>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

/// A revocation that is being held back. It is answered as a whole: the group protocol knows one
/// answer to one revocation.
pub(super) struct Held {
    pub(super) partitions: TopicPartitionList,
    /// Whether they are lost: then nothing is owned any more, and nothing can get worse.
    pub(super) lost: bool,
    waiting: BTreeSet<TopicPartition>,
}

impl Held {
    pub(super) fn new(partitions: TopicPartitionList, lost: bool) -> Self {
        let waiting = names(&partitions).into_iter().collect();
        Self { partitions, lost, waiting }
    }

    /// Notes releases; true once nothing is waited for any more.
    pub(super) fn release(&mut self, released: &[TopicPartition]) -> bool {
        for partition in released {
            self.waiting.remove(partition);
        }
        self.waiting.is_empty()
    }
}

/// The partitions of a list.
pub(super) fn names(partitions: &TopicPartitionList) -> Vec<TopicPartition> {
    let mut names: Vec<TopicPartition> = Vec::with_capacity(partitions.count());
    for element in partitions.elements() {
        let topic = match names.last() {
            Some(last) if &*last.topic == element.topic() => Arc::clone(&last.topic),
            _ => element.topic().into(),
        };
        names.push(TopicPartition { topic, partition: element.partition() });
    }
    names
}

/// A list of partitions without offsets.
pub(super) fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}
