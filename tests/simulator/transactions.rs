//! Transactions from both sides: the worker's client, step by step, and the broker's coordinator.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::RngExt;
use zerotouch_worker::engine::{Input, Transaction};
use zerotouch_worker::model::Offset;
use zerotouch_worker::model::{Epoch, Partition};
use zerotouch_worker::wire;

use crate::kafka::{Fate, LedgerEntry, Mark, Txn};
use crate::mutants::{Slip, slips};
use crate::plan::{Fault, log_uniform};
use crate::process::Session;
use crate::world::{Client, Event, Message, Replay, Request, Step, World, millis, nanos};

impl World {
    fn client(&self, slot: usize, session: &Session) -> Client {
        Client {
            slot,
            session: session.id,
            attempt: session.attempt,
            producer: self.slots[slot].producer,
            epoch: session.producer_epoch,
        }
    }

    fn present_client(&self, slot: usize) -> Client {
        self.client(slot, self.slots[slot].session.as_ref().unwrap())
    }

    fn step(&mut self, wait: u64, to: Client, step: Step) {
        let message = Message::Transaction { attempt: to.attempt, step };
        self.tell(wait, to.slot, to.session, message);
    }

    pub(crate) fn begin_commit(
        &mut self,
        slot: usize,
        session: &mut Session,
        contents: Arc<Transaction>,
    ) {
        let Some(meta) = session.group else {
            return self.violate(format!("w{slot} commits without membership"), &[]);
        };
        if session.running.is_some() {
            return self.violate(format!("w{slot} begins a second transaction"), &[]);
        }
        self.check_contents(&contents);
        session.attempt += 1;
        session.running = Some((Arc::clone(&contents), meta));
        let from = self.client(slot, session);
        self.note(|| format!("w{slot} commits {}", crate::checks::summary(&contents)));
        let wait = self.broker_wait();
        self.after(wait, Event::Broker(Request::Write { from, began: self.now, contents }));
    }

    /// The client of a transaction hears from the broker.
    pub(crate) fn on_step(&mut self, slot: usize, attempt: u64, step: Step) {
        let session = self.slots[slot].session.as_mut().unwrap();
        if session.attempt != attempt {
            return;
        }
        let Some((contents, mut meta)) = session.running.clone() else { return };
        if slips(Slip::MetadataReadLate) {
            meta = session.group.unwrap_or(meta);
        }
        let from = self.present_client(slot);
        match step {
            Step::Written(transaction) => {
                let mut wait = self.broker_wait();
                if self.hits(Fault::TransactionStalls) {
                    let longest = 2 * self.plan.transaction_timeout.as_millis() as u64;
                    wait += millis(log_uniform(&mut self.rng, 100, longest));
                    self.step_clock(slot);
                }
                self.after(wait, Event::Broker(Request::Offsets { from, transaction, meta }));
            }
            Step::OffsetsTaken(transaction) => self.ask_commit(from, transaction),
            Step::Refused { transaction, reason } => {
                self.note(|| format!("w{slot} transaction {} refused: {reason}", contents.number));
                self.checks.counts.event("transaction refused", reason);
                match transaction {
                    Some(transaction) => {
                        let wait = self.broker_wait();
                        self.after(
                            wait,
                            Event::Broker(Request::End {
                                from,
                                transaction,
                                commit: false,
                                silent: false,
                            }),
                        );
                    }
                    None => self.step(0, from, Step::Aborted),
                }
            }
            Step::Committed => {
                self.slots[slot].session.as_mut().unwrap().running = None;
                self.feed(slot, Input::Committed { transaction: contents.number });
            }
            Step::Aborted => {
                self.slots[slot].session.as_mut().unwrap().running = None;
                self.feed(slot, Input::Aborted { transaction: contents.number });
            }
            Step::Fenced => self.break_session(slot, "fenced"),
            Step::Silence if slips(Slip::ProducerKept) => {
                let wait = self.broker_wait();
                let transaction = self.kafka.transactions.len();
                self.after(
                    wait,
                    Event::Broker(Request::End { from, transaction, commit: true, silent: false }),
                );
            }
            Step::Silence => {
                // A new producer settles it before anybody is told.
                let wait = self.broker_wait();
                let (session, producer) = (from.session, from.producer);
                let attempt = Some(attempt);
                self.after(wait, Event::Broker(Request::Init { slot, session, producer, attempt }));
            }
            Step::Settled if slips(Slip::UnknownCommitRetried) => {
                let producer = &self.kafka.producers[from.producer];
                let session = self.slots[slot].session.as_mut().unwrap();
                (session.running, session.producer_epoch) = (None, producer.epoch);
                self.feed(slot, Input::Aborted { transaction: contents.number });
            }
            Step::Settled => self.break_session(slot, "the fate of a commit is unknown"),
        }
    }

