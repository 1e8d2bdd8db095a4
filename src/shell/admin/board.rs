//! Where the halves of the worker put up how they stand, and where others read it without asking
//! them: a half that is busy or stuck cannot keep the admin thread from answering.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use super::answers::Answers;
use super::movement::Movement;
use super::writes::Writes;
use crate::engine::{HeadReport, Report};
use crate::model::CallFailure;
use crate::shell::kafka::Standing;
use crate::shell::lock::locked;
use crate::shell::positions::Notice;
use crate::shell::telemetry::metrics::Half;

/// A half or a runtime that has not been heard of for this long hangs. All waits within them are
/// far shorter.
const HUNG: Duration = Duration::from_secs(120);

/// Notices about positions that are kept; older ones are in the log.
const NOTICES: usize = 100;

/// What does not change while the process runs.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Whether this worker reads order events.
    pub intake_enabled: bool,
    /// The accounts.
    pub accounts: Vec<Arc<str>>,
    /// Devices in a batch at most.
    pub batch_items_max: usize,
    /// Commands in memory at most.
    pub commands_max: usize,
    /// Batches under way at most, for each account.
    pub operations_max: usize,
}

/// How far the start is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Nothing is known yet.
    Starting,
    /// Kafka does not answer, for this reason.
    Waiting(String),
    /// Kafka answers, and the topics are not as they must be, for this reason.
    Wrong(String),
    /// The topics are as they must be.
    Ready,
}

/// Where a half stands.
#[derive(Clone, Debug)]
pub(super) enum Doing {
    /// Not begun.
    Nothing,
    /// Fences the session before, which ended for this reason, and joins the group.
    Begins(Option<String>),
    /// In its session; was last heard of then.
    Works(Instant),
    /// Closes its clients.
    Closes,
    /// Its session broke for this reason; it waits before it begins anew.
    Waits(String),
}

impl Doing {
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Begins(_) => "begins",
            Self::Works(_) => "works",
            Self::Closes => "closes",
            Self::Waits(_) => "waits",
        }
    }
}

/// How far a partition is from its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::shell) struct Lag {
    /// The topic.
    pub(in crate::shell) topic: Arc<str>,
    /// The partition.
    pub(in crate::shell) partition: i32,
    /// Records not worked off.
    pub(in crate::shell) records: i64,
    /// How far it is worked off.
    #[serde(skip)]
    pub(in crate::shell) done: i64,
    /// Whether anything of it, and not only the mark of a transaction, is to be worked off.
    #[serde(skip)]
    pub(in crate::shell) is_open: bool,
    /// Whether anything of it is to be read.
    #[serde(skip)]
    pub(in crate::shell) is_unread: bool,
}

/// Dispatch, as it was a moment ago.
#[derive(Clone, Debug)]
pub(in crate::shell) struct DispatchView {
    /// When it was taken.
    pub(in crate::shell) taken: Instant,
    /// The engine.
    pub(in crate::shell) report: Report,
    /// What holds back its lanes.
    pub(in crate::shell) heads: Arc<Vec<HeadReport>>,
    /// When that was looked at.
    pub(in crate::shell) heads_taken: Instant,
    /// Lanes whose ledger could not be read so far.
    pub(in crate::shell) unread: Vec<i32>,
    /// Why the last one could not.
    pub(in crate::shell) unread_because: Option<String>,
    /// How its consumer stands with brokers and group.
    pub(in crate::shell) standing: Standing,
    /// Calls made by this process so far.
    pub(in crate::shell) calls: u64,
    /// Commands without outcome.
    pub(in crate::shell) lag: Vec<Lag>,
}

/// Intake, as it was a moment ago.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::shell) struct IntakeView {
    /// When it was taken.
    #[serde(skip)]
    pub(in crate::shell) taken: Instant,
    /// Partitions of order topics.
    pub(in crate::shell) partitions: usize,
    /// Order events read and in no transaction yet.
    pub(in crate::shell) backlog: usize,
    /// Order events taken in by this process so far.
    #[serde(skip)]
    pub(in crate::shell) taken_in: u64,
    /// Order events in the running transaction.
    pub(in crate::shell) in_transaction: usize,
    /// Whether reading is paused because of the backlog.
    pub(in crate::shell) paused: bool,
    /// How its consumer stands with brokers and group.
    #[serde(flatten)]
    pub(in crate::shell) standing: Standing,
    /// Order events not taken in.
    pub(in crate::shell) lag: Vec<Lag>,
    /// What to decide before partitions are read that are not; see the positions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::shell) undecided: Vec<String>,
}

