//! Whether what there is to do is done. Whatever keeps a worker from its work should have words of
//! its own; this finds what has none: there is work, and nothing moves.
//!
//! Plain and told the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::board::{DispatchView, IntakeView};
use crate::engine::AccountReport;

/// How long nothing may move although there is work. Far longer than a transaction, a rebalance or
/// the wait between two polls of an operation.
const STILL_MAX: Duration = Duration::from_secs(60);
/// Reasons that are told at once.
const TOLD_MAX: usize = 3;

/// One place where work can wait.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    /// Which.
    place: String,
    /// Goes up with whatever is done there.
    done: u64,
    /// What is said of it when nothing is; the time comes before it.
    words: String,
}

#[derive(Debug)]
struct Still {
    done: u64,
    since: Instant,
}

/// Since when nothing has been done where work waits.
#[derive(Debug, Default)]
pub(super) struct Movement(BTreeMap<String, Still>);

impl Movement {
    /// Takes in how the halves stand; gives what has stood still for too long. To be asked every
    /// second or so.
    pub(super) fn look(
        &mut self,
        intake: Option<&IntakeView>,
        dispatch: Option<&DispatchView>,
        now: Instant,
    ) -> Option<String> {
        let moments = intake.map(of_intake).into_iter().chain(dispatch.map(of_dispatch));
        self.judge(moments.flatten().collect(), now)
    }

