//! The promises, checked at every step, and by the oracle over the whole history at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zerotouch_worker::engine::{CallNumber, GuardMode, Input, Submit, Transaction};
use zerotouch_worker::model::{
    Action, BatchId, BatchState, CallFailure, Command, DeviceHash, DeviceVerdict, LedgerRecord,
    OperationReply, OutcomeId, Status,
};
use zerotouch_worker::sandbox::{Delivery, Method};
use zerotouch_worker::verify::{
    self, ChangeSeen, CommandSeen, DeviceSeen, History, Invariant, OperationSeen, Orders,
    OutcomeSeen, WatermarkSeen,
};

use crate::counts::Counts;
use crate::http::{HttpCall, What};
use crate::kafka::{Fate, Word};
use crate::plan::Fault;
use crate::workload::{Hold, Item};
use crate::world::{Violation, World, nanos};

const LEASE_PASSED: &str = "the lease has passed since the intent's transaction began";

/// An operation that the API has taken, for one device.
#[derive(Clone, Debug)]
struct InFlight {
    name: Arc<str>,
    partition: i32,
    ends: u64,
    /// A worker that gives it up is in its right: it never ends, or cannot be read.
    is_lame: bool,
    /// Commands in it that were sent; their outcomes say whether it was given up.
    command: (i32, i64),
}

/// Lane and offset of a command.
type Place = (i32, i64);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) violation: Option<Violation>,
    pub(crate) counts: Counts,
    outcomes: Vec<OutcomeSeen>,
    watermarks: Vec<WatermarkSeen>,
    dead_letters: BTreeSet<(i32, i64)>,
    /// Operations whose names were committed, with the lane.
    known: BTreeSet<(Arc<str>, i32)>,
    /// Operations that the next one did not wait for, with good reason.
    excused: BTreeSet<Arc<str>>,
    in_flight: BTreeMap<u128, Vec<InFlight>>,
    /// What each operation took: devices, with lane and offset of the command.
    taken: BTreeMap<Arc<str>, Vec<(u128, Place)>>,
    /// Answers on their way that say how an operation ended, by worker, session and call.
    telling: BTreeMap<(usize, u32, CallNumber), Arc<str>>,
    /// Commands whose success a worker has read, with the operation.
    succeeded: BTreeMap<Place, Arc<str>>,
    /// Since when the API answers everybody, but for the culprit.
    pub(crate) working_since: Option<u64>,
    /// Commands in submits whose answers were lost: first when, and last when.
    lost: BTreeMap<Place, (u64, u64)>,
    /// When an account's submits were last accepted, and when a device was last looked up.
    accepted: BTreeMap<String, u64>,
    looked_up: BTreeMap<u128, u64>,
    are_others_checked: bool,
}

/// Others than the culprit have their outcomes so long after everything else works.
const OTHERS_WITHIN: u64 = 6 * 3_600 * 1_000_000_000;
/// Others come for so long: the last of them have time to be done as well.
pub(crate) const OTHERS_FOR: u64 = OTHERS_WITHIN / 6 * 5;

impl World {
    pub(crate) fn check_contents(&mut self, contents: &Transaction) {
        if crate::mutants::harm_must_show() {
            return;
        }
        let lanes: BTreeSet<i32> = contents.offsets.iter().map(|write| write.partition.0).collect();
        let written = contents.ledger.iter().map(|write| write.partition);
        let written = written.chain(contents.outcomes.iter().map(|write| write.partition));
        let written = written.chain(contents.dead_letters.iter().map(|write| write.partition));
        for partition in written.collect::<Vec<_>>() {
            if !lanes.contains(&partition.0) {
                let what = format!("a transaction writes for p{partition} without an offset of it");
                return self.violate(what, &[format!("p{partition}")]);
            }
        }
    }

