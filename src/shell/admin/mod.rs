//! The admin server: probes, metrics, the state, the status page, and a few controls.
//!
//! It has a thread and a runtime of its own and reads what the halves put up on the [`Board`], so
//! that a worker that is busy, or stuck, still answers. One listener serves everything and is for
//! this machine; another may serve probes and metrics alone.

mod answers;
mod board;
mod client;
mod connections;
mod guard;
mod latches;
mod movement;
mod routes;
mod state;
mod writes;

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
use connections::Bounds;
pub(in crate::shell) use connections::Closed;
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
    start_bounded(config, stats, logs, drain, Bounds::default())
}

fn start_bounded(
    config: &AdminConfig,
    stats: &Arc<Stats>,
    logs: Option<LogsHandle>,
    drain: &CancellationToken,
    bounds: Bounds,
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
        .spawn(move || runtime.block_on(serve(local, exposed, shared, bounds, until)))
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
    bounds: Bounds,
    end: CancellationToken,
) {
    let routers = [
        ("admin.listen", local, routes::everything(shared.clone())),
        ("admin.expose", exposed, routes::probes(shared.clone())),
    ];
    for (key, listener, router) in routers {
        let Some(listener) = listener else { continue };
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let stats = Arc::clone(&shared.stats);
                tokio::spawn(connections::serve(key, listener, router, stats, bounds));
            }
            Err(error) => tracing::error!(key, %error, "the admin server has ended"),
        }
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
mod tests;
