//! Ledger records: JSON, version 1, keyed by batch id; the tombstone ends a batch.
//!
//! Offsets are delta-coded: a flat list of pairs, how many offsets are left out and how many then
//! follow. A record that cannot be read stops its lane, so every error says what to do. Members
//! that a worker can do without may be added within a version; unknown ones are passed over.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::json::{DateTime, complaint, version_of};
use super::purpose::PurposeJson;
use crate::model::{
    Action, BatchId, BatchState, LedgerRecord, LedgerWrite, OffsetSet, Partition, Run,
};

/// Version of the record.
pub const VERSION: u32 = 1;

/// Commands of one batch in one lane at most; a record that claims more is damaged.
pub const OFFSETS_MAX: u64 = 16_000_000;

/// What became of one batch, as far as it concerns one lane; written by the worker for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "LedgerRecord")]
pub struct LedgerJson<'a> {
    /// Version of the record: 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// The batch; also the record's key.
    pub batch_id: BatchId,
    /// What the batch does.
    pub action: Action,
    /// The account that makes the call.
    pub account: Cow<'a, str>,
    /// How far it is.
    pub state: StateJson,
    /// The operation, `operations/…`; there if and only if the state is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Cow<'a, str>>,
    /// Offsets of commands without outcome, as pairs: gap since the run before, length of the run.
    pub open: Vec<u64>,
    /// Offsets of commands whose outcomes are published, as pairs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<u64>,
    /// Open commands that were sent in batches before, without success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retried: Vec<RetriedJson>,
    /// How often this batch has been sent, this time included; 0 if it never is.
    pub attempt: u16,
    /// When the call was intended.
    #[schemars(with = "DateTime")]
    pub intended_at: Timestamp,
    /// When waiting for the operation ends.
    #[schemars(with = "DateTime")]
    pub deadline: Timestamp,
    /// Whom the batch is for; absent if an older worker wrote it.
    #[serde(default, borrow, rename = "for", skip_serializing_if = "Option::is_none")]
    pub purpose: Option<PurposeJson<'a>>,
}

/// Commands that were sent before equally often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Retried")]
pub struct RetriedJson {
    /// How often.
    #[schemars(range(min = 1))]
    pub attempts: u16,
    /// Their offsets, as pairs.
    pub offsets: Vec<u64>,
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "BatchState")]
pub enum StateJson {
    /// Written before the call.
    Intended,
    /// The API has named the operation.
    Accepted,
    /// No call of its own: commands that wait to be sent again in other batches.
    Deferred,
    /// Every command of the batch in this lane has its outcome.
    Resolved,
}

/// Why a ledger record cannot be read. The lane must not run before somebody has looked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The key is not a batch id.
    #[error(
        "the key of the ledger record is no batch id; remove the foreign record by writing a \
         tombstone under its key"
    )]
    Key,
    /// Not JSON, or members are missing or of a wrong type.
    #[error(
        "the ledger record is malformed: {0}; if no worker wrote it, remove it by a tombstone \
         under its key, else restore the ledger partition from a copy"
    )]
    Malformed(String),
    /// Written by a newer worker.
    #[error(
        "the ledger record has version {0}, this worker reads version {VERSION}; a newer worker \
         wrote it: upgrade this one; the lane goes on under a version that understands the record"
    )]
    Newer(u64),
    /// Its parts do not fit together.
    #[error(
        "the ledger record of batch {batch} contradicts itself: {what}; look up the devices of its \
         commands before removing it by a tombstone under its key"
    )]
    Contradiction {
        /// The batch that the record speaks of.
        batch: BatchId,
        /// What does not fit.
        what: &'static str,
    },
}

/// The record's key.
#[must_use]
pub fn encode_key(batch: BatchId) -> String {
    batch.to_string()
}