    /// A transaction has been decided: I1 and I4.
    pub(crate) fn check_committed(&mut self, transaction: usize) {
        let txn = &self.kafka.transactions[transaction];
        let (mut contents, writer, began) = (Arc::clone(&txn.contents), txn.writer, txn.began);
        if !txn.has_offsets {
            // A commit that came too early: the offsets, and perhaps more, are not in it.
            let early = Arc::make_mut(&mut contents);
            early.offsets.clear();
            if txn.is_half {
                early.outcomes.clear();
                early.dead_letters.clear();
            }
        }
        let offsets = std::mem::take(&mut self.kafka.transactions[transaction].written);
        for write in &contents.outcomes {
            let (partition, offset) = (write.partition.0, write.offset.0);
            let command = write.command.unpack();
            self.check_decided(partition, offset);
            self.check_purpose(partition, offset);
            let key = command.device_key().unwrap();
            self.checks.outcomes.push(OutcomeSeen {
                outcome_id: OutcomeId::from(command.id()),
                command_id: command.id(),
                device: Some(key.as_str().into()),
                action: command.action,
                status: write.verdict.status,
                code: write.verdict.failure.as_ref().map(|failure| failure.code),
                decided_by: write.verdict.decided_by,
            });
            let (status, device) = (write.verdict.status, command.facts().unwrap().device.0);
            let said = write.verdict.failure.as_ref().map(|failure| &*failure.message);
            self.check_given_up((partition, offset), &command.account, said);
            if status == Status::Unresolved {
                self.excuse(device, (partition, offset));
            }
            self.checks.counts.event("outcome", status.as_str());
            self.note(|| format!("outcome p{partition}@{offset} {}", status.as_str()));
        }
        for write in &contents.dead_letters {
            self.check_decided(write.partition.0, write.offset.0);
            if !self.checks.dead_letters.insert((write.partition.0, write.offset.0)) {
                self.violate("a second dead letter".into(), &[]);
            }
        }
        for (write, offset) in contents.ledger.iter().zip(offsets) {
            let partition = write.partition.0;
            if let Some(LedgerRecord { state: BatchState::Accepted { operation }, .. }) =
                &write.record
            {
                self.checks.known.insert((Arc::clone(operation), partition));
            }
            let word = Word { offset, record: write.record.clone(), writer, began };
            let words = &mut self.kafka.lanes[partition as usize].words;
            if words.get(&write.batch).is_none_or(|old| old.offset < word.offset) {
                words.insert(write.batch, word);
            }
        }
        for write in &contents.offsets {
            self.check_watermark(write.partition.0, write.offset.0);
        }
    }

    /// I15: a device is given up for the silence of the API only if others were accepted meanwhile.
    fn check_given_up(&mut self, place: Place, account: &str, said: Option<&str>) {
        let is_given_up = said.is_some_and(|said| said.contains("the last of them alone"));
        let since = self.checks.lost.get(&place).map(|(first, _)| *first);
        let accepted = self.checks.accepted.get(account).copied();
        if is_given_up && since.is_some() && accepted < since {
            let what = format!("I15: p{}@{} is given up in an outage", place.0, place.1);
            self.violate(what, &[format!("p{}", place.0)]);
        }
    }

    /// I15: what the culprit does not touch is done in good time.
    pub(crate) fn check_others(&mut self) {
        let is_late = |since: u64| self.now > since + OTHERS_WITHIN;
        if !self.checks.working_since.is_some_and(is_late) || self.checks.are_others_checked {
            return;
        }
        self.checks.are_others_checked = true;
        if let Some(what) = self.unsettled() {
            let workers = self.slots.iter().filter_map(|slot| Some(&slot.session.as_ref()?.worker));
            let reports: Vec<String> =
                workers.map(|worker| format!("{:?}", worker.report())).collect();
            self.note(|| format!("{reports:#?}"));
            self.violate(format!("I15: the culprit holds up others, or itself: {what}"), &[]);
        }
    }

