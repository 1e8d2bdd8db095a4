//! Whether the API answers each account. What it refuses is an answer, and the engine's to tell; a
//! token that was refused is none: the API was not asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::CallFailure;

/// Calls in a row without a usable answer, and the time since the first of them, that are more than
/// a moment's trouble.
const CALLS_MIN: u32 = 3;
const TIME_MIN: Duration = Duration::from_secs(10);
/// For its first seconds a pod may have no identity yet: that is told, and is nobody's alarm.
const REFUSED_MIN: Duration = Duration::from_secs(60);

/// Why an account gets no answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nobody answers, or with nothing that can be used.
    Silence,
    /// No token is given to it, which is for a person to put right.
    Refusal,
}

/// How the API has answered an account lately.
#[derive(Debug, Default)]
struct Account {
    /// Since when calls got no answer, how many, and why the last one did not.
    failing: Option<(Instant, u32, String)>,
    /// Why it could not be reached at the start, if it was not since, and since when it is so.
    unreached: Option<(Trouble, String, Instant)>,
    /// Whether it has answered at all.
    is_proven: bool,
    /// What the log says of it.
    told: Option<Trouble>,
    /// Why the newest call got no answer, if it got none.
    newest: Option<String>,
}

impl Account {
    fn trouble(&self, now: Instant) -> Option<(Trouble, &str)> {
        let failing = self.failing.as_ref().filter(|(since, calls, _)| {
            *calls >= CALLS_MIN && now.saturating_duration_since(*since) >= TIME_MIN
        });
        let failing = failing.map(|(_, _, reason)| (Trouble::Silence, reason.as_str()));
        let unreached = self.unreached.as_ref();
        failing.or(unreached.map(|(trouble, reason, _)| (*trouble, reason.as_str())))
    }
}

/// How the API has answered each account.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<String, Account>);

impl Answers {
    /// A call has ended; without being made, if there was `no_token` for it.
    pub(super) fn call(
        &mut self,
        account: &str,
        failure: Option<&CallFailure>,
        no_token: bool,
        now: Instant,
    ) {
        let state = self.0.entry(account.to_owned()).or_default();
        match failure {
            Some(CallFailure::Unauthorised { .. }) if no_token => state.newest = None,
            Some(failure @ (CallFailure::NotSent { .. } | CallFailure::Ambiguous { .. })) => {
                let (_, calls, last) = state.failing.get_or_insert((now, 0, String::new()));
                *calls = calls.saturating_add(1);
                *last = failure.to_string();
                state.newest = Some(last.clone());
            }
            Some(
                CallFailure::Rejected { .. }
                | CallFailure::Throttled { .. }
                | CallFailure::Forbidden { .. }
                | CallFailure::Unauthorised { .. }
                | CallFailure::NotFound,
            )
            | None => {
                *state = Account { is_proven: true, told: state.told, ..Account::default() };
            }
        }
        self.tell(account, now);
    }

    /// It could not be reached at the start, or could.
    pub(super) fn reached(&mut self, account: &str, failure: Option<&CallFailure>, now: Instant) {
        let state = self.0.entry(account.to_owned()).or_default();
        state.unreached = failure.filter(|_| !state.is_proven).map(|failure| {
            let is_refusal = matches!(failure, CallFailure::Unauthorised { .. });
            let trouble = if is_refusal { Trouble::Refusal } else { Trouble::Silence };
            let before = state.unreached.take().filter(|(before, ..)| *before == trouble);
            (trouble, failure.to_string(), before.map_or(now, |(.., since)| since))
        });
        state.is_proven |= failure.is_none();
        self.tell(account, now);
    }

    /// Whether it has answered at all.
    pub(super) fn is_proven(&self, account: &str) -> bool {
        self.0.get(account).is_some_and(|state| state.is_proven)
    }

    /// Whether it was refused at the start, for longer than a moment, and not let in since.
    pub(super) fn is_refused(&self, account: &str, now: Instant) -> bool {
        let unreached = self.0.get(account).and_then(|state| state.unreached.as_ref());
        unreached.is_some_and(|(trouble, _, since)| {
            *trouble == Trouble::Refusal && now.saturating_duration_since(*since) >= REFUSED_MIN
        })
    }

    /// Why the newest call got no answer; none if it got one, be it a refusal.
    pub(super) fn newest(&self, account: &str) -> Option<String> {
        self.0.get(account)?.newest.clone()
    }