    fn judge(&mut self, moments: Vec<Moment>, now: Instant) -> Option<String> {
        // Where nothing waits any more, nothing stands still.
        self.0.retain(|place, _| moments.iter().any(|moment| moment.place == *place));
        let mut told = Vec::new();
        let mut others = 0;
        for Moment { place, done, words } in moments {
            let still = self.0.entry(place).or_insert(Still { done, since: now });
            if still.done != done {
                *still = Still { done, since: now };
            }
            let stood = now.saturating_duration_since(still.since);
            if stood < STILL_MAX {
                continue;
            }
            if told.len() < TOLD_MAX {
                told.push(format!("for {} s {words}", stood.as_secs()));
            } else {
                others += 1;
            }
        }
        if others > 0 {
            told.push(format!("and so in {others} other places"));
        }
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// Order events that wait, by partition. What cannot be read, and a member that is not in its
/// group, have latches of their own.
fn of_intake(view: &IntakeView) -> Vec<Moment> {
    let standing = &view.standing;
    if standing.unreached.is_some() || standing.outside.is_some() || !standing.troubles.is_empty() {
        return Vec::new();
    }
    let mut moments = Vec::new();
    for lag in view.lag.iter().filter(|lag| lag.is_open) {
        let at = format!("{} [{}]", lag.topic, lag.partition);
        moments.push(Moment {
            words: format!(
                "intake has taken in nothing of {at}, although {} order events wait there",
                lag.records
            ),
            place: format!("intake {at}"),
            done: lag.done.unsigned_abs(),
        });
    }
    let held = view.backlog + view.in_transaction;
    if held > 0 {
        moments.push(Moment {
            place: "intake".to_owned(),
            done: view.taken_in,
            words: format!("intake has committed nothing, although {held} order events are read"),
        });
    }
    moments
}

/// Commands that are not read, by lane, and those that are read and wait.
fn of_dispatch(view: &DispatchView) -> Vec<Moment> {
    let standing = &view.standing;
    let report = &view.report;
    let live = |partition: i32| {
        report.lanes.iter().find(|lane| lane.partition == partition && lane.phase == "live")
    };
    if standing.unreached.is_some() || standing.outside.is_some() || !standing.troubles.is_empty() {
        return Vec::new();
    }
    let mut moments = Vec::new();
    // A full memory pauses all lanes; then it is what is in it that has to move.
    for lag in view.lag.iter().filter(|lag| lag.is_unread && !report.paused) {
        let Some(lane) = live(lag.partition) else { continue };
        let at = format!("{} [{}]", lag.topic, lag.partition);
        moments.push(Moment {
            words: format!("dispatch has read nothing of {at}, although commands wait there"),
            place: format!("dispatch {at}"),
            done: lane.position.unsigned_abs(),
        });
    }
    let is_live = report.lanes.iter().all(|lane| lane.phase == "live");
    if report.commands > 0 && is_live && !report.accounts.iter().any(explains) {
        let decided: u64 = report.lanes.iter().map(|lane| lane.watermark.unsigned_abs()).sum();
        moments.push(Moment {
            place: "dispatch".to_owned(),
            done: decided.wrapping_add(view.calls),
            words: format!(
                "dispatch has made no call and decided nothing, although {} commands wait in it",
                report.commands
            ),
        });
    }
    moments
}

/// What holds an account's commands back, and says so elsewhere.
fn explains(account: &AccountReport) -> bool {
    account.paused
        || account.refused_because.is_some()
        || account.waiting_until.is_some()
        || account.quota_tokens < 1.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::{LaneReport, Report};
    use crate::shell::admin::Lag;
    use crate::shell::kafka::{Standing, Trouble};

    fn lag(topic: &str, records: i64, done: i64) -> Lag {
        let (is_open, is_unread) = (records > 0, records > 0);
        Lag { topic: topic.into(), partition: 3, records, done, is_open, is_unread }
    }

    fn intake(backlog: usize, taken_in: u64, lag: Lag) -> IntakeView {
        IntakeView {
            taken: Instant::now(),
            partitions: 1,
            backlog,
            taken_in,
            in_transaction: 0,
            paused: false,
            standing: Standing::default(),
            lag: vec![lag],
            undecided: Vec::new(),
        }
    }

    fn account() -> AccountReport {
        AccountReport {
            name: "main".into(),
            ready: [0; 3],
            batches: 0,
            suspects: 0,
            lookups: 0,
            quota_tokens: 9.0,
            quota_wait_seconds: 0.0,
            paused: false,
            refused_because: None,
            waiting_since: None,
            waiting_until: None,
        }
    }

    fn dispatch(
        commands: usize,
        calls: u64,
        account: AccountReport,
        lag: Vec<Lag>,
    ) -> DispatchView {
        let lane = LaneReport {
            partition: 3,
            phase: "live",
            reason: None,
            watermark: 7,
            position: 9,
            devices: 0,
            pending: commands,
        };
        let (lanes, accounts) = (vec![lane], vec![account]);
        DispatchView {
            taken: Instant::now(),
            calls,
            report: Report { commands, lanes, accounts, ..Report::default() },
            heads: Arc::default(),
            heads_taken: Instant::now(),
            unread: Vec::new(),
            unread_because: None,
            standing: Standing::default(),
            lag,
        }
    }

    #[test]
    fn order_events_that_wait_while_nothing_is_taken_in_are_told_after_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut movement = Movement::default();
        let mut look = |view: &IntakeView, seconds| movement.look(Some(view), None, at(seconds));
        let stuck = intake(0, 100, lag("shop.orders", 40, 100));
        assert_eq!(look(&stuck, 0), None);
        assert_eq!(look(&stuck, 59), None);
        let told = look(&stuck, 60).unwrap();
        let words = "for 60 s intake has taken in nothing of shop.orders [3], although 40 order \
                     events wait there";
        assert_eq!(told, words);
        assert_eq!(look(&intake(0, 101, lag("shop.orders", 39, 101)), 61), None, "it moved");
        assert_eq!(look(&stuck, 62), None);
        assert_eq!(look(&intake(0, 140, lag("shop.orders", 0, 140)), 100), None);
        assert_eq!(look(&intake(0, 140, lag("shop.orders", 1, 140)), 160), None, "a new one");
    }

    #[test]
    fn what_is_read_and_never_committed_is_told_although_no_partition_is_behind() {
        let start = Instant::now();
        let mut movement = Movement::default();
        let view = intake(5, 7, lag("shop.orders", 0, 100));
        assert_eq!(movement.look(Some(&view), None, start), None);
        let told = movement.look(Some(&view), None, start + STILL_MAX).unwrap();
        assert!(told.contains("committed nothing, although 5 order events"), "{told}");
    }

    #[test]
    fn what_has_words_of_its_own_is_not_told_twice() {
        let start = Instant::now();
        let later = start + STILL_MAX * 10;
        let mut refused = account();
        refused.refused_because = Some("HTTP 401".into());
        let mut without_quota = account();
        without_quota.quota_tokens = 0.3;
        let paused = AccountReport { paused: true, ..account() };
        for account in [refused, without_quota, paused] {
            let mut movement = Movement::default();
            let view = dispatch(12, 1, account, Vec::new());
            assert_eq!(movement.look(None, Some(&view), start), None);
            assert_eq!(movement.look(None, Some(&view), later), None);
        }
        let mut movement = Movement::default();
        let mut view = intake(0, 1, lag("shop.orders", 40, 100));
        view.standing.troubles.push(Trouble::Gone { topic: "shop.orders".into() });
        assert_eq!(movement.look(Some(&view), None, start), None);
        assert_eq!(movement.look(Some(&view), None, later), None);
    }

    #[test]
    fn commands_that_wait_while_no_call_is_made_are_told_and_polls_are_movement() {
        let start = Instant::now();
        let mut movement = Movement::default();
        let view = |calls| dispatch(12, calls, account(), vec![lag("zerotouch.commands", 3, 7)]);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(movement.look(None, Some(&view(1)), at(0)), None);
        let told = movement.look(None, Some(&view(2)), at(60)).unwrap();
        assert!(told.contains("has read nothing of zerotouch.commands [3]"), "{told}");
        assert!(!told.contains("no call"), "a call was made: {told}");
        let told = movement.look(None, Some(&view(2)), at(120)).unwrap();
        assert!(told.contains("made no call and decided nothing, although 12"), "{told}");
        assert_eq!(movement.look(None, None, at(121)), None, "there is no session");
        assert_eq!(movement.look(None, Some(&view(2)), at(122)), None);
    }
}
