//! The routes, and what each answers. Errors are JSON: `{"error": "…"}`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::guard::guard;
use super::state;
use crate::shell::Stats;
use crate::shell::telemetry::logs::LogsHandle;
use crate::shell::telemetry::metrics;

const PAGE: &str = include_str!("page.html");
/// The page needs nothing from anywhere, and may be shown in no other page.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src \
                           'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 4 << 10;

/// What the routes work with.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) stats: Arc<Stats>,
    pub(super) logs: Option<LogsHandle>,
    pub(super) drain: CancellationToken,
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    pub(super) const fn new(status: StatusCode, reason: String) -> Self {
        Self(status, reason)
    }

    pub(super) fn forbidden(reason: impl Into<String>) -> Self {
        Self(StatusCode::FORBIDDEN, reason.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// Probes and metrics.
pub(super) fn probes(shared: Shared) -> Router {
    finished(probe_routes(), shared)
}

/// All routes.
pub(super) fn everything(shared: Shared) -> Router {
    let routes = probe_routes()
        .route("/", get(page))
        .route("/state", get(state))
        .route("/accounts/{name}/pause", post(pause))
        .route("/accounts/{name}/resume", post(resume))
        .route("/log-level", post(log_level))
        .route("/drain", post(drain));
    finished(routes, shared).layer(middleware::from_fn(guard))
}

fn probe_routes() -> Router<Shared> {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
}

fn finished(routes: Router<Shared>, shared: Shared) -> Router {
    routes
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, "there is no such route".to_owned()) })
        .method_not_allowed_fallback(|| async {
            let reason = "this route takes another method".to_owned();
            Refusal(StatusCode::METHOD_NOT_ALLOWED, reason)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

fn status(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn livez(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let hung = shared.stats.board.hung(Instant::now());
    let live = hung.is_empty();
    (status(live), Json(json!({ "live": live, "reasons": hung })))
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let latches = shared.stats.board.latches(Instant::now());
    let ready = latches.iter().all(|latch| latch.ok);
    (status(ready), Json(json!({ "ready": ready, "latches": latches })))
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    let latches = shared.stats.board.latches(Instant::now());
    let latches: Vec<_> = latches.iter().map(|latch| (&*latch.name, latch.ok)).collect();
    let text = metrics::text(&shared.stats, &latches);
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn state(State(shared): State<Shared>) -> Response {
    let level = shared.logs.as_ref().map(LogsHandle::current);
    let state = state::of(&shared.stats, level.as_deref(), Instant::now());
    ([(header::CACHE_CONTROL, "no-store")], Json(state)).into_response()
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(PAGE)).into_response()
}

async fn pause(shared: State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    hold(&shared, &name, true)
}

async fn resume(shared: State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    hold(&shared, &name, false)
}

fn hold(shared: &Shared, name: &str, paused: bool) -> Result<Json<Value>, Refusal> {
    let board = &shared.stats.board;
    if !board.pause(name, paused) {
        let names = board.facts().accounts.join(", ");
        let reason = format!("there is no account {name:?}; there are: {names}");
        return Err(Refusal(StatusCode::NOT_FOUND, reason));
    }
    if paused {
        tracing::warn!(account = name, "paused by hand: its submits are held back");
    } else {
        tracing::warn!(account = name, "resumed by hand: its submits go on");
    }
    Ok(Json(json!({ "account": name, "paused": paused })))
}

async fn log_level(shared: State<Shared>, level: String) -> Result<Json<Value>, Refusal> {
    let Some(logs) = &shared.logs else {
        return Err(Refusal(StatusCode::CONFLICT, "this process has no log of its own".to_owned()));
    };
    let level = level.trim();
    let refuse = |reason: String| Refusal(StatusCode::BAD_REQUEST, reason);
    if !crate::config::is_log_level(level) {
        return Err(refuse(format!(
            "cannot read {level:?}: {}",
            crate::config::LOG_LEVEL_EXPECTED
        )));
    }
    logs.set(level).map_err(|error| refuse(error.to_string()))?;
    tracing::warn!(level, "the log level was changed by hand");
    Ok(Json(json!({ "logLevel": logs.current() })))
}

/// To be asked again until it says `drained`.
async fn drain(shared: State<Shared>) -> Json<Value> {
    let board = &shared.stats.board;
    if !shared.drain.is_cancelled() {
        tracing::info!("a drain was asked for; the process stays until it is told to end");
        board.set_draining();
        shared.drain.cancel();
    }
    Json(json!({ "draining": true, "drained": board.is_drained() }))
}
