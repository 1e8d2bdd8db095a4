//! `/state`: how the worker stands, as JSON, for people and for the status page.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shell::Stats;
use crate::shell::telemetry::metrics::Half;

/// The state. Everything in it says how old it is, or is of this moment.
pub(super) fn of(stats: &Stats, log_level: Option<&str>, now: Instant) -> Value {
    let board = &stats.board;
    let latches = board.latches(now);
    let ready = latches.iter().all(|latch| latch.ok);
    let facts = board.facts();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "startedAt": board.began_at.to_string(),
        "now": Timestamp::now().to_string(),
        "uptimeSeconds": now.saturating_duration_since(board.began).as_secs(),
        "ready": ready,
        "latches": latches,
        "draining": board.is_draining(),
        "drained": board.is_drained(),
        "logLevel": log_level,
        "limits": {
            "batchItemsMax": facts.batch_items_max,
            "commandsMax": facts.commands_max,
            "operationsMax": facts.operations_max,
        },
        "accountsPaused": *board.paused().borrow(),
        "counters": counters(stats),
        "outcomes": outcomes(stats),
        "intake": intake(stats, facts.intake_enabled, now),
        "dispatch": dispatch(stats, now),
    })
}

fn counters(stats: &Stats) -> Value {
    json!({
        "orders": stats.orders.get(),
        "commands": stats.commands.get(),
        "refused": stats.refused.get(),
        "outcomes": stats.outcomes.get(),
        "deadLetters": stats.dead_letters.get(),
        "submits": stats.submits.get(),
        "polls": stats.polls.get(),
        "lookups": stats.lookups.get(),
        "failedCalls": stats.failed_calls.get(),
        "transactions": stats.transactions.get(),
        "abortedTransactions": stats.aborted.get(),
        "restarts": stats.restarts.get(),
    })
}

fn outcomes(stats: &Stats) -> Vec<Value> {
    let kinds = stats.metrics.outcomes_by_kind();
    let kinds = kinds.into_iter().filter(|(_, count)| *count > 0);
    kinds
        .map(|([action, status, code], count)| {
            json!({ "action": action, "status": status, "code": code, "count": count })
        })
        .collect()
}

fn age(since: Instant, now: Instant) -> f64 {
    let seconds = now.saturating_duration_since(since).as_secs_f64();
    (seconds * 10.0).round() / 10.0
}

fn intake(stats: &Stats, is_enabled: bool, now: Instant) -> Value {
    let view = stats.board.intake();
    json!({
        "enabled": is_enabled,
        "session": stats.board.doing(Half::Intake).as_str(),
        "ageSeconds": view.as_ref().map(|view| age(view.taken, now)),
        "view": view.as_deref(),
    })
}

fn dispatch(stats: &Stats, now: Instant) -> Value {
    let session = stats.board.doing(Half::Dispatch).as_str();
    let Some(view) = stats.board.dispatch() else {
        return json!({ "session": session });
    };
    json!({
        "session": session,
        "ageSeconds": age(view.taken, now),
        "report": view.report,
        "unreadLanes": view.unread,
        "unreached": view.standing.unreached,
        "outside": view.standing.outside,
        "lag": view.lag,
        "headsAgeSeconds": age(view.heads_taken, now),
        "heads": *view.heads,
    })
}