    /// Why it does not answer; none while it does, or is not asked. To be asked now and then: that
    /// is when the log hears of it.
    pub(super) fn silent(&mut self, account: &str, now: Instant) -> Option<String> {
        self.tell(account, now);
        Some(self.0.get(account)?.trouble(now)?.1.to_owned())
    }

    /// Once when it falls silent or is refused, and once when it answers again.
    fn tell(&mut self, account: &str, now: Instant) {
        let Some(state) = self.0.get_mut(account) else { return };
        let trouble = state.trouble(now);
        match (trouble, state.told) {
            (Some((trouble, _)), Some(told)) if trouble == told => return,
            (Some((Trouble::Silence, reason)), _) => tracing::warn!(
                account,
                reason,
                "the API does not answer this account; its calls are repeated until it does, \
                 nothing is lost"
            ),
            (Some((Trouble::Refusal, reason)), _) => tracing::warn!(
                account,
                reason,
                "this account gets no access token; it is asked for again until there is one, \
                 nothing is lost: do what the reason says"
            ),
            (None, Some(_)) if state.failing.is_none() => {
                tracing::info!(account, "the API answers this account");
            }
            (None, _) => return,
        }
        state.told = trouble.map(|(trouble, _)| trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> CallFailure {
        CallFailure::Ambiguous { reason: "no reply".into() }
    }

    #[test]
    fn an_account_is_silent_after_several_calls_and_a_while_and_any_answer_ends_that() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut answers = Answers::default();
        assert_eq!(answers.silent("main", at(0)), None, "not asked");
        for second in [0, 1, 2, 3] {
            answers.call("main", Some(&lost()), false, at(second));
        }
        assert_eq!(answers.silent("main", at(9)), None, "a moment's trouble");
        let silent = answers.silent("main", at(10));
        assert_eq!(silent.as_deref(), Some("no usable answer came: no reply"));
        assert_eq!(answers.silent("other", at(10)), None);
        for answer in [None, Some(&CallFailure::NotFound)] {
            answers.call("main", answer, false, at(11));
            assert_eq!(answers.silent("main", at(60)), None);
            answers.call("main", Some(&lost()), false, at(61));
            assert_eq!(answers.silent("main", at(99)), None, "one call is no outage");
        }
    }

    #[test]
    fn what_is_not_reached_at_the_start_is_so_until_it_is_or_a_call_is_answered() {
        let now = Instant::now();
        let mut answers = Answers::default();
        answers.reached("main", Some(&lost()), now);
        assert!(answers.silent("main", now).is_some() && !answers.is_proven("main"));
        answers.reached("main", None, now);
        assert!(answers.silent("main", now).is_none() && answers.is_proven("main"));

        answers.reached("other", Some(&lost()), now);
        let refused = CallFailure::Unauthorised { reason: "401".into() };
        answers.call("other", Some(&refused), false, now);
        assert_eq!(answers.silent("other", now), None, "the engine tells of that");
        answers.reached("other", Some(&lost()), now);
        assert_eq!(answers.silent("other", now), None, "it is proven by then");
    }

    #[test]
    fn a_refused_token_is_no_answer_of_the_api_and_the_newest_trouble_is_known() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let refused = CallFailure::Unauthorised { reason: "no token".into() };
        let mut answers = Answers::default();
        answers.reached("main", Some(&lost()), at(0));
        answers.call("main", Some(&refused), true, at(1));
        assert!(!answers.is_proven("main"));
        assert!(answers.silent("main", at(1)).is_some(), "it was not reached since");
        assert_eq!(answers.newest("main"), None, "that is the engine's to tell");
        answers.reached("main", Some(&refused), at(1));
        answers.reached("main", Some(&refused), at(31));
        assert!(!answers.is_refused("main", at(60)), "perhaps it passes");
        assert!(answers.is_refused("main", at(61)) && !answers.is_refused("other", at(61)));
        let silent = answers.silent("main", at(1)).unwrap();
        assert!(silent.contains("no token"), "the newest: {silent}");
        answers.call("main", Some(&lost()), false, at(2));
        assert_eq!(answers.newest("main").as_deref(), Some("no usable answer came: no reply"));
        answers.call("main", Some(&refused), false, at(3));
        assert!(answers.is_proven("main") && answers.newest("main").is_none());
        assert!(!answers.is_refused("main", at(99)), "the engine tells of that");
    }
}
