//! One session: inputs from Kafka and HTTP to the engine, its effects to Kafka and HTTP.

mod recovering;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use tracing::Instrument as _;

use crate::engine::{CallNumber, CommandRead, Effect, Input, Options, Submit, Worker};
use crate::model::{CallFailure, Epoch, Partition};
use crate::shell::kafka::{
    Anchors, CommitError, Consumer, ConsumerEvent, ConsumerOptions, GroupMetadata, Mode,
    RecordBatch, StartAt, TopicPartition, Transaction, TransactionalProducer,
};
use crate::shell::positions;
use crate::shell::rooms::Rooms;
use crate::shell::telemetry::metrics::Half;

use super::heads::Heads;
use super::ledger::Unread;
use super::message::{Attempt, Ended, Message};
use super::spans::{Spans, answered_call};
use super::tell::Teller;
use super::translate::Encoding;
use super::{Dispatch, tell, translate};

/// Messages that wait for the session, at most; a message of records is about 1 MiB at most. A
/// consumer that finds no room waits, so a session that lags behind bounds what is in memory.
const INBOX: usize = 16;
/// Between two looks at the engine for the gauges.
const GAUGES_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Session {
    dispatch: Arc<Dispatch>,
    worker: Worker,
    consumer: Consumer,
    producer: Arc<TransactionalProducer>,
    group: Option<Arc<GroupMetadata>>,
    epochs: BTreeMap<i32, Epoch>,
    epoch_next: u64,
    unread: Unread,
    heads: Heads,
    spans: Spans,
    teller: Teller,
    anchors: Anchors,
    /// A look at whether the topic is still the same is under way.
    looking: bool,
    paused: watch::Receiver<BTreeSet<Arc<str>>>,
    reader: translate::Reader,
    messages: Sender<Message>,
    ended: Option<Ended>,
}

impl Session {
    pub(super) async fn run(
        dispatch: Arc<Dispatch>,
        anchors: Anchors,
        drain: CancellationToken,
    ) -> Ended {
        let (messages, mut inbox) = channel(INBOX);
        let stats = Arc::clone(&dispatch.stats);
        stats.metrics.session(Half::Dispatch);
        stats.board.begins(Half::Dispatch);
        stats.metrics.reads(&dispatch.topics.commands);
        let began = tokio::select! {
            () = drain.cancelled() => return Ended::Drained,
            began = Self::begin(dispatch, anchors, messages) => began,
        };
        let mut session = match began {
            Ok(session) => session,
            Err(reason) => return Ended::Broken(reason),
        };
        let ended = session.work(&mut inbox, &drain).await;
        session.spans.flush(true);
        stats.board.closes(Half::Dispatch);
        // Threads that wait for room in the inbox must not keep the clients from closing.
        drop(inbox);
        // Leaving the group and closing the producer block for a moment.
        let closing = tokio::task::spawn_blocking(move || drop(session));
        if closing.await.is_err() {
            tracing::error!("closing the Kafka clients of dispatch panicked");
        }
        ended
    }

    /// Fences the transactions of an earlier process, then joins the group.
    async fn begin(
        dispatch: Arc<Dispatch>,
        anchors: Anchors,
        messages: Sender<Message>,
    ) -> Result<Self, String> {
        let producer =
            TransactionalProducer::fenced(&dispatch.kafka, &dispatch.transactional_id).await?;
        let sink = messages.clone();
        let options = ConsumerOptions { mode: Mode::Gated, ..ConsumerOptions::default() };
        let topics = [&*dispatch.topics.commands];
        let consumer = Consumer::spawn(&dispatch.kafka, &topics, options, move |event| {
            let _ = sink.blocking_send(Message::Consumer(event));
        })
        .map_err(|error| error.to_string())?;
        let options = Options { seed: rand::random(), ..dispatch.engine.clone() };
        Ok(Self {
            worker: Worker::new(options),
            consumer,
            producer: Arc::new(producer),
            group: None,
            epochs: BTreeMap::new(),
            epoch_next: 0,
            unread: Unread::default(),
            heads: Heads::default(),
            spans: Spans::new(&dispatch),
            teller: Teller::default(),
            anchors,
            looking: false,
            paused: dispatch.stats.board.paused(),
            reader: translate::Reader::new(&dispatch.engine),
            messages,
            ended: None,
            dispatch,
        })
    }

