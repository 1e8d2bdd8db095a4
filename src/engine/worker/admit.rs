//! Commands come in: each takes its place behind the others of its device, or folds with them.

use crate::engine::account::AccountIx;
use crate::engine::batch::BatchIx;
use crate::engine::commit::Decided;
use crate::engine::guard::{Stale, stale};
use crate::engine::lane::{Fate, Fold, LanePhase, fold};
use crate::engine::mutant::{self, Mutant};
use crate::engine::purpose::foreign_command;
use crate::engine::slots::{FOLDED_MAX, SlotIx, Stage};
use crate::engine::{
    CommandContent, CommandRead, DeadLetterWrite, Effect, GuardMode, Now, Options, OutcomeWrite,
};
use crate::model::{
    Action, Epoch, Failure, FailureCode, METADATA_BYTES_MAX, Offset, PackedCommand, Partition,
    Status, Verdict,
};

use super::Worker;
use super::lookups::Question;
use super::trail::tell_outcome;

/// Why a lane cannot go on past a command, in words for a person.
fn obstacle(options: &Options, offset: Offset, content: &CommandContent) -> Option<String> {
    match content {
        CommandContent::Newer { version, known } => (!mutant::is(Mutant::NewerPassed)).then(|| {
            format!(
                "the command at offset {offset} has version {version}, this worker reads up to \
                     version {known}; a newer worker wrote it: upgrade this one; the lane goes on \
                     under a version that understands the command"
            )
        }),
        CommandContent::Command { account, purpose: Some(purpose), .. } => {
            let foreign = foreign_command(options, *account, purpose);
            let foreign = foreign.filter(|_| !mutant::is(Mutant::ForeignPurposeSent));
            foreign.map(|why| format!("the command at offset {offset} {why}"))
        }
        CommandContent::Command { purpose: None, .. } | CommandContent::Foreign(_) => None,
    }
}