/// The record's value.
#[must_use]
pub fn encode(record: &LedgerRecord) -> Vec<u8> {
    let (state, operation) = match &record.state {
        BatchState::Intended => (StateJson::Intended, None),
        BatchState::Accepted { operation } => {
            (StateJson::Accepted, Some(Cow::Borrowed(operation.as_ref())))
        }
        BatchState::Deferred => (StateJson::Deferred, None),
        BatchState::Resolved => (StateJson::Resolved, None),
    };
    let retried = record.retried.iter().map(|(attempts, offsets)| RetriedJson {
        attempts: *attempts,
        offsets: encode_offsets(offsets),
    });
    let json = LedgerJson {
        version: VERSION,
        batch_id: record.batch,
        action: record.action,
        account: Cow::Borrowed(&record.account),
        state,
        operation,
        open: encode_offsets(&record.open),
        decided: encode_offsets(&record.decided),
        retried: retried.collect(),
        attempt: record.attempt,
        intended_at: record.intended_at,
        deadline: record.deadline,
        purpose: record.purpose.as_deref().map(Into::into),
    };
    let mut bytes = Vec::with_capacity(384);
    // Serialising text and integers into memory has no way to fail.
    #[allow(clippy::expect_used)]
    serde_json::to_writer(&mut bytes, &json).expect("plain data");
    bytes
}