    /// Asks for the commit; the request or its answer may be lost.
    fn ask_commit(&mut self, from: Client, transaction: usize) {
        let request_lost = self.hits(Fault::CommitRequestLost);
        let reply_lost = !request_lost && self.hits(Fault::CommitReplyLost);
        let wait = self.broker_wait();
        if !request_lost {
            self.after(
                wait,
                Event::Broker(Request::End { from, transaction, commit: true, silent: reply_lost }),
            );
        } else if self.hits(Fault::LateEndTxn) {
            let late = millis(log_uniform(&mut self.rng, 10, 60_000));
            self.after(
                late,
                Event::Broker(Request::End { from, transaction, commit: true, silent: true }),
            );
        }
        if request_lost || reply_lost {
            let patience = nanos(self.plan.commit_timeout);
            self.step(patience, from, Step::Silence);
        }
    }

    pub(crate) fn on_request(&mut self, request: Request) {
        match request {
            Request::Init { slot, session, producer, attempt } => {
                self.on_init(slot, session, producer, attempt);
            }
            Request::Join { slot, session, request, member, owned } => {
                self.on_join((slot, session), request, member, owned);
            }
            Request::Leave { member } => self.on_leave(member),
            Request::Write { from, began, contents } => self.on_records(from, began, contents),
            Request::Offsets { from, transaction, meta } => {
                let wait = self.broker_wait();
                let step = self.take_offsets(from, transaction, meta);
                self.step(wait, from, step);
            }
            Request::End { from, transaction, commit, silent } => {
                let wait = self.broker_wait();
                let step = self.end(from, transaction, commit);
                if !silent {
                    self.step(wait, from, step);
                }
            }
            Request::ReadLedger { slot, session, partition, epoch, stage } => {
                self.on_read_ledger(slot, session, (partition, epoch), stage);
            }
        }
    }

    /// Whether the producer's last transaction is decided, but not marked everywhere.
    fn is_completing(&self, producer: usize) -> bool {
        let last = self.kafka.producers[producer].last.map(|last| &self.kafka.transactions[last]);
        last.is_some_and(|txn| txn.fate != Fate::Open && !txn.unmarked.is_empty())
    }

    fn on_init(&mut self, slot: usize, session: u32, producer: usize, attempt: Option<u64>) {
        if self.is_completing(producer) {
            let again = Request::Init { slot, session, producer, attempt };
            return self.after(millis(20), Event::Broker(again));
        }
        if let Some(transaction) = self.kafka.producers[producer].ongoing {
            self.settle(transaction, false);
            self.kafka.producers[producer].epoch += 1;
            return self.on_init(slot, session, producer, attempt);
        }
        self.kafka.producers[producer].epoch += 1;
        let epoch = self.kafka.producers[producer].epoch;
        let wait = self.broker_wait();
        let message = match attempt {
            Some(attempt) => Message::Transaction { attempt, step: Step::Settled },
            None => Message::Ready { epoch },
        };
        self.tell(wait, slot, session, message);
    }