impl Worker {
    pub(super) fn on_commands_read(
        &mut self,
        now: Now,
        (partition, epoch): (Partition, Epoch),
        commands: Vec<CommandRead>,
    ) {
        for CommandRead { offset, content } in commands {
            let Some(lane) = self.lanes.get_mut(&partition) else { return };
            if lane.epoch != epoch
                || lane.phase != LanePhase::Live
                || offset < lane.watermark.read_position()
            {
                continue;
            }
            let fate = lane.restore.fate(offset);
            let is_decided =
                fate == Some(Fate::Decided) && !mutant::is(Mutant::ReplayIgnoresResolved);
            if !is_decided && let Some(reason) = obstacle(&self.options, offset, &content) {
                self.stop_at(partition, reason);
                break;
            }
            lane.watermark.read(offset);
            match (fate, content) {
                _ if is_decided => {
                    lane.watermark.decide(offset);
                    self.commit.moved.insert(partition);
                }
                // It has stopped the lane, unless a mutant let it through.
                (_, CommandContent::Newer { .. }) => {
                    lane.watermark.decide(offset);
                    self.commit.moved.insert(partition);
                }
                (_, CommandContent::Foreign(record)) => {
                    let write = DeadLetterWrite { partition, offset, record };
                    self.commit.push_dead_letter(epoch, write);
                }
                (_, CommandContent::Command { account: None, packed, .. }) => {
                    self.refuse_account(now, (partition, offset, epoch), packed);
                }
                (fate, CommandContent::Command { facts, account: Some(account), packed, .. }) => {
                    let place = (partition, offset);
                    let ix = self.slots.insert(facts, packed, place, AccountIx(account));
                    match fate {
                        Some(Fate::Open(batch)) => self.readmit(ix, batch),
                        _ => self.admit(now, ix),
                    }
                }
            }
        }
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.is_behind = !lane.is_stopped();
        }
        self.complete_restored(now, partition);
    }

    /// Stops a lane before a command. The command does not even count as read: a restored batch
    /// that it is in stays as the ledger has it, and so does the watermark.
    fn stop_at(&mut self, partition: Partition, reason: String) {
        tracing::error!(
            %partition, reason,
            "a lane is stopped; what came before is finished, nothing behind is passed over, and \
             all other lanes go on"
        );
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.stop(reason);
            self.effects.push_back(Effect::Pause(vec![partition]));
        }
    }

    fn complete_restored(&mut self, now: Now, partition: Partition) {
        let mut next = || {
            let lane = self.lanes.get_mut(&partition)?;
            lane.restore.completed(lane.watermark.read_position())
        };
        let mut completed = Vec::new();
        while let Some(batch) = next() {
            completed.push(batch);
        }
        let is_complete = !completed.is_empty()
            && self.lanes.get(&partition).is_some_and(|lane| !lane.restore.is_waiting());
        if is_complete && self.paused {
            self.effects.push_back(Effect::Pause(vec![partition]));
        }
        for batch in completed {
            self.on_restored(now, batch);
        }
    }

    /// The account was configured when the order came in, and is not any more.
    fn refuse_account(
        &mut self,
        now: Now,
        (partition, offset, epoch): (Partition, Offset, Epoch),
        packed: PackedCommand,
    ) {
        let failure = Failure {
            code: FailureCode::UnknownAccount,
            api_status: None,
            api_identifier: None,
            message: "the account of this command is no longer in the worker's configuration; add \
                      it there and send the order event again"
                .into(),
            retryable: true,
        };
        let verdict = Verdict {
            status: Status::Failed,
            failure: Some(Box::new(failure)),
            decided_by: None,
            device_id: None,
            operation: None,
            attempts: 0,
            submitted_at: None,
            completed_at: now.wall,
        };
        tell_outcome(&packed, &verdict);
        let write = OutcomeWrite { partition, offset, command: packed, verdict };
        self.commit.push_outcome(Decided { batch: BatchIx::NONE, epoch, write });
    }

    /// Puts a command behind the others of its device.
    fn admit(&mut self, now: Now, ix: SlotIx) {
        let (device, lane) = (self.slots[ix].facts.device, self.slots[ix].lane);
        let Some(lane) = self.lanes.get_mut(&lane) else { return };
        let Some(head) = lane.devices.find(&self.slots, device) else {
            self.slots[ix].tail = ix;
            lane.devices.insert(&self.slots, ix);
            self.activate(now, ix);
            return;
        };
        let tail = self.slots[head].tail;
        let may_fold =
            self.slots[tail].is_unsent() && self.slots[tail].account == self.slots[ix].account;
        let has_room = may_fold && self.slots[tail].folded_count < FOLDED_MAX;
        match fold(&self.slots[tail].facts, &self.slots[ix].facts) {
            Fold::Merge if has_room && self.fits(tail, ix) => self.merge(tail, ix),
            Fold::Supersede if has_room && self.fits(tail, ix) => {
                self.supersede(now, head, tail, ix);
            }
            // The same sale came before: without it and without its cancellation the device would
            // stay claimed for the order, so the cancellation goes out in the place of both.
            Fold::Annihilate if has_room && self.is_claimed_before(head, tail) => {
                self.supersede(now, head, tail, ix);
            }
            Fold::Annihilate if may_fold || mutant::is(Mutant::AnnihilatesSent) => {
                self.annihilate(now, head, tail, ix);
            }
            Fold::Apart | Fold::Merge | Fold::Supersede | Fold::Annihilate => {
                self.slots[tail].next = ix;
                self.slots[head].tail = ix;
            }
        }
    }

    /// A command of a batch that the ledger knows: it stands where it stood, folded as it was.
    fn readmit(&mut self, ix: SlotIx, batch: BatchIx) {
        let Some(batch_state) = self.batches.get_mut(&batch) else { return };
        let slot = &mut self.slots[ix];
        let action = batch_state.action;
        (slot.stage, slot.batch, slot.call) = (Stage::InBatch, batch, action);
        let part = batch_state.lanes.get(&slot.lane);
        slot.attempts = part.map_or(0, |part| part.attempts_before(slot.offset));
        slot.tail = ix;
        let (device, lane) = (slot.facts.device, slot.lane);
        let Some(lane) = self.lanes.get_mut(&lane) else { return };
        let Some(head) = lane.devices.find(&self.slots, device) else {
            batch_state.items.push(self.slots.name(ix));
            batch_state.waiting += 1;
            lane.devices.insert(&self.slots, ix);
            return;
        };
        // Two commands of one device in one batch: they were folded, so they fold again.
        self.slots[ix].batch = BatchIx::NONE;
        match fold(&self.slots[head].facts, &self.slots[ix].facts) {
            // Had they annihilated each other, they would be in no batch.
            Fold::Supersede | Fold::Annihilate => {
                self.swap_in(head, ix);
                self.slots[head].call = action;
            }
            Fold::Merge | Fold::Apart => self.merge(head, ix),
        }
    }

    /// Whether an earlier command has claimed, or will claim, the device for the order of `claim`:
    /// one before it in the queue of the device, else one that the lane remembers.
    fn is_claimed_before(&self, head: SlotIx, claim: SlotIx) -> bool {
        let facts = &self.slots[claim].facts;
        let earlier = self.slots.list(head).take_while(|ix| *ix != claim);
        let earlier = earlier.map(|ix| &self.slots[ix].facts);
        let of_order = earlier.filter(|earlier| earlier.order == facts.order);
        if let Some(last) = of_order.filter(|f| f.action != Action::UpdateMetadata).last() {
            return last.action == Action::Claim;
        }
        let known = self.lanes.get(&self.slots[claim].lane);
        let holder = known.and_then(|lane| lane.memory.recall(facts.device)).flatten();
        holder.is_some_and(|holder| holder.order == Some(facts.order))
    }

    /// Whether the metadata of two commands together keep to the bound of one.
    fn fits(&self, earlier: SlotIx, later: SlotIx) -> bool {
        let (earlier, later) = (&self.slots[earlier].packed, &self.slots[later].packed);
        // Packing never makes text shorter than a third.
        if 3 * (earlier.len() + later.len()) <= METADATA_BYTES_MAX {
            return true;
        }
        let mut metadata = earlier.unpack().metadata;
        metadata.extend(later.unpack().metadata);
        let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        bytes <= METADATA_BYTES_MAX
    }

    /// `later` rides with `earlier`.
    fn merge(&mut self, earlier: SlotIx, later: SlotIx) {
        let mut command = self.slots[earlier].packed.unpack();
        command.metadata.extend(self.slots[later].packed.unpack().metadata);
        self.slots.repack(earlier, PackedCommand::pack(&command));
        self.hang(earlier, later, Status::Merged);
    }

    /// `later` takes the place of `earlier`, which shares its fate.
    fn supersede(&mut self, now: Now, head: SlotIx, earlier: SlotIx, later: SlotIx) {
        let was_ready = self.slots[earlier].stage == Stage::Ready;
        if was_ready {
            self.leave_stage(earlier);
            self.slots.outdate(earlier);
            self.slots[earlier].stage = Stage::Queued;
        }
        self.swap_in(earlier, later);
        if earlier == head && was_ready {
            self.activate(now, earlier);
        }
    }

    /// Exchanges the contents, so that `place` keeps its neighbours, its batch and its stage, and
    /// hangs the earlier command, now in the other slot, onto it.
    fn swap_in(&mut self, place: SlotIx, later: SlotIx) {
        if self.slots[place].facts.action == Action::Claim
            && self.slots[later].facts.action == Action::Claim
        {
            let mut metadata = self.slots[place].packed.unpack().metadata;
            let mut command = self.slots[later].packed.unpack();
            metadata.append(&mut command.metadata);
            command.metadata = metadata;
            self.slots.repack(later, PackedCommand::pack(&command));
        }
        self.slots.swap_contents(place, later);
        self.hang(place, later, Status::Superseded);
        let folded: Vec<SlotIx> = self.slots.list(self.slots[place].folded).collect();
        for ix in folded {
            self.slots[ix].folded_as = Status::Superseded;
        }
    }

    fn hang(&mut self, on: SlotIx, folded: SlotIx, folded_as: Status) {
        self.folded += 1;
        let first = self.slots[on].folded;
        let slot = &mut self.slots[folded];
        (slot.stage, slot.folded_as, slot.next) = (Stage::Folded, folded_as, first);
        let slot = &mut self.slots[on];
        slot.folded = folded;
        slot.folded_count = slot.folded_count.saturating_add(1);
    }

    /// A claim and the cancellation of its order: neither is sent.
    fn annihilate(&mut self, now: Now, head: SlotIx, claim: SlotIx, cancellation: SlotIx) {
        self.folded += 2;
        let claim_id = self.slots[claim].packed.unpack().id();
        let cancellation_id = self.slots[cancellation].packed.unpack().id();
        let before = self.slots.list(head).take_while(|ix| *ix != claim).last();
        self.leave_stage(claim);
        if let Some(before) = before {
            self.slots[before].next = SlotIx::NONE;
            self.slots[head].tail = before;
        } else if let Some(lane) = self.lanes.get_mut(&self.slots[claim].lane) {
            lane.devices.remove(self.slots[claim].facts.device, claim);
        }
        let cancelled = |by| Verdict {
            status: Status::Cancelled,
            failure: None,
            decided_by: Some(by),
            device_id: None,
            operation: None,
            attempts: 0,
            submitted_at: None,
            completed_at: now.wall,
        };
        let with: Vec<SlotIx> = self.slots.with_folded(claim).collect();
        for ix in with {
            self.publish(ix, BatchIx::NONE, cancelled(cancellation_id));
        }
        self.publish(cancellation, BatchIx::NONE, cancelled(claim_id));
    }

    /// A command is now the first of its device.
    pub(super) fn activate(&mut self, now: Now, ix: SlotIx) {
        let slot = &self.slots[ix];
        let is_unguarded = mutant::is(Mutant::GuardSkipped);
        if slot.facts.action != Action::Unclaim || slot.attempts > 0 || is_unguarded {
            return self.make_ready(now, ix);
        }
        let (facts, mode) = (slot.facts, self.options.guard);
        let known = self.lanes.get(&slot.lane).and_then(|l| l.memory.recall(facts.device));
        match (mode, known) {
            (GuardMode::Unknown | GuardMode::Never, Some(Some(holder))) => {
                match stale(&facts, &holder, self.options.guard_match_order) {
                    Some(reason) => self.decide_stale(now, ix, reason),
                    None => self.make_ready(now, ix),
                }
            }
            (GuardMode::Never, _) => self.make_ready(now, ix),
            (GuardMode::Always | GuardMode::Unknown, _) => {
                self.slots[ix].stage = Stage::Guarding;
                self.ask(ix, Question::MayUnclaim);
            }
        }
    }

    pub(super) fn make_ready(&mut self, now: Now, ix: SlotIx) {
        self.slots[ix].stage = Stage::Ready;
        let (account, call) = (self.slots[ix].account, self.slots[ix].call);
        let command = self.slots.name(ix);
        self.accounts[usize::from(account.0)].batcher(call).join(now.mono, command);
    }

    pub(super) fn decide_stale(&mut self, now: Now, ix: SlotIx, reason: Stale) {
        let failure = Failure {
            code: FailureCode::StaleUnclaim,
            api_status: None,
            api_identifier: None,
            message: reason.message().into(),
            retryable: false,
        };
        self.decide(now, ix, Status::Stale, Some(failure), None);
    }
}