/// The board. Every lock on it is held for a moment only.
#[derive(Debug)]
pub struct Board {
    pub(super) began: Instant,
    pub(super) began_at: Timestamp,
    facts: OnceLock<Facts>,
    stage: Mutex<Stage>,
    doing: [Mutex<Doing>; 2],
    dispatch: Mutex<Option<Arc<DispatchView>>>,
    intake: Mutex<Option<Arc<IntakeView>>>,
    paused: watch::Sender<BTreeSet<Arc<str>>>,
    drained: AtomicBool,
    draining: AtomicBool,
    beat: Mutex<Instant>,
    answers: Mutex<Answers>,
    writes: [Mutex<Writes>; 2],
    /// Whether what there is to do is done.
    pub(super) movement: Mutex<Movement>,
    positions: Mutex<VecDeque<Notice>>,
    /// Since when each latch of readiness is as it is.
    pub(super) since: Mutex<BTreeMap<String, (bool, Instant)>>,
}

impl Default for Board {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            began_at: Timestamp::now(),
            facts: OnceLock::new(),
            stage: Mutex::new(Stage::Starting),
            doing: [Mutex::new(Doing::Nothing), Mutex::new(Doing::Nothing)],
            dispatch: Mutex::default(),
            intake: Mutex::default(),
            paused: watch::Sender::default(),
            drained: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            beat: Mutex::new(now),
            answers: Mutex::default(),
            writes: Default::default(),
            movement: Mutex::default(),
            positions: Mutex::default(),
            since: Mutex::default(),
        }
    }
}

impl Board {
    /// Once, at the start.
    pub(in crate::shell) fn set_facts(&self, facts: Facts) {
        let _ = self.facts.set(facts);
    }

    pub(super) fn facts(&self) -> Facts {
        self.facts.get().cloned().unwrap_or_default()
    }

    /// The runtime of the worker is alive.
    pub(in crate::shell) fn beat(&self) {
        *locked(&self.beat) = Instant::now();
    }

    /// Kafka does not answer.
    pub(in crate::shell) fn kafka_is_waited_for(&self, reason: &str) {
        *locked(&self.stage) = Stage::Waiting(reason.to_owned());
    }

    /// The topics are not as they must be, or another installation's.
    pub(in crate::shell) fn topics_are_waited_for(&self, reason: &str) {
        *locked(&self.stage) = Stage::Wrong(reason.to_owned());
    }

    /// The topics have been checked.
    pub fn topics_are_ready(&self) {
        *locked(&self.stage) = Stage::Ready;
    }

    pub(super) fn stage(&self) -> Stage {
        locked(&self.stage).clone()
    }

    /// A half begins a session.
    pub(in crate::shell) fn begins(&self, half: Half) {
        let before = match self.doing(half) {
            Doing::Waits(reason) => Some(reason),
            _ => None,
        };
        self.set(half, Doing::Begins(before));
        *locked(&self.writes[half as usize]) = Writes::default();
    }

    /// A half's session has ended and is being closed; nothing it showed is true any more.
    pub(in crate::shell) fn closes(&self, half: Half) {
        self.set(half, Doing::Closes);
        match half {
            Half::Intake => *locked(&self.intake) = None,
            Half::Dispatch => *locked(&self.dispatch) = None,
        }
    }

    /// A half waits before it begins anew.
    pub(in crate::shell) fn waits(&self, half: Half, reason: &str) {
        self.set(half, Doing::Waits(reason.to_owned()));
    }

    /// Dispatch works, and stands like this.
    pub(in crate::shell) fn show_dispatch(&self, view: DispatchView) {
        self.set(Half::Dispatch, Doing::Works(view.taken));
        *locked(&self.dispatch) = Some(Arc::new(view));
    }

    /// Intake works, and stands like this.
    pub(in crate::shell) fn show_intake(&self, view: IntakeView) {
        self.set(Half::Intake, Doing::Works(view.taken));
        *locked(&self.intake) = Some(Arc::new(view));
    }

    fn set(&self, half: Half, doing: Doing) {
        *locked(&self.doing[half as usize]) = doing;
    }

    pub(super) fn doing(&self, half: Half) -> Doing {
        locked(&self.doing[half as usize]).clone()
    }

