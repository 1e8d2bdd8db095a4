//! A proxy that breaks what goes through it: it delays, cuts and swallows, and stops at a named
//! request of the Kafka protocol, so that a test can act while that one request is under way.
//!
//! Several tests may share it: Kafka's clients tell their `client.id` in every request, and each
//! rule is for the clients with one id. What is no Kafka has the empty id.

// Not every test binary uses all of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Requests of the Kafka protocol, by their keys.
pub(crate) const FETCH: i16 = 1;
pub(crate) const LIST_OFFSETS: i16 = 2;
pub(crate) const JOIN_GROUP: i16 = 11;
pub(crate) const END_TRANSACTION: i16 = 26;

/// What goes through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Kafka,
    Other,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Each piece takes this much longer, in each direction.
    Slow(Duration),
    /// Connections stay open, and nothing goes through.
    HalfOpen,
    /// Requests go through, and no answers.
    Mute,
    /// Connections are reset at the first request.
    Refuse,
}

/// Which of the two messages is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Held,
    Forward,
    Discard,
}

/// A request to stop at.
#[derive(Clone)]
struct Stop {
    client: String,
    key: i16,
    /// One of these texts must be in the request.
    mentions: Vec<Vec<u8>>,
    side: Side,
    hit: watch::Sender<bool>,
    fate: watch::Receiver<Fate>,
}

/// Messages that are held, from the first one that fits on.
pub(crate) struct Held {
    hit: watch::Receiver<bool>,
    fate: watch::Sender<Fate>,
}

impl Held {
    /// Whether one is held.
    pub(crate) fn is_hit(&self) -> bool {
        *self.hit.borrow()
    }

    /// Lets what is held and what is to come go its way.
    pub(crate) fn forward(self) {
        self.fate.send_replace(Fate::Forward);
    }

    /// Throws away what is held, and resets its connection; what is to come goes its way.
    pub(crate) fn discard(self) {
        self.fate.send_replace(Fate::Discard);
    }
}

struct Connection {
    client: String,
    cut: CancellationToken,
    has_lost: bool,
}

#[derive(Default)]
struct State {
    modes: Vec<(String, Mode)>,
    stops: Vec<Stop>,
    connections: BTreeMap<u64, Connection>,
    accepted: u64,
    /// How often each client was refused.
    refused: BTreeMap<String, u64>,
}

#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    target: Arc<str>,
    protocol: Protocol,
}

/// The proxy; its connections are reset when it is dropped.
pub(crate) struct Proxy {
    runtime: Option<Runtime>,
    shared: Shared,
    address: String,
}

impl Proxy {
    pub(crate) fn start(listener: TcpListener, target: &str, protocol: Protocol) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::default();
        let shared = Shared { state, target: target.into(), protocol };
        let accepting = shared.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        Self { runtime: Some(runtime), shared, address }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sets what becomes of the messages of these clients.
    pub(crate) fn set_mode(&self, client: &str, mode: Mode) {
        let mut state = self.shared.lock();
        state.modes.retain(|(known, _)| known != client);
        state.modes.push((client.to_owned(), mode));
    }

    /// Lets everything of these clients through again. Connections that have lost something are
    /// reset: nothing sensible could follow on them.
    pub(crate) fn heal(&self, client: &str) {
        self.set_mode(client, Mode::Pass);
        self.reset(|connection| connection.client == client && connection.has_lost);
    }

    /// How often these clients were refused.
    pub(crate) fn refused(&self, client: &str) -> u64 {
        self.shared.lock().refused.get(client).copied().unwrap_or_default()
    }

    /// Resets all connections of these clients; they may connect again.
    pub(crate) fn cut(&self, client: &str) {
        self.reset(|connection| connection.client == client);
    }

    fn reset(&self, which: impl Fn(&Connection) -> bool) {
        for connection in self.shared.lock().connections.values() {
            if which(connection) {
                connection.cut.cancel();
            }
        }
    }

    /// Holds the requests of these clients with this key in which one of the texts occurs, or their
    /// responses, until the test says what becomes of them.
    pub(crate) fn stop_at(&self, client: &str, key: i16, mentions: &[&[u8]], side: Side) -> Held {
        let (hit, is_hit) = watch::channel(false);
        let (decide, fate) = watch::channel(Fate::Held);
        let mentions = mentions.iter().map(|text| text.to_vec()).collect();
        let stop = Stop { client: client.to_owned(), key, mentions, side, hit, fate };
        self.shared.lock().stops.push(stop);
        Held { hit: is_hit, fate: decide }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a connection may do with the message that it has read.
enum Verdict {
    Forward,
    Swallow,
    Reset,
}

/// A response to come is held by the rule of its request.
type HeldResponses = Arc<Mutex<BTreeMap<i32, Stop>>>;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, client: TcpStream) {
        let cut = CancellationToken::new();
        let id = {
            let mut state = self.lock();
            state.accepted += 1;
            let id = state.accepted;
            let fresh = Connection { client: String::new(), cut: cut.clone(), has_lost: false };
            state.connections.insert(id, fresh);
            id
        };
        if let Ok(server) = TcpStream::connect(&*self.target).await {
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let held = HeldResponses::default();
            let requests = self.carry(id, Side::Request, &from_client, to_server, &held);
            let responses = self.carry(id, Side::Response, &from_server, to_client, &held);
            let is_reset = tokio::select! {
                () = cut.cancelled() => true,
                is_reset = requests => is_reset,
                is_reset = responses => is_reset,
            };
            if is_reset {
                let _ = from_client.as_ref().set_zero_linger();
            }
        }
        self.lock().connections.remove(&id);
    }

