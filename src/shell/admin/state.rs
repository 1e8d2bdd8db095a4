//! `/state`: how the worker stands, as JSON, for people and for the status page.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::board::DispatchView;
use crate::engine::HeadReport;
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
        "positions": board.positions(),
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
        "passedOver": stats.passed_over.get(),
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
        "troubles": view.standing.troubles,
        "lag": view.lag,
        "headsAgeSeconds": age(view.heads_taken, now),
        "heads": heads(&view, now),
    })
}

/// They are looked at less often than they are asked for; meanwhile they have been held on.
fn heads(view: &DispatchView, now: Instant) -> Vec<HeadReport> {
    let since = now.saturating_duration_since(view.heads_taken).as_secs();
    let mut heads = view.heads.to_vec();
    for head in &mut heads {
        head.held_seconds = head.held_seconds.saturating_add(since);
    }
    heads
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::engine::Report;

    #[test]
    fn a_head_is_as_old_as_it_is_when_somebody_asks() {
        let head = HeadReport {
            partition: 3,
            offset: 7,
            held_seconds: 298,
            stage: "ready",
            attempts: 0,
            command: None,
            batch: None,
        };
        let taken = Instant::now();
        let stats = Stats::default();
        stats.board.show_dispatch(DispatchView {
            taken,
            calls: 0,
            report: Report::default(),
            heads: Arc::new(vec![head]),
            heads_taken: taken,
            unread: Vec::new(),
            unread_because: None,
            standing: crate::shell::kafka::Standing::default(),
            lag: Vec::new(),
        });
        let held = |after: u64| {
            let state = of(&stats, None, taken + Duration::from_millis(after));
            state["dispatch"]["heads"][0]["heldSeconds"].as_u64()
        };
        assert_eq!((held(0), held(999), held(4_100)), (Some(298), Some(298), Some(302)));
    }
}