    /// The halves that this worker has.
    pub(super) fn halves(&self) -> &'static [Half] {
        let has_intake = self.facts.get().is_none_or(|facts| facts.intake_enabled);
        if has_intake { &[Half::Intake, Half::Dispatch] } else { &[Half::Dispatch] }
    }

    /// What dispatch showed last, while it works.
    pub(in crate::shell) fn dispatch(&self) -> Option<Arc<DispatchView>> {
        locked(&self.dispatch).clone()
    }

    /// What intake showed last, while it works.
    pub(in crate::shell) fn intake(&self) -> Option<Arc<IntakeView>> {
        locked(&self.intake).clone()
    }

    /// The accounts that are held back by hand, and changes of that.
    pub(in crate::shell) fn paused(&self) -> watch::Receiver<BTreeSet<Arc<str>>> {
        self.paused.subscribe()
    }

    /// Holds an account back, or lets it go on; `false` if there is no such account.
    pub(super) fn pause(&self, account: &str, paused: bool) -> bool {
        let facts = self.facts();
        let Some(name) = facts.accounts.into_iter().find(|name| **name == *account) else {
            return false;
        };
        self.paused.send_if_modified(|accounts| {
            if paused { accounts.insert(name) } else { accounts.remove(&name) }
        });
        true
    }

    /// A call of the API has ended; without being made, if there was `no_token` for it.
    pub(in crate::shell) fn api_called(
        &self,
        account: &str,
        failure: Option<&CallFailure>,
        no_token: bool,
    ) {
        locked(&self.answers).call(account, failure, no_token, Instant::now());
    }

    /// The API was reached at the start, or was not.
    pub(in crate::shell) fn api_reached(&self, account: &str, failure: Option<&CallFailure>) {
        locked(&self.answers).reached(account, failure, Instant::now());
    }

    /// Whether the API has answered this account at all.
    pub(in crate::shell) fn is_proven(&self, account: &str) -> bool {
        locked(&self.answers).is_proven(account)
    }

    /// Whether the account was refused at the start and not let in since.
    pub(in crate::shell) fn is_refused(&self, account: &str) -> bool {
        locked(&self.answers).is_refused(account, Instant::now())
    }

    /// Why the newest call of this account got no answer; none if it got one.
    pub(super) fn newest_trouble(&self, account: &str) -> Option<String> {
        locked(&self.answers).newest(account)
    }

    /// Why the API does not answer this account; none while it does, or is not asked.
    pub(super) fn silent(&self, account: &str, now: Instant) -> Option<String> {
        locked(&self.answers).silent(account, now)
    }

    /// A transaction of a half has been aborted. Gives how many were in a row.
    pub(in crate::shell) fn transaction_failed(&self, half: Half, reason: &str) -> u32 {
        locked(&self.writes[half as usize]).failed(reason, Instant::now())
    }

    /// A transaction of a half has committed.
    pub(in crate::shell) fn transaction_ok(&self, half: Half) {
        locked(&self.writes[half as usize]).ok();
    }

    /// For how long the present transaction of a half has been under way.
    pub(in crate::shell) fn transaction_under_way(&self, half: Half, busy: Option<Duration>) {
        locked(&self.writes[half as usize]).under_way(busy);
    }

    /// Why the transactions of a half keep failing, if they do.
    pub(super) fn failing(&self, half: Half, now: Instant) -> Option<String> {
        locked(&self.writes[half as usize]).wrong(now)
    }

    /// Records were lost, or a topic was made anew.
    pub(in crate::shell) fn note_position(&self, notice: Notice) {
        let mut notices = locked(&self.positions);
        if notices.len() >= NOTICES {
            notices.pop_front();
        }
        notices.push_back(notice);
    }

    /// What was noted of positions since the process began.
    pub(in crate::shell) fn positions(&self) -> Vec<Notice> {
        locked(&self.positions).iter().cloned().collect()
    }

    /// The worker drains.
    pub(in crate::shell) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The worker has drained.
    pub(in crate::shell) fn set_drained(&self) {
        self.drained.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// What hangs, if anything does. Says nothing of Kafka or the API: they may be away for hours.
    pub(super) fn hung(&self, now: Instant) -> Vec<String> {
        let silent = |since: Instant| now.saturating_duration_since(since);
        let mut hung = Vec::new();
        let runtime = silent(*locked(&self.beat));
        if runtime > HUNG {
            hung.push(format!("the runtime of the worker has not moved for {runtime:?}"));
        }
        for half in self.halves() {
            if let Doing::Works(last) = self.doing(*half)
                && silent(last) > HUNG
            {
                let half = half.as_str();
                hung.push(format!("{half} has not moved for {:?}", silent(last)));
            }
        }
        hung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_moved_for_long_hangs_and_what_waits_for_kafka_does_not() {
        let board = Board::default();
        board.set_facts(Facts { intake_enabled: true, ..Facts::default() });
        let later = Instant::now() + HUNG + Duration::from_secs(1);
        assert_eq!(board.hung(Instant::now()), Vec::<String>::new());
        assert_eq!(board.hung(later).len(), 1, "the runtime");
        board.waits(Half::Dispatch, "no broker");
        board.begins(Half::Intake);
        assert_eq!(board.hung(later).len(), 1);
        board.set(Half::Intake, Doing::Works(Instant::now()));
        assert!(board.hung(later)[1].starts_with("intake has not moved"));
    }

    #[test]
    fn only_accounts_that_exist_can_be_paused_and_whoever_watches_is_told_of_changes_alone() {
        let board = Board::default();
        board.set_facts(Facts { accounts: vec!["main".into()], ..Facts::default() });
        let mut watch = board.paused();
        assert!(!board.pause("other", true) && board.pause("main", true));
        assert!(watch.has_changed().unwrap());
        assert!(watch.borrow_and_update().contains("main"));
        assert!(board.pause("main", true) && !watch.has_changed().unwrap());
        assert!(board.pause("main", false) && watch.borrow_and_update().is_empty());
    }
}