/// Reads a record of the ledger partition: key and value, `None` being the tombstone.
///
/// # Errors
/// It is not what this version of the worker could have written.
pub fn decode(
    partition: Partition,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<LedgerWrite, LedgerError> {
    let batch = BatchId(Uuid::try_parse_ascii(key).map_err(|_| LedgerError::Key)?);
    let record = value.map(decode_value).transpose()?;
    if record.as_ref().is_some_and(|record| record.batch != batch) {
        return Err(LedgerError::Contradiction { batch, what: "the key names another batch" });
    }
    Ok(LedgerWrite { partition, batch, record })
}

/// Reads a record's value.
///
/// # Errors
/// It is not what this version of the worker could have written.
pub fn decode_value(value: &[u8]) -> Result<LedgerRecord, LedgerError> {
    let json: LedgerJson<'_> =
        serde_json::from_slice(value).map_err(|error| match version_of(value) {
            Some(version) if version > u64::from(VERSION) => LedgerError::Newer(version),
            _ => LedgerError::Malformed(complaint(&error)),
        })?;
    match json.version {
        VERSION => {}
        0 => return Err(LedgerError::Malformed("there is no version 0".into())),
        version => return Err(LedgerError::Newer(version.into())),
    }
    let batch = json.batch_id;
    let wrong = |what| LedgerError::Contradiction { batch, what };
    let state = match (json.state, json.operation) {
        (StateJson::Intended, None) => BatchState::Intended,
        (StateJson::Deferred, None) => BatchState::Deferred,
        (StateJson::Resolved, None) => BatchState::Resolved,
        (StateJson::Accepted, Some(operation)) if !operation.is_empty() => {
            BatchState::Accepted { operation: Arc::from(operation.as_ref()) }
        }
        (StateJson::Accepted, _) => return Err(wrong("accepted without an operation")),
        _ => return Err(wrong("an operation in a state that has none")),
    };
    let open = decode_offsets(&json.open).ok_or_else(|| wrong("open is no list of offset runs"))?;
    let decided =
        decode_offsets(&json.decided).ok_or_else(|| wrong("decided is no list of offset runs"))?;
    if overlap(&open, &decided) {
        return Err(wrong("an offset is both open and decided"));
    }
    let retried = decode_retried(&json.retried, &open)
        .ok_or_else(|| wrong("retried is no list of counts with offsets that are open"))?;
    Ok(LedgerRecord {
        batch,
        action: json.action,
        account: Arc::from(json.account.as_ref()),
        state,
        open,
        decided,
        retried,
        attempt: json.attempt,
        intended_at: json.intended_at,
        deadline: json.deadline,
        purpose: json.purpose.map(|purpose| Arc::new(purpose.into())),
    })
}

fn encode_offsets(offsets: &OffsetSet) -> Vec<u64> {
    let mut pairs = Vec::with_capacity(offsets.runs().len() * 2);
    let mut end = 0;
    for run in offsets.runs() {
        // Runs ascend from 0 on, so the gap is never negative.
        pairs.extend([run.first.abs_diff(end), run.len]);
        end = run.end();
    }
    pairs
}

fn decode_offsets(pairs: &[u64]) -> Option<OffsetSet> {
    let (pairs, []) = pairs.as_chunks::<2>() else { return None };
    let (mut runs, mut end, mut total) = (Vec::with_capacity(pairs.len()), 0_i64, 0_u64);
    for [gap, len] in pairs {
        let first = end.checked_add_unsigned(*gap)?;
        end = first.checked_add_unsigned(*len)?;
        total = total.checked_add(*len)?;
        runs.push(Run { first, len: *len });
    }
    (total <= OFFSETS_MAX).then(|| OffsetSet::from_runs(runs)).flatten()
}

fn decode_retried(json: &[RetriedJson], open: &OffsetSet) -> Option<Vec<(u16, OffsetSet)>> {
    let mut retried: Vec<(u16, OffsetSet)> = Vec::with_capacity(json.len());
    for RetriedJson { attempts, offsets } in json {
        let offsets = decode_offsets(offsets)?;
        let least = retried.last().map_or(0, |(attempts, _)| *attempts);
        let is_known = retried.iter().any(|(_, known)| overlap(known, &offsets));
        if *attempts <= least || offsets.is_empty() || is_known || !open.contains_all(&offsets) {
            return None;
        }
        retried.push((*attempts, offsets));
    }
    Some(retried)
}

/// Whether two sets share an offset.
fn overlap(a: &OffsetSet, b: &OffsetSet) -> bool {
    let (mut a, mut b) = (a.runs(), b.runs());
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        if x.end() <= y.first {
            a = &a[1..];
        } else if y.end() <= x.first {
            b = &b[1..];
        } else {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Offset;

    const BATCH: BatchId = BatchId(Uuid::from_u128(0x0190_a1b2_c3d4));

    fn set(offsets: &[i64]) -> OffsetSet {
        OffsetSet::new(offsets.iter().copied().map(Offset).collect())
    }

    fn record(open: OffsetSet, decided: OffsetSet) -> LedgerRecord {
        LedgerRecord {
            batch: BATCH,
            action: Action::Claim,
            account: "main".into(),
            state: BatchState::Accepted { operation: "operations/apibatchoperation/1".into() },
            open,
            decided,
            retried: Vec::new(),
            attempt: 1,
            intended_at: "2026-05-04T08:00:00Z".parse().unwrap(),
            deadline: "2026-05-04T09:00:00Z".parse().unwrap(),
            purpose: None,
        }
    }

    fn edited(from: &str, to: &str) -> LedgerError {
        let text = String::from_utf8(encode(&record(set(&[10, 11, 14]), set(&[12])))).unwrap();
        assert!(text.contains(from), "{text}");
        decode_value(text.replace(from, to).as_bytes()).unwrap_err()
    }

    #[test]
    fn offsets_are_written_as_gaps_and_lengths() {
        let pairs = encode_offsets(&set(&[1000, 1001, 1002, 1005]));
        assert_eq!(pairs, [1000, 3, 2, 1]);
        assert_eq!(decode_offsets(&pairs), Some(set(&[1000, 1001, 1002, 1005])));
    }

    #[test]
    fn malformed_offsets_are_refused() {
        let max = i64::MAX as u64;
        for bad in [
            &[1][..],
            &[0, 0],
            &[0, 1, 0, 1],
            &[max, 1],
            &[u64::MAX, 1],
            &[0, OFFSETS_MAX + 1],
            &[0, 1, u64::MAX, u64::MAX],
        ] {
            assert_eq!(decode_offsets(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        for (from, to, what) in [
            (r#""accepted""#, r#""intended""#, "an operation in a state that has none"),
            (r#""operation":"operations/apibatchoperation/1","#, "", "without an operation"),
            ("[10,2,2,1]", "[10,4]", "both open and decided"),
            ("[10,2,2,1]", "[10,2,0,1]", "open is no list"),
            ("[12,1]", "[12]", "decided is no list"),
        ] {
            let error = edited(from, to).to_string();
            assert!(error.contains(what) && error.contains("tombstone"), "{error}");
        }
        assert_eq!(edited(r#""version":1"#, r#""version":3"#), LedgerError::Newer(3));
        assert!(matches!(edited(r#""attempt":1"#, ""), LedgerError::Malformed(_)));
    }

    #[test]
    fn counts_of_sends_come_back_and_must_be_of_open_offsets() {
        let mut sent = record(set(&[10, 11, 14]), set(&[12]));
        sent.retried = vec![(1, set(&[10, 14])), (3, set(&[11]))];
        let text = String::from_utf8(encode(&sent)).unwrap();
        assert_eq!(decode_value(text.as_bytes()), Ok(sent));
        for (from, to) in [
            (r#""attempts":3"#, r#""attempts":1"#),
            (r#""attempts":1"#, r#""attempts":0"#),
            ("[11,1]", "[12,1]"),
            ("[11,1]", "[10,1]"),
            ("[11,1]", "[]"),
            ("[11,1]", "[11]"),
        ] {
            assert!(text.contains(from), "{text}");
            let error = decode_value(text.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains("retried is no list"), "{to}: {error}");
        }
    }

    #[test]
    fn whom_a_record_is_for_comes_back() {
        let purpose = crate::model::Purpose {
            endpoint: "https://api.example".into(),
            partner: "123".into(),
            group: "zerotouch-worker".into(),
        };
        let record = LedgerRecord { purpose: Some(purpose.into()), ..record(set(&[1]), set(&[])) };
        assert_eq!(decode_value(&encode(&record)), Ok(record));
    }

    #[test]
    fn the_key_must_be_the_batch() {
        let value = encode(&record(set(&[1]), set(&[])));
        let lane = Partition(2);
        let key = encode_key(BATCH);
        let write = decode(lane, key.as_bytes(), Some(&value)).unwrap();
        assert_eq!(write.record, Some(record(set(&[1]), set(&[]))));
        assert_eq!(decode(lane, key.as_bytes(), None).unwrap().record, None);
        assert_eq!(decode(lane, b"foreign", Some(&value)), Err(LedgerError::Key));
        let other = encode_key(BatchId(Uuid::from_u128(1)));
        assert!(matches!(
            decode(lane, other.as_bytes(), Some(&value)),
            Err(LedgerError::Contradiction { .. })
        ));
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was(
            offsets in proptest::collection::btree_map(0_i64..100_000, any::<bool>(), 0..200),
            state in 0..4,
        ) {
            let part = |wanted: bool| {
                let of_part = offsets.iter().filter(|(_, decided)| **decided == wanted);
                OffsetSet::new(of_part.map(|(offset, _)| Offset(*offset)).collect())
            };
            let mut record = record(part(false), part(true));
            match state {
                0 => record.state = BatchState::Intended,
                1 => record.state = BatchState::Resolved,
                2 => record.state = BatchState::Deferred,
                _ => {}
            }
            prop_assert_eq!(decode_value(&encode(&record)), Ok(record));
        }

        #[test]
        fn any_pairs_give_a_set_or_none(pairs in proptest::collection::vec(any::<u64>(), 0..12)) {
            let _ = decode_offsets(&pairs);
        }

        #[test]
        fn any_bytes_give_a_record_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode(Partition(0), &bytes, Some(&bytes));
        }
    }
}