    /// An answer is on its way to a worker.
    pub(crate) fn note_answered(
        &mut self,
        call: &HttpCall,
        result: &Result<(), CallFailure>,
        wait: u64,
    ) {
        let at = self.now + wait;
        match (&call.what, result) {
            (What::Submit(_), Ok(())) => {
                let name = self.plan.engine.accounts[usize::from(call.account)].name.to_string();
                let last = self.checks.accepted.entry(name).or_default();
                *last = at.max(*last);
            }
            (What::Submit(submit), Err(CallFailure::Ambiguous { .. })) => {
                for packed in &submit.commands {
                    let Some(place) = self.place_of(&packed.unpack()) else { continue };
                    let lost = self.checks.lost.entry(place).or_insert((at, at));
                    lost.1 = lost.1.max(at);
                }
            }
            (What::Lookup(command), Ok(())) => {
                let device = command.unpack().facts().unwrap().device.0;
                self.checks.looked_up.insert(device, at);
            }
            _ => {}
        }
    }

    /// I12: an unclaim whose answer was lost is sent again only after a look at the device.
    fn check_seen(&mut self, command: &Command, place: Place) {
        let Some((_, lost)) = self.checks.lost.get(&place).copied() else { return };
        let device = command.facts().unwrap().device.0;
        let looked = self.checks.looked_up.get(&device).copied();
        if command.action == Action::Unclaim && looked < Some(lost) && !self.plan.is_wild() {
            let what = format!("I12: p{}@{} is unclaimed again unseen", place.0, place.1);
            self.violate(what, &[format!("p{}", place.0)]);
        }
    }

    /// No worker decides a command that is meant for another installation.
    fn check_purpose(&mut self, partition: i32, offset: i64) {
        let lane = self.kafka.lane(partition);
        let mut entries = lane.commands.iter().filter(|entry| entry.offset == offset);
        let is_foreign = entries.any(|entry| matches!(entry.item, Item::Held(_, Hold::Elsewhere)));
        if is_foreign && !self.is_calm {
            let what = format!("p{partition}@{offset} is decided and meant for somebody else");
            self.violate(what, &[format!("p{partition}@{offset}")]);
        }
    }

    fn check_decided(&mut self, partition: i32, offset: i64) {
        let lane = self.kafka.lane(partition);
        let (was_open, is_first) = (lane.undecided.remove(&offset), lane.decided.insert(offset));
        if !was_open || !is_first {
            let what =
                format!("I1: p{partition}@{offset} gets a second outcome, or has no command");
            self.violate(what, &[format!("p{partition}")]);
        }
    }

    fn check_watermark(&mut self, partition: i32, offset: i64) {
        let lane = self.kafka.lane(partition);
        let passed = lane.undecided.first().copied().filter(|first| *first < offset);
        // A transaction marked late may still be before this one.
        let went_back = lane.pending.len() <= 1 && lane.committed > offset;
        if let Some(passed) = passed {
            let what = format!("I4: p{partition} watermark {offset} passes {passed}, undecided");
            self.violate(what, &[format!("p{partition}")]);
        } else if went_back {
            let what = format!("I4: p{partition} watermark goes back to {offset}");
            self.violate(what, &[format!("p{partition}")]);
        }
        let outcomes_visible = self.checks.outcomes.len();
        let seen = WatermarkSeen { partition, committed: offset, outcomes_visible };
        self.checks.watermarks.push(seen);
    }

    fn place_of(&self, command: &Command) -> Option<(i32, i64)> {
        self.places.get(command.source.offset as usize).copied().flatten()
    }