    /// Carries one direction to its end; whether the connection is to be reset then.
    async fn carry(
        &self,
        id: u64,
        side: Side,
        from: &OwnedReadHalf,
        mut to: OwnedWriteHalf,
        held: &HeldResponses,
    ) -> bool {
        let mut reader = Reader { from, buffer: Vec::new(), protocol: self.protocol };
        while let Some(message) = reader.next().await {
            match self.judge(id, side, &message, held).await {
                Verdict::Forward if to.write_all(&message).await.is_ok() => {}
                Verdict::Swallow => {}
                Verdict::Forward | Verdict::Reset => return true,
            }
        }
        false
    }

    async fn judge(&self, id: u64, side: Side, message: &[u8], held: &HeldResponses) -> Verdict {
        let header = Header::read(message, self.protocol, side);
        if let Some(client) = &header.client
            && let Some(connection) = self.lock().connections.get_mut(&id)
        {
            connection.client.clone_from(client);
        }
        let stop = match side {
            Side::Request => self.find_stop(id, &header, message, held),
            Side::Response => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                header.correlation.and_then(|number| held.remove(&number))
            }
        };
        if let Some(mut stop) = stop {
            stop.hit.send_replace(true);
            // A test that has ended lets everything go.
            let fate = stop.fate.wait_for(|fate| *fate != Fate::Held).await.map(|fate| *fate);
            if matches!(fate, Ok(Fate::Discard)) {
                return Verdict::Reset;
            }
        }
        match self.mode(id) {
            Mode::Pass => Verdict::Forward,
            Mode::Slow(longer) => {
                tokio::time::sleep(longer).await;
                Verdict::Forward
            }
            Mode::Mute if side == Side::Request => Verdict::Forward,
            Mode::HalfOpen | Mode::Mute => {
                if let Some(connection) = self.lock().connections.get_mut(&id) {
                    connection.has_lost = true;
                }
                Verdict::Swallow
            }
            Mode::Refuse => {
                let client = self.client(id);
                *self.lock().refused.entry(client).or_default() += 1;
                Verdict::Reset
            }
        }
    }

    fn client(&self, id: u64) -> String {
        let state = self.lock();
        state.connections.get(&id).map(|connection| connection.client.clone()).unwrap_or_default()
    }

    fn mode(&self, id: u64) -> Mode {
        let client = self.client(id);
        let state = self.lock();
        let found = state.modes.iter().find(|(known, _)| client == *known);
        found.map_or(Mode::Pass, |(_, mode)| *mode)
    }

    /// The rule that holds this request; if it is about the response, that is noted for later.
    fn find_stop(
        &self,
        id: u64,
        header: &Header,
        message: &[u8],
        held: &HeldResponses,
    ) -> Option<Stop> {
        let state = self.lock();
        let client = &state.connections.get(&id)?.client;
        let is_mentioned = |text: &Vec<u8>| message.windows(text.len()).any(|part| part == *text);
        let stop = state.stops.iter().find(|stop| {
            *stop.fate.borrow() == Fate::Held
                && stop.fate.has_changed().is_ok()
                && header.key == Some(stop.key)
                && *client == stop.client
                && (stop.mentions.is_empty() || stop.mentions.iter().any(is_mentioned))
        })?;
        if stop.side == Side::Request {
            return Some(stop.clone());
        }
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(header.correlation?, stop.clone());
        None
    }
}

/// What can be told from the beginning of a message.
#[derive(Default)]
struct Header {
    key: Option<i16>,
    correlation: Option<i32>,
    client: Option<String>,
}

impl Header {
    /// Kafka's requests begin with size, key, version, correlation and client id; its responses
    /// with size and correlation.
    fn read(message: &[u8], protocol: Protocol, side: Side) -> Self {
        let number =
            |at: usize| Some(i32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?));
        let short = |at: usize| Some(i16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
        match (protocol, side) {
            (Protocol::Other, _) => Self::default(),
            (Protocol::Kafka, Side::Response) => Self { correlation: number(4), ..Self::default() },
            (Protocol::Kafka, Side::Request) => {
                let client = short(12).and_then(|length| {
                    let bytes = message.get(14..14 + usize::try_from(length).ok()?)?;
                    String::from_utf8(bytes.to_vec()).ok()
                });
                Self { key: short(4), correlation: number(8), client }
            }
        }
    }
}

/// Reads whole messages of Kafka, or whatever has come of anything else.
struct Reader<'a> {
    from: &'a OwnedReadHalf,
    buffer: Vec<u8>,
    protocol: Protocol,
}

impl Reader<'_> {
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let whole = match self.protocol {
                Protocol::Other => (!self.buffer.is_empty()).then_some(self.buffer.len()),
                Protocol::Kafka => self
                    .buffer
                    .first_chunk()
                    .map(|size| 4 + usize::try_from(i32::from_be_bytes(*size)).unwrap_or_default()),
            };
            if let Some(size) = whole.filter(|size| self.buffer.len() >= *size) {
                let rest = self.buffer.split_off(size);
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            self.from.readable().await.ok()?;
            match self.from.try_read_buf(&mut self.buffer) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}
