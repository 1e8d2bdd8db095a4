//! The admin server: probes, metrics, the state, the status page, and a few controls.
//!
//! It has a thread and a runtime of its own and reads what the halves put up on the [`Board`], so
//! that a worker that is busy, or stuck, still answers. One listener serves everything and is for
//! this machine; another may serve probes and metrics alone.

mod answers;
mod board;
mod client;
mod guard;
mod latches;
mod movement;
mod routes;
mod state;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Stats;
use super::telemetry::logs::LogsHandle;
use crate::config::AdminConfig;

pub use board::{Board, Facts};
pub(in crate::shell) use board::{DispatchView, IntakeView, Lag};
pub use client::{AskError, Reply, ask};
use routes::Shared;

/// The admin server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken, or not one of this machine.
    #[error("the admin server cannot listen on {address} (`{key}`): {reason}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What is in the way.
        reason: io::Error,
    },
    /// Its thread or runtime cannot be made.
    #[error("the admin server cannot be started: {0}")]
    Start(io::Error),
}

/// Between two looks at the latches, so that it is known since when they are as they are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The server; dropping it ends it.
#[derive(Debug)]
pub(super) struct Admin {
    /// Where everything is served.
    pub(super) address: Option<SocketAddr>,
    end: CancellationToken,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Listens, and begins to answer. `drain` is cancelled when somebody asks for a drain.
pub(super) fn start(
    config: &AdminConfig,
    stats: &Arc<Stats>,
    logs: Option<LogsHandle>,
    drain: &CancellationToken,
) -> Result<Option<Admin>, AdminError> {
    let local = match config.listen.map(|address| bind("admin.listen", address)).transpose() {
        Ok(listener) => listener,
        Err(error) if config.is_asked_for => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "going on without a status page and controls");
            None
        }
    };
    let address = local.as_ref().and_then(|listener| listener.local_addr().ok());
    let exposed = config.expose.map(|address| bind("admin.expose", address)).transpose()?;
    if local.is_none() && exposed.is_none() {
        return Ok(None);
    }
    let shared = Shared { stats: Arc::clone(stats), logs, drain: drain.clone() };
    let end = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AdminError::Start)?;
    let until = end.clone();
    std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || runtime.block_on(serve(local, exposed, shared, until)))
        .map_err(AdminError::Start)?;
    Ok(Some(Admin { address, end }))
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, AdminError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        tracing::info!(key, %address, "the admin server listens");
        Ok(listener)
    });
    listener.map_err(|reason| AdminError::Listen { key, address, reason })
}