    fn on_records(&mut self, from: Client, began: u64, contents: Arc<Transaction>) {
        let wait = self.broker_wait();
        if self.kafka.producers[from.producer].epoch != from.epoch {
            return self.step(wait, from, Step::Fenced);
        }
        if self.kafka.producers[from.producer].ongoing.is_some() {
            return self.violate(format!("w{} has two transactions open", from.slot), &[]);
        }
        if self.is_completing(from.producer) {
            let again = Request::Write { from, began, contents };
            return self.after(millis(20), Event::Broker(again));
        }
        let fails = self.hits(Fault::ProduceFails);
        if fails && self.rng.random_bool(0.5) {
            let step = Step::Refused { transaction: None, reason: "not delivered" };
            return self.step(wait, from, step);
        }
        let transaction = self.kafka.transactions.len();
        let mut unmarked = BTreeSet::new();
        let mut written = Vec::with_capacity(contents.ledger.len());
        for write in &contents.ledger {
            // What is not sound would stop a lane for good.
            let record = write
                .record
                .as_ref()
                .map(|record| wire::ledger::decode_value(&wire::ledger::encode(record)).unwrap());
            let lane = self.kafka.lane(write.partition.0);
            let (offset, batch) = (lane.ledger_end, write.batch);
            lane.ledger_end += 1;
            lane.ledger.push(LedgerEntry { offset, transaction, batch, record });
            written.push(offset);
            unmarked.insert(Mark::Ledger(write.partition.0));
        }
        let writer = (from.slot, from.session);
        let (producer, fate) = (from.producer, Fate::Open);
        let txn = Txn {
            producer,
            contents,
            writer,
            began,
            fate,
            unmarked,
            is_half: self.rng.random_bool(0.5),
            has_offsets: false,
            written,
        };
        self.kafka.transactions.push(txn);
        let producer = &mut self.kafka.producers[from.producer];
        (producer.ongoing, producer.last) = (Some(transaction), Some(transaction));
        // The broker looks for expired transactions only now and then.
        let scan = self.rng.random_range(0..10_000_000_000);
        let timeout = nanos(self.plan.transaction_timeout) + scan;
        self.after(timeout, Event::TransactionExpires { transaction });
        let step = if fails {
            Step::Refused { transaction: Some(transaction), reason: "not delivered" }
        } else {
            Step::Written(transaction)
        };
        self.step(wait, from, step);
    }

    fn is_current(&self, from: Client, transaction: usize) -> bool {
        let producer = &self.kafka.producers[from.producer];
        producer.epoch == from.epoch && producer.ongoing == Some(transaction)
    }

    fn take_offsets(&mut self, from: Client, transaction: usize, meta: crate::kafka::Meta) -> Step {
        if !self.is_current(from, transaction) {
            return Step::Fenced;
        }
        let contents = Arc::clone(&self.kafka.transactions[transaction].contents);
        let partitions: Vec<i32> = contents.offsets.iter().map(|write| write.partition.0).collect();
        if partitions.is_empty() {
            // Nothing is sent then, and nothing is fenced.
            self.kafka.transactions[transaction].has_offsets = true;
            return Step::OffsetsTaken(transaction);
        }
        let by_partition = self.plan.fenced_by_partition;
        if let Some(reason) =
            self.kafka.group.refuses(meta, partitions.iter().copied(), by_partition)
        {
            return Step::Refused { transaction: Some(transaction), reason };
        }
        self.kafka.transactions[transaction].has_offsets = true;
        for partition in partitions {
            self.kafka.lane(partition).pending.insert(transaction);
            self.kafka.transactions[transaction].unmarked.insert(Mark::Offsets(partition));
        }
        Step::OffsetsTaken(transaction)
    }

    /// A request to end the transaction that this producer has open under this epoch, whichever
    /// that is by now: the broker does not know which one was meant.
    fn end(&mut self, from: Client, _meant: usize, commit: bool) -> Step {
        let producer = &self.kafka.producers[from.producer];
        if producer.epoch != from.epoch {
            return Step::Fenced;
        }
        let Some(transaction) = producer.ongoing else {
            // Said again: the answer is that of the first time.
            let last = producer.last.map(|last| self.kafka.transactions[last].fate);
            let is_done = commit && last == Some(Fate::Committed);
            return if is_done { Step::Committed } else { Step::Fenced };
        };
        self.settle(transaction, commit);
        if commit { Step::Committed } else { Step::Aborted }
    }

