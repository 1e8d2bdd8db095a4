//! Whether the worker is ready, and if not, why: one latch for each thing that has to be right.

use std::time::Instant;

use serde::Serialize;

use super::board::{Board, DispatchView, Doing, Stage};
use crate::shell::kafka::Standing;
use crate::shell::lock::locked;
use crate::shell::telemetry::metrics::Half;

/// One thing that has to be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Latch {
    /// `kafka`, `topics`, `group`, `lanes`, `account:<name>` or `draining`.
    pub(super) name: String,
    /// Whether it is.
    pub(super) ok: bool,
    /// For how long it has been so.
    pub(super) since_seconds: u64,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Board {
    /// All latches. Looked at every second too, so that it is known since when they are as they
    /// are.
    pub(super) fn latches(&self, now: Instant) -> Vec<Latch> {
        let view = self.dispatch();
        let view = view.as_deref();
        let mut reasons = vec![
            ("kafka".to_owned(), self.kafka()),
            ("topics".to_owned(), self.topics()),
            ("group".to_owned(), self.group()),
            ("lanes".to_owned(), lanes(view)),
        ];
        for name in self.facts().accounts {
            let accounts = view.map(|view| view.report.accounts.iter());
            let account = accounts.into_iter().flatten().find(|account| account.name == name);
            let refused = account.and_then(|account| account.refused_because.as_ref());
            let reason = match refused {
                Some(reason) => Some(format!("the API refuses the account: {reason}")),
                None => self.silent(&name, now),
            };
            reasons.push((format!("account:{name}"), reason));
        }
        let draining = if self.is_drained() {
            Some("drained; nothing is under way any more".to_owned())
        } else {
            self.is_draining().then(|| "the worker drains".to_owned())
        };
        reasons.push(("draining".to_owned(), draining));
        let mut since = locked(&self.since);
        let latch = |(name, reason): (String, Option<String>)| {
            let ok = reason.is_none();
            let entry = since.entry(name.clone()).or_insert((ok, now));
            if entry.0 != ok {
                *entry = (ok, now);
            }
            let since_seconds = now.saturating_duration_since(entry.1).as_secs();
            Latch { name, ok, since_seconds, reason }
        };
        reasons.into_iter().map(latch).collect()
    }

    fn kafka(&self) -> Option<String> {
        match self.stage() {
            Stage::Starting => return Some("Kafka is asked for its topics".to_owned()),
            Stage::Waiting(reason) => return Some(reason),
            Stage::Shared(_) => return None,
            Stage::Ready => {}
        }
        self.halves().iter().find_map(|half| {
            let name = half.as_str();
            match self.doing(*half) {
                Doing::Works(_) => {
                    let reason = self.standing(*half)?.unreached?;
                    Some(format!("{name} reaches no broker: {reason}"))
                }
                Doing::Nothing | Doing::Begins(None) => Some(format!("{name} begins its session")),
                Doing::Begins(Some(reason)) => {
                    Some(format!("{name} begins its session; the last one ended: {reason}"))
                }
                Doing::Closes => Some(format!("{name} closes its session")),
                Doing::Waits(reason) => Some(format!("{name} begins anew soon: {reason}")),
            }
        })
    }

    fn topics(&self) -> Option<String> {
        match self.stage() {
            Stage::Ready => None,
            Stage::Shared(reason) => Some(reason),
            Stage::Starting | Stage::Waiting(_) => Some("not checked yet".to_owned()),
        }
    }

    fn group(&self) -> Option<String> {
        self.halves().iter().find_map(|half| {
            let name = half.as_str();
            match self.standing(*half) {
                None => Some(format!("{name} has no session")),
                Some(standing) => {
                    let state = standing.outside?;
                    Some(format!("{name} is not in its group: {state}"))
                }
            }
        })
    }

    /// How the consumer of a half stands, while that has a session.
    fn standing(&self, half: Half) -> Option<Standing> {
        match half {
            Half::Intake => self.intake().map(|view| view.standing.clone()),
            Half::Dispatch => self.dispatch().map(|view| view.standing.clone()),
        }
    }
}

