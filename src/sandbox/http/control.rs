//! The control routes: what a test may see and do besides the API. All bodies are JSON.
//!
//! - `GET /control/devices[?device=KEY]`: device records with key, id, identifiers, claim and
//!   metadata.
//! - `POST /control/devices`: puts devices there whatever their state, and gives
//!   `{"deviceIds": […]}`. `{"devices": [{"partnerId": "1", "customerId": "100",
//!   "deviceIdentifier": {…}, "metadata": {…}}]}`; `googleWorkspaceCustomerId` may stand in place
//!   of `customerId`; neither makes a device that nobody holds.
//! - `GET /control/log[?device=KEY]`: changes that took effect, in order.
//! - `GET /control/operations[?device=KEY][&method=NAME]`: accepted operations with their items,
//!   times, faults, and whether their name reached the caller.
//! - `GET /control/calls[?method=NAME]`: calls with method, status, items, times, faults.
//! - `GET /control/stats`: figures: calls by method and status, batch sizes, the most operations
//!   ever in flight for one device.
//! - `GET /control/faults`: the fault rules with their ids (`faults.rs` says what a rule is).
//! - `POST /control/faults`: adds `{"rules": […]}` and gives `{"ids": […]}`.
//! - `DELETE /control/faults[?id=N]`: removes one rule, or all.
//! - `POST /control/tokens`: `{"revoke": […], "restore": […]}`; revoked bearer tokens get 401.
//! - `POST /control/reset`: no devices, operations, log or created customers; faults as at the
//!   start.
//!
//! `KEY` is a canonical device key such as `imei:490154203237518`. A list reads
//! `{"entries": […], "dropped": 0}`; `dropped` counts what a full log has forgotten. A wrong
//! request gives 400 with `{"error": "…"}`.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::server::Sandbox;
use crate::model::Customer;
use crate::sandbox::api::Method;
use crate::sandbox::faults::Rule;
use crate::sandbox::identifiers;
use crate::sandbox::log::Bounded;
use crate::wire::google::DeviceIdentifier;

type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