    async fn work(&mut self, inbox: &mut Receiver<Message>, drain: &CancellationToken) -> Ended {
        let mut gauges = tokio::time::interval(GAUGES_EVERY);
        let mut looks = positions::looks();
        let mut draining = false;
        // Accounts that were held back before this session are so still.
        self.paused.mark_changed();
        loop {
            if let Some(ended) = self.ended.take() {
                return ended;
            }
            let wake = self.worker.wake_at(self.dispatch.clock.now());
            let wake = wake.and_then(|at| self.dispatch.clock.instant(at));
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    self.feed(Input::DrainRequested);
                }
                _ = gauges.tick() => {
                    self.producer.end_process_if_hung();
                    let busy = self.producer.busy_for();
                    self.dispatch.stats.board.transaction_under_way(Half::Dispatch, busy);
                    self.spans.flush(false);
                    let now = self.dispatch.clock.now();
                    let at = (&self.worker, now);
                    self.teller.tell(&self.dispatch, at, &self.unread, &self.consumer);
                    self.heads.tell(self.teller.heads(), now, &self.spans);
                }
                _ = looks.tick() => self.look(),
                Ok(()) = self.paused.changed() => self.hold_accounts(),
                () = sleep => self.feed(Input::TimePassed),
                message = inbox.recv() => match message {
                    Some(message) => self.on_message(message),
                    None => return Ended::Broken("the session's threads are gone".into()),
                },
            }
        }
    }

    /// Tells the engine which accounts are held back by hand.
    fn hold_accounts(&mut self) {
        let held = self.paused.borrow_and_update().clone();
        tell::held(&held, &self.reader.accounts).into_iter().for_each(|input| self.feed(input));
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Consumer(event) => self.on_consumer(event),
            Message::Input(input) => {
                let span = self.spans.log_span(answered_call(&input));
                self.spans.answered(&input);
                span.in_scope(|| self.feed(input));
            }
            Message::Unread(partition, epoch, reason) => self.on_unread(partition, epoch, &reason),
            Message::ReadAgain(partition, epoch) => {
                if self.epochs.get(&partition.0) == Some(&epoch) {
                    self.read_ledger(partition, epoch);
                }
            }
            Message::Recovered(partition, epoch, recovered) => {
                self.on_recovered(partition, epoch, recovered);
            }
            Message::Looked(looked) => {
                self.looking = false;
                if let Err(reason) = looked {
                    self.ended = Some(Ended::Broken(reason));
                }
            }
            Message::Committed(attempt, result) => self.on_committed(attempt, result),
        }
    }

    fn on_committed(&mut self, attempt: Attempt, result: Result<(), CommitError>) {
        let transaction = attempt.contents.number;
        match result {
            Ok(()) => {
                self.dispatch.stats.transactions.add(1);
                self.dispatch.stats.board.transaction_ok(Half::Dispatch);
                self.spans.committed(&attempt.contents);
                self.feed(Input::Committed { transaction });
            }
            Err(CommitError::Aborted { reason, .. }) => {
                self.dispatch.stats.aborted.add(1);
                tell::aborted(&self.dispatch.stats, Half::Dispatch, &reason.to_string());
                self.feed(Input::Aborted { transaction });
            }
            Err(CommitError::RecordTooLarge { topic, bytes, .. }) => {
                self.on_too_large(attempt, &topic, bytes);
            }
            Err(
                error @ (CommitError::Unknown { .. }
                | CommitError::Fatal { .. }
                | CommitError::Fenced { .. }),
            ) => self.ended = Some(Ended::Broken(error.to_string())),
        }
    }

    /// Records of that topic are written in a shorter form. Only what this worker makes for itself
    /// has none.
    fn on_too_large(&mut self, mut attempt: Attempt, topic: &str, bytes: usize) {
        if attempt.rooms.refused(&self.dispatch.topics, topic, bytes) {
            tracing::warn!(topic, bytes, "a topic refuses a record of this size; it is shortened");
            self.commit(attempt);
            return;
        }
        self.ended = Some(Ended::Broken(format!(
            "the topic {topic} refuses a record of {bytes} bytes, which cannot be shortened; its \
             max.message.bytes must be at least {}: raise it",
            crate::shell::kafka::message_bytes_min(&self.dispatch.kafka),
        )));
    }

    /// The lane is not this session's any more.
    fn forget(&mut self, partition: i32) {
        self.epochs.remove(&partition);
        self.anchors.end(&self.commands(Partition(partition)));
        self.unread.settled(Partition(partition));
        self.spans.forget(Partition(partition));
    }

    fn on_consumer(&mut self, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Assigned { partitions, group } => {
                self.group = Some(group);
                tell::lanes(&partitions, "lanes were assigned");
                for TopicPartition { partition, .. } in partitions {
                    self.epoch_next += 1;
                    let epoch = Epoch(self.epoch_next);
                    self.epochs.insert(partition, epoch);
                    self.feed(Input::Assigned { partition: Partition(partition), epoch });
                }
            }
            ConsumerEvent::Revoked { partitions, group } => {
                self.group = Some(group);
                tell::lanes(&partitions, "lanes go to another worker");
                for TopicPartition { partition, .. } in partitions {
                    self.forget(partition);
                    self.feed(Input::Revoked { partition: Partition(partition) });
                }
            }
            ConsumerEvent::Lost(lost) => {
                tracing::warn!(partitions = lost.partitions().len(), "partitions were lost");
                for TopicPartition { partition, .. } in lost.partitions() {
                    self.forget(*partition);
                    self.feed(Input::Lost { partition: Partition(*partition) });
                }
            }
            ConsumerEvent::Records(records) => self.on_records(&records),
            ConsumerEvent::CaughtUp(TopicPartition { partition, .. }) => {
                self.feed(Input::CaughtUp { partition: Partition(partition) });
            }
            ConsumerEvent::Error { fatal: true, text } => self.ended = Some(Ended::Broken(text)),
            ConsumerEvent::Error { fatal: false, text } => {
                tracing::warn!(text, "the consumer of the commands topic reports an error");
            }
        }
    }

    fn on_records(&mut self, records: &RecordBatch) {
        self.anchors.read(records);
        for (partition, commands) in self.reader.commands(records) {
            if let Some(epoch) = self.epochs.get(&partition).copied() {
                if let Some(CommandRead { offset, .. }) = commands.first() {
                    self.spans.read(Partition(partition), *offset);
                }
                self.feed(Input::CommandsRead { partition: Partition(partition), epoch, commands });
            }
        }
    }

    /// One input, then all that follows from it.
    fn feed(&mut self, input: Input) {
        self.teller.note(&self.dispatch.stats, &input);
        self.worker.handle(self.dispatch.clock.now(), input);
        while let Some(effect) = self.worker.next_effect() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ReadLedger { partition, epoch } => self.read_ledger(partition, epoch),
            Effect::Start { partition, from, .. } => {
                self.consumer.start(self.commands(partition), StartAt::Offset(from.0));
            }
            Effect::Commit(contents) => {
                let rooms = Rooms::new(self.dispatch.kafka.record_bytes_max as usize);
                self.commit(Attempt { contents, rooms });
            }
            Effect::Submit(submit) => {
                self.spans.submitting(&submit);
                self.submit(submit);
            }
            Effect::Poll { call, account, operation } => {
                self.dispatch.stats.polls.add(1);
                self.spans.polling(call, account, &operation);
                let client = self.client(account);
                self.answer(call, async move {
                    let result = match client {
                        Some(client) => client.poll(&operation).await,
                        None => Err(no_client()),
                    };
                    Input::Polled { call, result }
                });
            }
            Effect::Lookup { call, account, command } => {
                self.dispatch.stats.lookups.add(1);
                self.spans.looking_up(call, account, &command);
                let client = self.client(account);
                self.answer(call, async move {
                    let result = match client {
                        Some(client) => client.lookup(&command).await,
                        None => Err(no_client()),
                    };
                    Input::LookedUp { call, result }
                });
            }
            Effect::Pause(lanes) => self.consumer.pause(self.all(&lanes)),
            Effect::Resume(lanes) => self.consumer.resume(self.all(&lanes)),
            Effect::Release { partition } => self.consumer.release(vec![self.commands(partition)]),
            Effect::Drained => self.ended = Some(Ended::Drained),
        }
    }

    fn submit(&self, submit: Submit) {
        tell::submit(&self.dispatch, &submit);
        let client = self.client(submit.account);
        let clock = self.dispatch.clock;
        self.answer(submit.call, async move {
            let Submit { call, action, lease_until, commands, .. } = submit;
            let result = match client {
                None => Err(no_client()),
                Some(client) => {
                    let lease_until = clock.instant(lease_until);
                    client.submit(action, &commands, lease_until).await.map(Into::into)
                }
            };
            Input::Submitted { call, result }
        });
    }

    /// Runs a call and hands its answer to the engine.
    fn answer(&self, number: CallNumber, call: impl Future<Output = Input> + Send + 'static) {
        let (messages, stats) = (self.messages.clone(), Arc::clone(&self.dispatch.stats));
        let span = self.spans.log_span(Some(number));
        tokio::spawn(async move {
            let input = call.instrument(span).await;
            tell::answer(&stats, &input);
            let _ = messages.send(Message::Input(input)).await;
        });
    }

    /// The producer's thread encodes the records as it takes them.
    fn commit(&self, attempt: Attempt) {
        let dispatch = Arc::clone(&self.dispatch);
        let messages = self.messages.clone();
        let encoding = Encoding::new(&dispatch.topics, &attempt.contents, attempt.rooms);
        let encoding = Arc::new(encoding);
        let offsets = attempt.contents.offsets.iter();
        let transaction = Transaction {
            anchors: offsets
                .map(|write| self.anchors.mark(&self.commands(write.partition), write.offset.0))
                .collect(),
            offsets: translate::offsets(&dispatch.topics, &attempt.contents),
            records: encoding.clone(),
            group: self.group.clone(),
        };
        let began = Instant::now();
        self.producer.commit(transaction, move |result| {
            let (contents, noted) = (&attempt.contents, encoding.noted());
            tell::committed(&dispatch, contents, noted, &result, began.elapsed());
            if let Some(observer) = dispatch.observer.as_ref().filter(|_| result.is_ok()) {
                observer(contents);
            }
            let _ = messages.blocking_send(Message::Committed(attempt, result));
        });
    }

    fn client(&self, account: u16) -> Option<Arc<crate::shell::http::ResellerClient>> {
        self.dispatch.clients.get(usize::from(account)).cloned()
    }

    fn commands(&self, partition: Partition) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.dispatch.topics.commands), partition.0)
    }

    fn all(&self, lanes: &[Partition]) -> Vec<TopicPartition> {
        lanes.iter().map(|partition| self.commands(*partition)).collect()
    }
}

fn no_client() -> CallFailure {
    CallFailure::NotSent { reason: "the account has no client".into() }
}