fn lanes(view: Option<&DispatchView>) -> Option<String> {
    let Some(view) = view else { return Some("dispatch has no session".to_owned()) };
    let of = |phase: &str| -> Vec<i32> {
        let lanes = view.report.lanes.iter().filter(|lane| lane.phase == phase);
        lanes.map(|lane| lane.partition).collect()
    };
    let (stopped, restoring) = (of("stopped"), of("recovering"));
    if let Some(first) = stopped.first() {
        let lane = view.report.lanes.iter().find(|lane| lane.partition == *first);
        let reason = lane.and_then(|lane| lane.reason.as_deref()).unwrap_or_default();
        let others = match &stopped[1..] {
            [] => String::new(),
            others => format!("; so are lanes {others:?}, see /state"),
        };
        return Some(format!("lane {first} is stopped: {reason}{others}"));
    }
    if !view.unread.is_empty() {
        return Some(format!("the ledger of these lanes cannot be read: {:?}", view.unread));
    }
    if !restoring.is_empty() {
        return Some(format!("these lanes are being restored: {restoring:?}"));
    }
    // A member of the group may well have none.
    (view.report.lanes.is_empty() && view.standing.outside.is_some())
        .then(|| "no lanes are assigned yet: dispatch is not in its group".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::engine::{AccountReport, LaneReport, Report};
    use crate::shell::admin::board::{Facts, IntakeView};

    fn wrong(board: &Board) -> Vec<(String, String)> {
        let latches = board.latches(Instant::now());
        latches.into_iter().filter_map(|latch| Some((latch.name, latch.reason?))).collect()
    }

    fn lane(partition: i32, phase: &'static str) -> LaneReport {
        let (reason, watermark, position, devices, pending) = (None, 0, 0, 0, 0);
        LaneReport { partition, phase, reason, watermark, position, devices, pending }
    }

    fn account(refused: Option<&str>) -> AccountReport {
        AccountReport {
            name: "main".into(),
            ready: [0; 3],
            batches: 0,
            lookups: 0,
            quota_tokens: 1.0,
            quota_wait_seconds: 0.0,
            paused: true,
            refused_because: refused.map(str::to_owned),
        }
    }

    fn view(lanes: Vec<LaneReport>, refused: Option<&str>) -> DispatchView {
        DispatchView {
            taken: Instant::now(),
            report: Report { lanes, accounts: vec![account(refused)], ..Report::default() },
            heads: Arc::default(),
            heads_taken: Instant::now(),
            unread: Vec::new(),
            standing: Standing::default(),
            lag: Vec::new(),
        }
    }

    #[test]
    fn a_start_without_kafka_names_it_and_a_worker_in_order_names_nothing() {
        let board = Board::default();
        let accounts = vec!["main".into()];
        board.set_facts(Facts { intake_enabled: true, accounts, ..Facts::default() });
        board.kafka_is_waited_for("no broker answers");
        let names: Vec<String> = wrong(&board).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["kafka", "topics", "group", "lanes"]);
        assert_eq!(wrong(&board)[0].1, "no broker answers");
        board.topics_are_ready();
        board.show_dispatch(view(vec![lane(0, "live")], None));
        assert_eq!(wrong(&board)[0].1, "intake begins its session");
        board.show_intake(IntakeView {
            taken: Instant::now(),
            partitions: 1,
            backlog: 0,
            in_transaction: 0,
            paused: false,
            standing: Standing::default(),
            lag: Vec::new(),
        });
        assert_eq!(wrong(&board), [], "an account paused by hand does not make it unready");
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_latch_and_its_reason() {
        let board = Board::default();
        let accounts = vec!["main".into()];
        board.set_facts(Facts { accounts, ..Facts::default() });
        board.topics_are_ready();
        let one = |view: DispatchView| {
            board.show_dispatch(view);
            wrong(&board)
        };
        let pair = |name: &str, reason: &str| vec![(name.to_owned(), reason.to_owned())];
        assert_eq!(
            one(view(vec![lane(3, "recovering")], None)),
            pair("lanes", "these lanes are being restored: [3]")
        );
        let because = |number| LaneReport { reason: Some("why".into()), ..lane(number, "stopped") };
        assert_eq!(
            one(view(vec![because(3), lane(4, "live")], None)),
            pair("lanes", "lane 3 is stopped: why")
        );
        assert_eq!(
            one(view(vec![because(3), because(5)], None)),
            pair("lanes", "lane 3 is stopped: why; so are lanes [5], see /state")
        );
        assert_eq!(
            one(view(Vec::new(), Some("HTTP 401"))),
            pair("account:main", "the API refuses the account: HTTP 401")
        );
        let standing =
            Standing { outside: Some("wait-coord, init".to_owned()), ..Standing::default() };
        let outside =
            one(DispatchView { standing: standing.clone(), ..view(vec![lane(3, "live")], None) });
        assert_eq!(outside, pair("group", "dispatch is not in its group: wait-coord, init"));
        let without_lanes = one(DispatchView { standing, ..view(Vec::new(), None) });
        let names: Vec<&str> = without_lanes.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["group", "lanes"], "a member that was not taken in yet has no lanes");
        let unreached = Some("SASL authentication error".to_owned());
        let standing = Standing { unreached, ..Standing::default() };
        assert_eq!(
            one(DispatchView { standing, ..view(Vec::new(), None) }),
            pair("kafka", "dispatch reaches no broker: SASL authentication error")
        );
        one(view(Vec::new(), None));
        board.set_draining();
        assert_eq!(wrong(&board), pair("draining", "the worker drains"));
        board.closes(Half::Dispatch);
        board.waits(Half::Dispatch, "fenced");
        assert_eq!(wrong(&board)[0].1, "dispatch begins anew soon: fenced");
        board.begins(Half::Dispatch);
        let begins = "dispatch begins its session; the last one ended: fenced";
        assert_eq!(wrong(&board)[0].1, begins);
    }

    #[test]
    fn a_latch_tells_since_when_it_is_as_it_is() {
        let board = Board::default();
        let now = Instant::now();
        let at = |seconds| board.latches(now + Duration::from_secs(seconds))[1].clone();
        assert_eq!((at(0).ok, at(7).since_seconds), (false, 7));
        board.topics_are_ready();
        assert_eq!((at(9).ok, at(9).since_seconds, at(12).since_seconds), (true, 0, 3));
    }
}