    /// I5: the call leaves under an intent that its own session has committed, which no other
    /// owner has answered since, and within the lease from before the intent's transaction.
    pub(crate) fn check_sent(&mut self, slot: usize, session: u32, submit: &Submit) {
        for packed in &submit.commands {
            let command = packed.unpack();
            let Some((partition, offset)) = self.place_of(&command) else {
                return self.violate("a call for no command".into(), &[]);
            };
            self.check_seen(&command, (partition, offset));
            let lane = &self.kafka.lanes[partition as usize];
            let open = lane.words.values().find(|word| {
                word.record
                    .as_ref()
                    .is_some_and(|record| record.open.iter().any(|open| open.0 == offset))
            });
            let lease = nanos(self.plan.engine.lease);
            let wrong = match open {
                None => Some("no record has it open"),
                Some(word) => {
                    let record = word.record.as_ref().unwrap();
                    if record.state != BatchState::Intended {
                        Some("its batch is past the intent")
                    } else if word.writer != (slot, session) {
                        Some("the intent is another session's")
                    } else if self.now > word.began + lease {
                        Some(LEASE_PASSED)
                    } else {
                        None
                    }
                }
            };
            // With clocks that are wrong without bound, the next owner's grace time may be over
            // before this lease is.
            let is_allowed =
                self.plan.is_wild() && wrong.is_some_and(|wrong| wrong != LEASE_PASSED);
            if is_allowed {
                self.checks.counts.event("call after another's intent", "wild clocks");
            } else if let Some(wrong) = wrong {
                let what = format!("I5: w{slot} sends p{partition}@{offset}: {wrong}");
                return self.violate(what, &[format!("p{partition}"), format!("w{slot}")]);
            }
        }
    }

    /// I3, as the API has taken a batch.
    pub(crate) fn check_accepted(&mut self, slot: usize, submit: &Submit) {
        let entry = self.api.log().operations.entries.back().unwrap().clone();
        let name: Arc<str> = entry.name.as_str().into();
        let is_lame = ["neverDone", "vanish", "operationError"]
            .iter()
            .any(|kind| entry.faults.contains(kind));
        let began = self.timestamp(0);
        let ends = u64::try_from(entry.ends_at.duration_since(began).as_nanos()).unwrap();
        self.note(|| {
            format!(
                "w{slot} call {} accepted as {name}, {:?} of {:?}, ends {:.3}, {:?}",
                submit.call.0,
                submit.action,
                entry.items.iter().map(|i| &i.device).collect::<Vec<_>>(),
                ends as f64 / 1e9,
                entry.faults
            )
        });
        for packed in &submit.commands {
            let command = packed.unpack();
            let device = command.facts().unwrap().device.0;
            let Some(place) = self.place_of(&command) else { continue };
            let done = self.checks.succeeded.get(&place);
            let known =
                done.is_some_and(|name| self.checks.known.contains(&(Arc::clone(name), place.0)));
            if known && !self.plan.is_wild() {
                let what = format!("p{}@{} is sent again after its success", place.0, place.1);
                return self.violate(what, &[format!("p{}", place.0)]);
            }
            self.checks.taken.entry(Arc::clone(&name)).or_default().push((device, place));
            let mut others = self.checks.in_flight.remove(&device).unwrap_or_default();
            others.retain(|other| other.ends > self.now);
            for other in &others {
                self.on_overlap(other, &name, &command);
            }
            let (name, partition) = (Arc::clone(&name), place.0);
            others.push(InFlight { name, partition, ends, is_lame, command: place });
            self.checks.in_flight.insert(device, others);
        }
    }

    fn on_overlap(&mut self, other: &InFlight, name: &Arc<str>, command: &Command) {
        let kind = if other.is_lame || self.checks.excused.contains(&other.name) {
            "with an operation given up"
        } else if self.plan.is_wild() {
            "wild clocks"
        } else {
            let key = command.device_key().unwrap();
            let what = format!("I3: {} begins while {} is in flight for {key}", name, other.name);
            return self.violate(what, &[key.as_str().to_owned(), format!("p{}", other.partition)]);
        };
        self.checks.counts.event("overlap", kind);
        self.checks.excused.insert(Arc::clone(&other.name));
    }

    /// An answer about an operation is on its way.
    pub(crate) fn note_telling(&mut self, slot: usize, session: u32, call: &HttpCall) {
        if let What::Poll(operation) = &call.what {
            self.checks.telling.insert((slot, session, call.call), Arc::clone(operation));
        }
    }