async fn serve(
    local: Option<TcpListener>,
    exposed: Option<TcpListener>,
    shared: Shared,
    end: CancellationToken,
) {
    let routers =
        [(local, routes::everything(shared.clone())), (exposed, routes::probes(shared.clone()))];
    for (listener, router) in routers {
        let Some(listener) = listener else { continue };
        let until = end.clone().cancelled_owned();
        tokio::spawn(async move {
            let served = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => axum::serve(listener, router).with_graceful_shutdown(until).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(%error, "the admin server has ended");
            }
        });
    }
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = every.tick() => drop(shared.stats.board.latches(Instant::now())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    struct Running {
        stats: Arc<Stats>,
        drain: CancellationToken,
        local: String,
        exposed: String,
        _admin: Admin,
    }

    /// A free port, for a moment at least.
    fn free() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn running() -> Running {
        let (listen, expose) = (free(), free());
        let config = AdminConfig { listen: Some(listen), is_asked_for: true, expose: Some(expose) };
        let (stats, drain) = (Arc::new(Stats::default()), CancellationToken::new());
        stats.board.set_facts(Facts { accounts: vec!["ma in".into()], ..Facts::default() });
        let admin = start(&config, &stats, None, &drain).unwrap().unwrap();
        let (local, exposed) = (format!("http://{listen}"), format!("http://{expose}"));
        Running { stats, drain, local, exposed, _admin: admin }
    }

    fn json(reply: &Reply) -> serde_json::Value {
        serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
    }

    #[test]
    fn probes_and_metrics_are_served_on_both_listeners_and_the_rest_on_one() {
        let worker = running();
        for path in ["/livez", "/readyz", "/metrics"] {
            let local = ask(&worker.local, "GET", path, SOON).unwrap();
            let exposed = ask(&worker.exposed, "GET", path, SOON).unwrap();
            assert_eq!(local.status, exposed.status, "{path}");
            assert_ne!(local.status, 404, "{path}");
        }
        for (method, path) in [("GET", "/"), ("GET", "/state"), ("POST", "/drain")] {
            assert_eq!(ask(&worker.exposed, method, path, SOON).unwrap().status, 404, "{path}");
            assert_eq!(ask(&worker.local, method, path, SOON).unwrap().status, 200, "{path}");
        }
        assert!(worker.drain.is_cancelled());
    }

    #[test]
    fn probes_are_exposed_though_the_rest_is_off() {
        let expose = free();
        let config = AdminConfig { expose: Some(expose), ..AdminConfig::default() };
        let stats = Arc::new(Stats::default());
        let admin = start(&config, &stats, None, &CancellationToken::new()).unwrap().unwrap();
        assert_eq!(admin.address, None);
        let exposed = format!("http://{expose}");
        assert_eq!(ask(&exposed, "GET", "/livez", SOON).unwrap().status, 200);
    }

    #[test]
    fn livez_says_yes_while_readyz_says_no_and_why() {
        let worker = running();
        worker.stats.board.kafka_is_waited_for("no broker answers");
        let live = ask(&worker.exposed, "GET", "/livez", SOON).unwrap();
        assert_eq!((live.status, json(&live)["live"].as_bool()), (200, Some(true)));
        let ready = ask(&worker.exposed, "GET", "/readyz", SOON).unwrap();
        assert_eq!(ready.status, 503);
        let latch = &json(&ready)["latches"][0];
        assert_eq!((&latch["name"], &latch["ok"]), (&"kafka".into(), &false.into()));
        assert_eq!(latch["reason"], "no broker answers");
    }

    #[test]
    fn accounts_are_paused_by_name_and_unknown_ones_are_named_back() {
        let worker = running();
        let post = |path: &str| ask(&worker.local, "POST", path, SOON).unwrap();
        assert_eq!(post("/accounts/ma%20in/pause").status, 200);
        assert_eq!(worker.stats.board.paused().borrow().len(), 1);
        assert_eq!(post("/accounts/ma%20in/resume").status, 200);
        assert_eq!(worker.stats.board.paused().borrow().len(), 0);
        let unknown = post("/accounts/other/pause");
        assert_eq!(unknown.status, 404);
        let error = json(&unknown)["error"].as_str().unwrap().to_owned();
        assert_eq!(error, "there is no account \"other\"; there are: ma in");
    }

    #[test]
    fn what_is_asked_wrongly_is_answered_in_json() {
        let worker = running();
        let asked = |method, path| ask(&worker.local, method, path, SOON).unwrap();
        for (reply, status) in [
            (asked("GET", "/nothing"), 404),
            (asked("POST", "/state"), 405),
            (asked("GET", "/drain"), 405),
            (asked("POST", "/log-level"), 409),
        ] {
            assert_eq!(reply.status, status, "{reply:?}");
            assert!(json(&reply)["error"].is_string(), "{reply:?}");
        }
        assert!(!worker.drain.is_cancelled());
    }

    #[test]
    fn a_port_that_is_taken_stops_a_start_that_asked_for_it_and_no_other() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = AdminConfig { listen: taken.local_addr().ok(), ..AdminConfig::default() };
        let start = |config: AdminConfig| {
            start(&config, &Arc::new(Stats::default()), None, &CancellationToken::new())
        };
        let asked = start(AdminConfig { is_asked_for: true, ..config }).unwrap_err().to_string();
        assert!(asked.contains("`admin.listen`"), "{asked}");
        assert!(start(config).is_ok());
        let expose = config.listen;
        assert!(start(AdminConfig { expose, ..config }).is_err(), "it was asked for");
        assert!(start(AdminConfig::default()).unwrap().is_none(), "off");
    }
}
