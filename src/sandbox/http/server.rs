//! HTTP around the double: one handler for the API, the control routes beside it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State as Extract};
use axum::http::{Extensions, HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::connection::{Cut, CuttableListener};
use super::control;
use super::json;
use super::route::HttpRequest;
use crate::sandbox::api::{ApiError, Delivery, Reply};
use crate::sandbox::operations::later;
use crate::sandbox::options::Options;
use crate::sandbox::state::State;

/// Bodies beyond this are refused with 413: some 100,000 claims fit four times over.
const BODY_BYTES_MAX: usize = 256 << 20;

/// The double behind HTTP. Clones share one state.
#[derive(Clone, Debug)]
pub struct Sandbox {
    state: Arc<Mutex<State>>,
    started: (Timestamp, Instant),
    /// Ends replies that hang.
    ending: CancellationToken,
}

impl Sandbox {
    /// An API without devices, whose clock begins with the real time.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(options))),
            started: (Timestamp::now(), Instant::now()),
            ending: CancellationToken::new(),
        }
    }

    /// The time of the double: real time that never goes back.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let (wall, monotonic) = self.started;
        later(wall, monotonic.elapsed())
    }

    /// The state, with everything carried out that is due by now. Hold it briefly: calls wait.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // The clock is read under the lock, so that calls reach the state in the order of time.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(self.now());
        state
    }

    /// The API and the control routes. Only [`Sandbox::serve`] can lose replies; behind another
    /// server a lost reply is a 500.
    pub fn router(&self) -> Router {
        Router::new()
            .nest("/control", control::router())
            .fallback(answer)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.clone())
    }

    /// Serves until `shutdown`, then ends hanging replies and lets the others finish.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let ending = self.ending.clone();
        let service = self.router().into_make_service_with_connect_info::<Cut>();
        axum::serve(CuttableListener(listener), service)
            .with_graceful_shutdown(async move {
                shutdown.await;
                ending.cancel();
            })
            .await
    }
}

/// Serves a new double on `listener` until `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    options: Options,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    Sandbox::new(options).serve(listener, shutdown).await
}

async fn answer(
    Extract(sandbox): Extract<Sandbox>,
    extensions: Extensions,
    verb: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query: BTreeMap<String, String> =
        Query::try_from_uri(&uri).map_or_else(|_| BTreeMap::new(), |Query(query)| query);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.split_once(' '));
    let token = bearer
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned());
    let structured = text("x-goog-api-format-version") == Some("2")
        || query.get("$.xgafv").is_some_and(|version| version == "2");
    let request =
        HttpRequest { verb: verb.as_str(), path: uri.path(), query: &query, token, body: &body };
    let call = request.call();
    let method = call.request.method();
    let Reply { delay, delivery, result } = {
        let mut state = sandbox.state();
        let now = state.now();
        state.call(now, call)
    };
    let status = result.as_ref().map_or_else(|error| error.code, |_| 200);
    tracing::debug!(%method, status, ?delivery, "answered a call");
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = sandbox.ending.cancelled() => {}
    }
    if delivery == Delivery::Hung {
        sandbox.ending.cancelled().await;
    }
    if matches!(delivery, Delivery::Hung | Delivery::Closed) {
        if let Some(ConnectInfo(cut)) = extensions.get::<ConnectInfo<Cut>>() {
            cut.cut();
        }
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match result {
        Ok(body) if delivery == Delivery::CutOff => {
            let whole = json::write(&body).to_string();
            let half = whole.chars().take(whole.len() / 2).collect::<String>();
            ([(header::CONTENT_TYPE, "application/json")], half).into_response()
        }
        Ok(body) => axum::Json(json::write(&body)).into_response(),
        Err(error) => error_response(&error, structured),
    }
}

fn error_response(error: &ApiError, structured: bool) -> Response {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(error.envelope(structured))).into_response();
    if let Some(wait) = error.retry_after {
        // Whole seconds, rounded up: the header knows no fractions, and early is too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