    /// What a worker reads of an operation's results, by which it may be held to it.
    pub(crate) fn note_told(&mut self, slot: usize, input: &Input) {
        let Input::Polled { call, result: Ok(OperationReply::Done { results }) } = input else {
            return;
        };
        let Some(session) = &self.slots[slot].session else { return };
        let told = (slot, session.id, *call);
        let Some(operation) = self.checks.telling.remove(&told) else { return };
        let taken = self.checks.taken.get(&operation).into_iter().flatten();
        for (device, place) in taken {
            let mut about = results.iter().filter(|r| r.device == Some(DeviceHash(*device)));
            let is_clear = about
                .next()
                .is_some_and(|result| matches!(result.verdict, DeviceVerdict::Succeeded { .. }));
            if is_clear && about.next().is_none() {
                self.checks.succeeded.insert(*place, Arc::clone(&operation));
            }
        }
    }

    /// The outcome says that the operation was given up.
    fn excuse(&mut self, device: u128, command: (i32, i64)) {
        let of_command = |other: &&InFlight| other.command == command;
        let others = self.checks.in_flight.get(&device).into_iter().flatten().filter(of_command);
        self.checks.excused.extend(others.map(|other| Arc::clone(&other.name)));
    }

    /// What is not finished yet.
    pub(crate) fn unsettled(&self) -> Option<String> {
        for (partition, lane) in self.kafka.lanes.iter().enumerate() {
            if let Some(offset) = lane.undecided.first() {
                return Some(format!("p{partition}@{offset} has no outcome"));
            }
            if !lane.ledger_is_empty() {
                let left: Vec<_> = lane.words.values().filter_map(|w| w.record.as_ref()).collect();
                return Some(format!("the ledger of p{partition} keeps {left:?}"));
            }
            if lane.commands.iter().any(|entry| entry.fate == Fate::Open) {
                return Some(format!("p{partition} has an open intake"));
            }
            let end = lane.commands.iter().rfind(|entry| entry.fate == Fate::Committed);
            if !lane.pending.is_empty() || end.is_some_and(|end| lane.committed <= end.offset) {
                return Some(format!("p{partition} is committed to {} only", lane.committed));
            }
        }
        let owned: usize = self.kafka.group.members.values().map(|m| m.assigned.len()).sum();
        if self.kafka.group.joining || owned != self.kafka.lanes.len() {
            return Some("the group is not complete".into());
        }
        None
    }

    /// Phase two is over.
    pub(crate) fn check_end(&mut self) {
        if let Some(what) = self.unsettled() {
            let reports: Vec<String> = self
                .slots
                .iter()
                .filter_map(|slot| Some(format!("{:?}", slot.session.as_ref()?.worker.report())))
                .collect();
            self.note(|| format!("{reports:#?}"));
            return self.violate(format!("nothing happens any more, and {what}"), &[]);
        }
        for slot in 0..self.slots.len() {
            let Some(session) = &self.slots[slot].session else { continue };
            let report = session.worker.report();
            let is_empty = report.commands == 0
                && report.command_bytes == 0
                && report.accounts.iter().all(|account| {
                    account.ready == [0; 3] && account.batches == 0 && account.lookups == 0
                })
                && report
                    .lanes
                    .iter()
                    .all(|lane| lane.phase == "live" && lane.devices == 0 && lane.pending == 0);
            if !is_empty {
                self.violate(
                    format!("I8: memory of w{slot} keeps {report:?}"),
                    &[format!("w{slot}")],
                );
                return;
            }
        }
        self.count_api_faults();
        let history = self.history();
        if history.commands.is_empty() {
            return;
        }
        let report = verify::check(&history, Orders::Unknown);
        for check in report.checks.iter().filter(|check| !check.held) {
            let violations: Vec<&String> = check
                .violations
                .iter()
                .filter(|text| !self.is_allowed(check.invariant, text))
                .collect();
            if let Some(first) = violations.first() {
                let mut about = self.about(first);
                for command in &history.commands {
                    if about.iter().any(|key| key == command.device.as_str()) {
                        about.push(format!("p{}", command.partition));
                        break;
                    }
                }
                self.violate(format!("{} at the end: {violations:#?}", check.invariant), &about);
                return;
            }
        }
        for check in &report.checks {
            let invariant = match check.invariant {
                Invariant::I1 => "I1",
                Invariant::I2 => "I2",
                Invariant::I3 => "I3",
                Invariant::I4 => "I4",
            };
            self.checks.counts.events("undetermined", invariant, check.undetermined);
        }
    }

