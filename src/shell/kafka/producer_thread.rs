//! The producer's thread: one transaction after the other, and a new producer when one breaks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use super::client::{ClientError, KafkaOptions, Role, config, refused};
use super::deliveries::Client;
use super::producer::{AbortReason, Command, CommitError, Transaction};
use super::transaction::{Failure, abort, attempt};
use crate::shell::lock::locked;

/// How often a new producer is tried for before that is reported.
const INIT_ATTEMPTS: u32 = 3;
/// How long a broken producer may take to close before its successor is made.
const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// Before a producer is asked again for what Kafka has answered with "later", and how long what it
/// complains of takes to be heard.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Since when a command has been under way.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<Mutex<Option<Instant>>>);

impl Busy {
    pub(super) fn elapsed(&self) -> Option<Duration> {
        locked(&self.0).map(|since| since.elapsed())
    }

    fn set(&self, since: Option<Instant>) {
        *locked(&self.0) = since;
    }
}

/// What the thread owns.
pub(super) struct Writer {
    config: ClientConfig,
    commit_timeout: Duration,
    init_timeout: Duration,
    /// None before the first command, and after a producer has broken.
    client: Option<Client>,
    busy: Busy,
}

impl Writer {
    pub(super) fn new(
        options: &KafkaOptions,
        transactional_id: &str,
        busy: Busy,
    ) -> Result<Self, ClientError> {
        let config = config(options, Role::Transactional(transactional_id))?;
        // A wrong setting is a mistake of the configuration: say so now.
        let probe = config.create_native_config();
        probe.map_err(|error| refused("producer", &error))?;
        Ok(Self {
            config,
            commit_timeout: options.commit_timeout,
            // The broker may have to end an earlier transaction first.
            init_timeout: options.request_timeout.max(options.transaction_timeout),
            client: None,
            busy,
        })
    }

    /// How long one command may take if every step of it takes all the time that it has.
    pub(super) fn longest(&self) -> Duration {
        self.commit_timeout * 2 + CLOSE_WAIT + self.init_timeout * INIT_ATTEMPTS
    }

    pub(super) fn run(mut self, inbox: &Receiver<Command>) {
        while let Ok(command) = inbox.recv() {
            self.busy.set(Some(Instant::now()));
            match command {
                Command::Init(reply) => reply(self.renew()),
                Command::Commit(transaction, reply) => {
                    let result = self.commit_guarded(&transaction);
                    // Whoever is told it is over may count what is still in memory.
                    drop(transaction);
                    reply(result);
                }
                Command::Stop => return,
            }
            self.busy.set(None);
        }
    }

    /// The records are made by others while they are written: that panic must end no more than the
    /// transaction, or its reply would never come.
    fn commit_guarded(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        let committed = catch_unwind(AssertUnwindSafe(|| self.commit(transaction)));
        committed.unwrap_or_else(|_| {
            self.renew()?;
            let reason = "making its records panicked: report this defect".into();
            Err(CommitError::Unknown { reason })
        })
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        if !transaction.offsets.is_empty() && transaction.group.is_none() {
            let reason = "it has offsets, and no membership to commit them under".into();
            let reason = AbortReason::Other(reason);
            return Err(CommitError::Aborted { reason, retriable: false });
        }
        let timeout = self.commit_timeout;
        let client = self.client()?;
        let failure = match attempt(client, transaction, timeout) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let (error, reason) = match failure {
            Failure::Abort(error) => match abort(client, timeout) {
                Ok(()) => return Err(error),
                Err(reason) => (error, reason),
            },
            Failure::Broken(error) => (error, "it is of no more use".into()),
        };
        tracing::warn!(%error, reason, "the Kafka producer is replaced");
        self.renew()?;
        Err(error)
    }

    /// A new producer, which fences what an earlier one of its id has left open.
    fn renew(&mut self) -> Result<(), CommitError> {
        self.discard();
        self.client().map(drop)
    }

    /// Purges a broken producer and closes its connections, so that what it has not sent yet is
    /// never sent. That may take long, or hang: then its id is fenced by its successor all the
    /// same.
    fn discard(&mut self) {
        let Some(client) = self.client.take() else { return };
        let (done, closed) = mpsc::channel();
        let dropped = thread::Builder::new().name("kafka-producer-end".into()).spawn(move || {
            drop(client);
            let _ = done.send(());
        });
        match dropped {
            Ok(_) => drop(closed.recv_timeout(CLOSE_WAIT)),
            Err(error) => tracing::warn!(%error, "no thread to close a Kafka producer on"),
        }
    }

    fn client(&mut self) -> Result<&Client, CommitError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.fenced_client()?,
        };
        Ok(self.client.insert(client))
    }

    fn fenced_client(&self) -> Result<Client, CommitError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.try_client() {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            if attempts == INIT_ATTEMPTS {
                let reason = format!("no producer after {attempts} attempts: {error}");
                return Err(CommitError::Fatal { reason });
            }
            tracing::warn!(error, attempts, "a new Kafka producer could not be made yet");
        }
    }

    fn try_client(&self) -> Result<Client, String> {
        let client = Client::new(&self.config)?;
        let deadline = Instant::now() + self.init_timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match client.init_transactions(left) {
                Ok(()) => return Ok(client),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable()
                        && error.code() != RDKafkaErrorCode::OperationTimedOut
                        && Instant::now() < deadline =>
                {
                    thread::sleep(A_MOMENT);
                }
                Err(error) => {
                    thread::sleep(A_MOMENT);
                    return Err(client.context().explained(&error));
                }
            }
        }
    }
}
