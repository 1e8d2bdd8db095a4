//! The connections of one listener: bounded in number, and each in time, so that nobody who can
//! reach a port takes the worker's memory, its file descriptors or its probes.
//!
//! At the bound the newest wins: the connection that has been without a reply for longest is closed
//! for it. A probe sends its request at once and is answered within a millisecond, so that it gets
//! through among any number of connections that are merely held open; to refuse the newest would
//! keep out the probe instead, and Kubernetes would end a pod that works. What is closed has been
//! idle, or its request is not complete yet, and whoever is serious asks again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::routes::Refusal;
use crate::shell::Stats;
use crate::shell::limit::Limit;
use crate::shell::lock::locked;

/// A connection reads and keeps this much of a request's head; a longer one is refused.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After an attempt to accept that failed, as without file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A crowded listener is told of once in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What one listener allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) connections: usize,
    /// From the connection, or the reply before, until the head of a request is there.
    pub(super) head: Duration,
    /// From the head of a request until its reply, its body included.
    pub(super) request: Duration,
    /// From a reply until it is taken and another request is there.
    pub(super) quiet: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            request: Duration::from_secs(10),
            quiet: Duration::from_secs(30),
        }
    }
}

/// Why a connection was closed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::shell) enum Closed {
    /// A newer one needed its place.
    Crowded,
    /// Nothing came, or nothing was taken, for too long.
    Silent,
}

impl Closed {
    pub(in crate::shell) const ALL: [Self; 2] = [Self::Crowded, Self::Silent];

    pub(in crate::shell) const fn as_str(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::Silent => "silent",
        }
    }
}

/// One connection as the listener sees it.
#[derive(Debug)]
struct Connection {
    standing: Mutex<Standing>,
    end: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    is_serving: bool,
    /// Since it was accepted, or since its last reply.
    since: Instant,
}

impl Connection {
    fn new() -> Self {
        let standing = Standing { is_serving: false, since: Instant::now() };
        Self { standing: Mutex::new(standing), end: CancellationToken::new() }
    }

    fn set_serving(&self, is_serving: bool) {
        *locked(&self.standing) = Standing { is_serving, since: Instant::now() };
    }

    fn standing(&self) -> Standing {
        *locked(&self.standing)
    }

    /// Ends once nothing has happened for too long.
    async fn quiet_for(&self, most: Duration) {
        loop {
            let Standing { is_serving, since } = self.standing();
            let end = if is_serving { Instant::now() + most } else { since + most };
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end.into()).await;
        }
    }
}

/// What the tasks of a listener share.
#[derive(Debug)]
struct Open {
    /// In the order in which they were accepted.
    all: Mutex<BTreeMap<u64, Arc<Connection>>>,
    places: Arc<Semaphore>,
    stats: Arc<Stats>,
    /// `admin.listen` or `admin.expose`.
    key: &'static str,
    bounds: Bounds,
}

impl Open {
    /// Ends the connection that has been without a reply for longest, a request under way last.
    fn make_room(&self) {
        let all = locked(&self.all);
        let open = all.values().filter(|connection| !connection.end.is_cancelled());
        let oldest = open.min_by_key(|connection| {
            let Standing { is_serving, since } = connection.standing();
            (is_serving, since)
        });
        if let Some(connection) = oldest {
            connection.end.cancel();
            self.count(Closed::Crowded);
        }
    }

    fn count(&self, why: Closed) {
        self.stats.metrics.admin_closed(self.key, why.as_str());
    }
}

/// Accepts and serves until it is dropped.
pub(super) async fn serve(
    key: &'static str,
    listener: TcpListener,
    router: Router,
    stats: Arc<Stats>,
    bounds: Bounds,
) {
    let open = Arc::new(Open {
        all: Mutex::default(),
        places: Arc::new(Semaphore::new(bounds.connections)),
        stats,
        key,
        bounds,
    });
    let mut limit = Limit::new(1, TELL_EVERY);
    for number in 0.. {
        let stream = accept(&listener, &open, &mut limit).await;
        let place = match Arc::clone(&open.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                open.make_room();
                if let Some(before) = limit.admit("crowded", Instant::now()) {
                    tracing::warn!(
                        key,
                        connections_max = bounds.connections,
                        again = before,
                        "the admin server has all connections that it may have; the ones idle for \
                         longest are closed for new ones, and probes get through: find out who \
                         holds them open"
                    );
                }
                // It comes as soon as the task of the one that was ended has run.
                let Ok(place) = Arc::clone(&open.places).acquire_owned().await else { return };
                place
            }
        };
        let connection = Arc::new(Connection::new());
        locked(&open.all).insert(number, Arc::clone(&connection));
        let (open, router) = (Arc::clone(&open), router.clone());
        tokio::spawn(async move {
            attend(&open, stream, router, &connection).await;
            locked(&open.all).remove(&number);
            drop::<OwnedSemaphorePermit>(place);
        });
    }
}

/// The next connection, however long that takes.
async fn accept(listener: &TcpListener, open: &Open, limit: &mut Limit<&'static str>) -> TcpStream {
    loop {
        let error = match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => error,
        };
        // Of the other side, which is gone already.
        let of_peer = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
        );
        if of_peer {
            continue;
        }
        open.make_room();
        if let Some(again) = limit.admit("accept", Instant::now()) {
            tracing::error!(
                key = open.key,
                %error,
                again,
                "the admin server cannot accept a connection; it tries again and again: look at \
                 the process's file descriptors and their limit (ulimit -n)"
            );
        }
        tokio::time::sleep(ACCEPT_AGAIN).await;
    }
}

/// One connection, until it ends or is ended.
async fn attend(open: &Open, stream: TcpStream, router: Router, connection: &Connection) {
    let service = TowerToHyperService::new(router);
    let answer = service_fn(|request| {
        connection.set_serving(true);
        let reply = service.call(request);
        async move {
            let reply = tokio::time::timeout(open.bounds.request, reply).await;
            connection.set_serving(false);
            let reply: Result<Response, Infallible> = reply.unwrap_or_else(|_| {
                open.count(Closed::Silent);
                Ok(late())
            });
            reply
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(open.bounds.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        ended = serving => {
            if ended.is_err_and(|error| error.is_timeout()) {
                open.count(Closed::Silent);
            }
        }
        () = connection.end.cancelled() => {}
        () = connection.quiet_for(open.bounds.quiet) => open.count(Closed::Silent),
    }
}

/// A request whose body does not come.
fn late() -> Response {
    let reason = "the request did not come whole in time".to_owned();
    let mut reply = Refusal::new(StatusCode::REQUEST_TIMEOUT, reason).into_response();
    let close = axum::http::HeaderValue::from_static("close");
    reply.headers_mut().insert(axum::http::header::CONNECTION, close);
    reply
}