    /// What a configuration gives away by itself.
    fn is_allowed(&self, invariant: Invariant, text: &str) -> bool {
        let options = &self.plan.engine;
        let is_about_vanished = || {
            let about = self.about(text);
            let log = self.api.log();
            let mut vanished =
                log.operations.entries.iter().filter(|entry| entry.faults.contains(&"vanish"));
            vanished.any(|entry| entry.items.iter().any(|i| about.contains(&i.device.to_string())))
        };
        match invariant {
            // Grace and deadlines count on clocks that are right within some bound.
            Invariant::I2 | Invariant::I3 if self.plan.is_wild() => true,
            // A guard that is off, or told not to compare orders, may let an unclaim through; an
            // operation that cannot be read is given up, and may do its work later.
            Invariant::I2 => {
                let is_loose = options.guard == GuardMode::Never || !options.guard_match_order;
                (is_loose && text.contains("removed the")) || is_about_vanished()
            }
            Invariant::I1 | Invariant::I3 | Invariant::I4 => false,
        }
    }

    /// The whole key of the device whose masked key is in the text.
    fn about(&self, text: &str) -> Vec<String> {
        let masked = text.split(": ").next().unwrap_or_default();
        let end = masked.rsplit('…').next().unwrap_or_default();
        let devices = self.api.devices().map(|record| record.device.to_string());
        devices.filter(|key| !end.is_empty() && key.ends_with(end)).collect()
    }

    fn count_api_faults(&mut self) {
        let log = self.api.log();
        let counts = &mut self.checks.counts;
        for call in &log.calls.entries {
            if call.method == Method::GetOperation && !call.faults.is_empty() {
                counts.fault(Fault::CulpritPoll);
            }
            for kind in &call.faults {
                counts.fault(api_fault(kind, call.status));
            }
        }
        for (method, statuses) in &log.stats.calls {
            let method = match method {
                Method::ClaimAsync => "claimAsync",
                Method::UnclaimAsync => "unclaimAsync",
                Method::UpdateMetadataAsync => "updateMetadataAsync",
                Method::GetOperation => "operations.get",
                _ => "findByIdentifier",
            };
            counts.events("call", method, statuses.values().sum());
        }
    }

    fn history(&self) -> History {
        let mut history = History {
            outcomes: self.checks.outcomes.clone(),
            watermarks: self.checks.watermarks.clone(),
            ..History::default()
        };
        for (partition, lane) in (0..).zip(&self.kafka.lanes) {
            for entry in lane.commands.iter().filter(|entry| entry.fate == Fate::Committed) {
                if let Some(command) = entry.item.command() {
                    history.commands.push(CommandSeen {
                        partition,
                        offset: entry.offset,
                        command_id: command.id(),
                        device: command.device_key().unwrap().as_str().into(),
                        action: command.action,
                        cause: command.cause,
                        customer: command.customer.clone(),
                        metadata: command.metadata.clone(),
                        order_id: command.order_id.clone(),
                    });
                }
            }
        }
        let log = self.api.log();
        history.operations.extend(log.operations.entries.iter().filter_map(|operation| {
            Some(OperationSeen {
                name: operation.name.clone(),
                action: action(operation.method)?,
                devices: operation.items.iter().map(|item| item.device.clone().into()).collect(),
                started: operation.accepted_at,
                ended: Some(operation.ends_at).filter(|_| operation.ended),
                reply_lost: operation.delivery != Delivery::Sent
                    || self.checks.excused.contains(operation.name.as_str()),
            })
        }));
        history.changes.extend(log.changes.entries.iter().filter_map(|change| {
            Some(ChangeSeen {
                device: change.device.clone().into(),
                at: change.time,
                action: action(change.method)?,
                from: change.from.as_ref().map(|holder| holder.customer.clone()),
                to: change.to.as_ref().map(|holder| holder.customer.clone()),
            })
        }));
        history.devices.extend(self.api.devices().map(|record| DeviceSeen {
            device: record.device.clone().into(),
            owner: record.claim.as_ref().map(|holder| holder.customer.clone()),
            metadata: record.metadata.clone(),
        }));
        history
    }
}