/// The routes, below `/control`.
pub(super) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/devices", get(devices).post(seed))
        .route("/log", get(changes))
        .route("/operations", get(operations))
        .route("/calls", get(calls))
        .route("/stats", get(stats))
        .route("/faults", get(faults).post(add_faults).delete(remove_faults))
        .route("/tokens", post(tokens))
        .route("/reset", post(reset))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is no such control route") })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    device: Option<String>,
    method: Option<Method>,
    id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Seeds {
    devices: Vec<Seed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Seed {
    partner_id: String,
    customer_id: Option<String>,
    google_workspace_customer_id: Option<String>,
    device_identifier: DeviceIdentifier,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Tokens {
    revoke: Vec<String>,
    restore: Vec<String>,
}

async fn devices(Extract(sandbox): Extract<Sandbox>, Query(filter): Query<Filter>) -> Json<Value> {
    let state = sandbox.state();
    let records: Vec<_> = state
        .devices()
        .filter(|record| filter.device.as_deref().is_none_or(|key| key == &*record.device))
        .collect();
    Json(json!({ "devices": records }))
}

async fn seed(Extract(sandbox): Extract<Sandbox>, body: Bytes) -> Answer {
    let seeds: Seeds = read(&body)?;
    let mut checked = Vec::with_capacity(seeds.devices.len());
    for (index, seed) in seeds.devices.into_iter().enumerate() {
        let customer = match (seed.customer_id, seed.google_workspace_customer_id) {
            (Some(id), None) => Some(Customer::ZeroTouch(id)),
            (None, Some(id)) => Some(Customer::Workspace(id)),
            (None, None) => None,
            (Some(_), Some(_)) => return refuse_item(index, "it names two customers"),
        };
        if let Err(error) = identifiers::check(&seed.device_identifier) {
            return refuse_item(index, &error.message);
        }
        checked.push((seed.partner_id, seed.device_identifier, customer, seed.metadata));
    }
    let mut state = sandbox.state();
    let now = state.now();
    let ids: Vec<_> = checked
        .into_iter()
        .map(|(partner, ids, customer, metadata)| {
            state.seed_device(now, &partner, ids, customer, metadata).to_string()
        })
        .collect();
    Ok(Json(json!({ "deviceIds": ids })))
}

async fn changes(Extract(sandbox): Extract<Sandbox>, Query(filter): Query<Filter>) -> Json<Value> {
    list(&sandbox.state().log().changes, |change| {
        filter.device.as_deref().is_none_or(|key| key == &*change.device)
    })
}

async fn operations(
    Extract(sandbox): Extract<Sandbox>,
    Query(filter): Query<Filter>,
) -> Json<Value> {
    list(&sandbox.state().log().operations, |operation| {
        filter.method.is_none_or(|method| method == operation.method)
            && filter
                .device
                .as_deref()
                .is_none_or(|key| operation.items.iter().any(|item| key == &*item.device))
    })
}

async fn calls(Extract(sandbox): Extract<Sandbox>, Query(filter): Query<Filter>) -> Json<Value> {
    list(&sandbox.state().log().calls, |call| {
        filter.method.is_none_or(|method| method == call.method)
    })
}

async fn stats(Extract(sandbox): Extract<Sandbox>) -> Json<Value> {
    let state = sandbox.state();
    let mut stats = json!(state.log().stats);
    let held = state.devices().filter(|record| record.claim.is_some()).count();
    stats["devices"] = json!(state.devices().count());
    stats["devicesClaimed"] = json!(held);
    stats["now"] = json!(state.now());
    Json(stats)
}

async fn faults(Extract(sandbox): Extract<Sandbox>) -> Json<Value> {
    let state = sandbox.state();
    let rules = state.faults().rules().iter().map(|(id, rule)| json!({"id": id, "rule": rule}));
    Json(json!({ "rules": rules.collect::<Vec<_>>() }))
}

async fn add_faults(Extract(sandbox): Extract<Sandbox>, body: Bytes) -> Answer {
    let Rules { rules } = read(&body)?;
    for (index, rule) in rules.iter().enumerate() {
        if let Err(error) = rule.check() {
            return refuse_item(index, &error);
        }
    }
    let mut state = sandbox.state();
    let ids: Vec<_> = rules.into_iter().map(|rule| state.faults_mut().add(rule)).collect();
    Ok(Json(json!({ "ids": ids })))
}

async fn remove_faults(Extract(sandbox): Extract<Sandbox>, Query(filter): Query<Filter>) -> Answer {
    let mut state = sandbox.state();
    match filter.id {
        Some(id) if !state.faults_mut().remove(id) => {
            refuse(StatusCode::NOT_FOUND, "there is no rule with this id")
        }
        Some(_) => Ok(Json(json!({}))),
        None => {
            state.faults_mut().clear();
            Ok(Json(json!({})))
        }
    }
}

async fn tokens(Extract(sandbox): Extract<Sandbox>, body: Bytes) -> Answer {
    let Tokens { revoke, restore } = read(&body)?;
    let mut state = sandbox.state();
    for token in revoke {
        state.revoke_token(token);
    }
    for token in restore {
        state.restore_token(&token);
    }
    Ok(Json(json!({})))
}

async fn reset(Extract(sandbox): Extract<Sandbox>) -> Json<Value> {
    sandbox.state().reset();
    Json(json!({}))
}

fn list<T: Serialize>(list: &Bounded<T>, keep: impl Fn(&T) -> bool) -> Json<Value> {
    let entries: Vec<_> = list.entries.iter().filter(|entry| keep(entry)).collect();
    Json(json!({ "entries": entries, "dropped": list.dropped }))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, Json<Value>)> {
    serde_json::from_slice(body).map_err(|error| {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": format!("the body: {error}") })))
    })
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    Err((status, Json(json!({ "error": message }))))
}

fn refuse_item(index: usize, message: &str) -> Answer {
    refuse(StatusCode::BAD_REQUEST, &format!("item {index}: {message}"))
}
