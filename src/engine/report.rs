//! The engine's state for people and metrics: numbers only, taken on request.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::{Action, BatchId};

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Commands in memory.
    pub commands: usize,
    /// Bytes of packed commands in memory.
    pub command_bytes: usize,
    /// Whether partitions are paused because a bound was reached.
    pub paused: bool,
    /// Commands folded into others so far.
    pub folded: u64,
    /// Commands that were put off to be sent again in another batch, so far.
    pub retried: u64,
    /// Batches that were split to find the command at fault, so far.
    pub split: u64,
    /// Commands that were found to be at fault and set aside, so far.
    pub set_aside: u64,
    /// Calls whose answers were lost so far.
    pub lost_answers: u64,
    /// The lanes.
    pub lanes: Vec<LaneReport>,
    /// The accounts.
    pub accounts: Vec<AccountReport>,
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneReport {
    /// The partition.
    pub partition: i32,
    /// `recovering`, `live`, `stopped` or `closing`.
    pub phase: &'static str,
    /// Why it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The lowest offset without outcome.
    pub watermark: i64,
    /// The offset after the last one read.
    pub position: i64,
    /// Devices with commands.
    pub devices: usize,
    /// Offsets read and not yet below the watermark.
    pub pending: usize,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountReport {
    /// Its name.
    pub name: Arc<str>,
    /// Commands ready to be sent: claims, unclaims, metadata updates.
    pub ready: [usize; 3],
    /// Batches between intent and last outcome.
    pub batches: usize,
    /// Batches that are sent apart, because others are accepted and they are not.
    pub suspects: usize,
    /// Devices waiting for a lookup.
    pub lookups: usize,
    /// Calls that the quota would grant at once.
    pub quota_tokens: f64,
    /// For how long calls have waited for nothing but the quota so far.
    pub quota_wait_seconds: f64,
    /// Whether a person holds its submits back.
    pub paused: bool,
    /// Why the API refuses the account; none while it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_because: Option<String>,
    /// Since when nothing is called because the API asked to be left alone for a while (429 with
    /// `Retry-After`); none while it may be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_until: Option<Timestamp>,
}

/// The command that holds back the watermark of a lane: everything behind it that is decided is
/// published, but would be looked at again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadReport {
    /// The lane.
    pub partition: i32,
    /// The command's offset.
    pub offset: i64,
    /// How long ago its order event was taken in, in whole seconds; of what is no command, for how
    /// long it has held the watermark.
    pub held_seconds: u64,
    /// Where it stands: `queued`, `guarding`, `ready`, `in_batch`, `retrying`, `verifying`,
    /// `folded`; `publishing` once it is decided.
    pub stage: &'static str,
    /// How often it was sent.
    pub attempts: u16,
    /// What it is to do; none if the record is no command.
    #[serde(flatten)]
    pub command: Option<HeadCommand>,
    /// The batch that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<HeadBatch>,
}

/// What a lane's head is to do, and for which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadCommand {
    /// The device, masked.
    pub device: String,
    /// Claim, unclaim or metadata.
    pub action: Action,
    /// The account that it is for.
    pub account: String,
    /// The order.
    pub order_id: String,
    /// The order event.
    pub event_id: String,
    /// When a worker took the order event in.
    pub received_at: Timestamp,
}

/// The batch that holds a lane's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadBatch {
    /// Its id, which is the key of its ledger record.
    pub id: BatchId,
    /// `restoring`, `intending`, `submitting`, `waiting`, `polling`, `settling` or `finished`.
    pub phase: &'static str,
    /// What it does.
    pub action: Action,
    /// The account that calls.
    pub account: Arc<str>,
    /// The operation, once it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Arc<str>>,
}