    pub(crate) fn on_transaction_expires(&mut self, transaction: usize) {
        let producer = self.kafka.transactions[transaction].producer;
        if self.kafka.producers[producer].ongoing == Some(transaction) {
            self.note(|| format!("transaction {transaction} has timed out"));
            self.checks.counts.event("transaction", "timed out");
            self.settle(transaction, false);
            // Fences the producer that has not kept its time.
            self.kafka.producers[producer].epoch += 1;
        }
    }

    /// The decision; markers follow.
    fn settle(&mut self, transaction: usize, commit: bool) {
        let txn = &mut self.kafka.transactions[transaction];
        txn.fate = if commit { Fate::Committed } else { Fate::Aborted };
        let (producer, unmarked) = (txn.producer, txn.unmarked.clone());
        self.kafka.producers[producer].ongoing = None;
        self.note(|| format!("transaction {transaction} commits: {commit}"));
        let how = if commit { "committed" } else { "aborted" };
        self.checks.counts.event("transaction", how);
        if commit {
            self.check_committed(transaction);
        }
        let is_slow = self.hits(Fault::SlowMarkers);
        for mark in unmarked {
            if is_slow {
                let wait = millis(log_uniform(&mut self.rng, 1, 20_000));
                self.after(wait, Event::Marked { transaction, mark });
            } else {
                self.on_marked(transaction, mark);
            }
        }
    }

    pub(crate) fn on_marked(&mut self, transaction: usize, mark: Mark) {
        let txn = &mut self.kafka.transactions[transaction];
        txn.unmarked.remove(&mark);
        let (contents, fate) = (Arc::clone(&txn.contents), txn.fate);
        match mark {
            Mark::Ledger(partition) => self.kafka.lane(partition).ledger_end += 1,
            Mark::Offsets(partition) => {
                let lane = self.kafka.lane(partition);
                lane.pending.remove(&transaction);
                let write = contents.offsets.iter().find(|write| write.partition.0 == partition);
                if let (Fate::Committed, Some(write)) = (fate, write) {
                    lane.committed = write.offset.0;
                }
            }
        }
    }

    /// Fenced already by the join; the stable committed offset, the end of the ledger, and once
    /// that is stable, its records.
    fn on_read_ledger(
        &mut self,
        slot: usize,
        session: u32,
        (partition, epoch): (i32, u64),
        stage: Replay,
    ) {
        let again = millis(50);
        let mut wait = self.broker_wait();
        let stage = match stage {
            Replay::Committed => {
                let lane = self.kafka.lane(partition);
                let committed = lane.committed;
                if lane.pending.is_empty() || slips(Slip::OffsetUnstable) {
                    Replay::End { committed }
                } else {
                    wait = again;
                    stage
                }
            }
            Replay::End { committed } => {
                let end = self.kafka.lane(partition).ledger_end;
                Replay::Records { committed, end }
            }
            Replay::Records { committed, end } => {
                let stable = self.kafka.ledger_stable(partition);
                let is_short = slips(Slip::ReplayStopsAtLastRecord);
                if stable >= end || is_short {
                    let end = end.min(stable);
                    let records = self.kafka.read_ledger(partition, end);
                    self.note(|| {
                        format!(
                            "w{slot} replays p{partition} from {committed}: {}",
                            crate::checks::records(&records)
                        )
                    });
                    let input = Input::LedgerRead {
                        partition: Partition(partition),
                        epoch: Epoch(epoch),
                        committed: Offset(committed),
                        log: Ok(Default::default()),
                        records: Ok(records),
                    };
                    return self.tell(wait, slot, session, Message::Input(input));
                }
                wait = again;
                stage
            }
        };
        if self.slots[slot].session.as_ref().is_some_and(|current| current.id == session) {
            self.after(
                wait,
                Event::Broker(Request::ReadLedger { slot, session, partition, epoch, stage }),
            );
        }
    }
}