/// The fault by its name at the sandbox.
fn api_fault(kind: &str, status: u16) -> Fault {
    match kind {
        "status" if status == 429 => Fault::Throttled,
        "status" if status == 503 => Fault::ServerError,
        "status" if status == 500 => Fault::Outage,
        "status" if [400, 404, 409].contains(&status) => Fault::Culprit,
        "unreadable" => Fault::Culprit,
        "status" => Fault::Unauthorised,
        "statusAfter" => Fault::ServerErrorAfter,
        "loseReply" => Fault::ReplyLost,
        "poison" => Fault::Poison,
        "deviceStatus" => Fault::DeviceStatus,
        "dropItems" => Fault::DropItems,
        "shortResult" => Fault::ShortResult,
        "duplicateResult" => Fault::DuplicateResult,
        "reorderResult" => Fault::ReorderResult,
        "missingEcho" => Fault::MissingEcho,
        "neverDone" => Fault::NeverDone,
        "stuckAtHundred" => Fault::StuckAtHundred,
        "operationError" => Fault::OperationError,
        "vanish" => Fault::Vanish,
        other => panic!("{other}"),
    }
}

const fn action(method: Method) -> Option<Action> {
    match method {
        Method::ClaimAsync => Some(Action::Claim),
        Method::UnclaimAsync => Some(Action::Unclaim),
        Method::UpdateMetadataAsync => Some(Action::UpdateMetadata),
        _ => None,
    }
}

/// A record of the commands topic in a line of the log.
pub(crate) fn describe(item: &Item) -> String {
    match item {
        Item::Foreign(..) => "foreign".into(),
        Item::Held(command, hold) => {
            format!("{hold:?} {}", describe(&Item::Command(Arc::clone(command))))
        }
        Item::Command(command) => format!(
            "{} ({}) of {} order {} customer {:?} {:?} account {} occurred {}",
            command.action.as_str(),
            command.cause.as_str(),
            command.device_key().unwrap().as_str(),
            command.order_id,
            command.customer,
            command.metadata,
            command.account,
            command.occurred_at,
        ),
    }
}

/// A transaction in a line of the log.
pub(crate) fn summary(contents: &Transaction) -> String {
    let ledger: Vec<String> = contents
        .ledger
        .iter()
        .map(|write| format!("p{} {}", write.partition, word(write.batch, write.record.as_ref())))
        .collect();
    let outcomes: Vec<String> = contents
        .outcomes
        .iter()
        .map(|write| {
            format!("p{}@{} {}", write.partition, write.offset, write.verdict.status.as_str())
        })
        .collect();
    let offsets: Vec<String> = contents
        .offsets
        .iter()
        .map(|write| format!("p{}:{} e{}", write.partition, write.offset, write.epoch.0))
        .collect();
    format!("#{}: offsets {offsets:?} outcomes {outcomes:?} ledger {ledger:?}", contents.number)
}

fn word(batch: BatchId, record: Option<&LedgerRecord>) -> String {
    let short: String = batch.to_string().chars().take(6).collect();
    match record {
        None => format!("{short} ended"),
        Some(record) => {
            let offsets = |set: &zerotouch_worker::model::OffsetSet| {
                set.iter().map(|offset| offset.0).collect::<Vec<_>>()
            };
            format!(
                "{short} {} {:?} open {:?} decided {:?} attempt {}",
                record.action.as_str(),
                record.state,
                offsets(&record.open),
                offsets(&record.decided),
                record.attempt
            )
        }
    }
}

pub(crate) fn records(records: &[(BatchId, LedgerRecord)]) -> String {
    let words: Vec<String> =
        records.iter().map(|(batch, record)| word(*batch, Some(record))).collect();
    format!("{words:?}")
}
