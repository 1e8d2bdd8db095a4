//! Whether the group has taken this member in, as librdkafka's statistics tell it.
//!
//! A member without partitions may be in order: others own them all. One that has not been taken
//! in for long is not: librdkafka has been seen to stay outside after all brokers were down. There
//! is no other way to ask it than its statistics.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::{GroupProtocol, KafkaOptions};

#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow)]
    cgrp: Option<Group<'a>>,
}

#[derive(Deserialize)]
struct Group<'a> {
    state: &'a str,
    join_state: &'a str,
}

/// Since when a member has been outside of its group.
#[derive(Debug)]
pub(super) struct Membership {
    protocol: GroupProtocol,
    outside: Option<(Instant, String)>,
}

impl Membership {
    pub(super) fn new(protocol: GroupProtocol, now: Instant) -> Self {
        Self { protocol, outside: Some((now, "nothing is known yet".into())) }
    }

    /// Takes in what librdkafka tells. What cannot be read says nothing.
    pub(super) fn note(&mut self, statistics: &[u8], now: Instant) {
        let Ok(Statistics { cgrp: Some(group) }) = serde_json::from_slice(statistics) else {
            return;
        };
        let is_in = match self.protocol {
            GroupProtocol::Classic => group.state == "up" && group.join_state == "steady",
            // There a member that owns nothing stays in the first state of joining.
            GroupProtocol::Consumer => group.state == "up",
        };
        if is_in {
            self.outside = None;
            return;
        }
        let state = format!("{}, {}", group.state, group.join_state);
        match &mut self.outside {
            Some((_, known)) => *known = state,
            None => self.outside = Some((now, state)),
        }
    }

    /// In which state the client is while the group does not count it in.
    pub(super) fn outside(&self) -> Option<&str> {
        self.outside.as_ref().map(|(_, state)| state.as_str())
    }

    /// The group has handed out partitions: it counts this member in, whatever was told before.
    pub(super) fn taken_in(&mut self) {
        self.outside = None;
    }

    /// Why the member has to be made anew, if it has been outside for longer than `limit`.
    pub(super) fn complaint(&self, now: Instant, limit: Duration) -> Option<String> {
        let (since, state) = self.outside.as_ref()?;
        let outside = now.duration_since(*since);
        (outside > limit).then(|| {
            format!(
                "the group has not taken this consumer in for {outside:?} (state of the client: \
                 {state}): make a new consumer; if that repeats, look whether the brokers are \
                 reachable and what `kafka-consumer-groups.sh --describe --state` says"
            )
        })
    }
}

/// A rebalance may wait for every member for as long as that one may take between two polls, and
/// begin only when the sessions of dead ones have ended.
pub(super) fn limit(options: &KafkaOptions) -> Duration {
    options.max_poll_interval + options.session_timeout * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: &str, join: &str) -> Vec<u8> {
        format!(r#"{{"name":"x","cgrp":{{"state":"{state}","join_state":"{join}"}},"txmsgs":0}}"#)
            .into_bytes()
    }

    #[test]
    fn a_member_that_is_not_taken_in_is_complained_of_and_one_without_partitions_is_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let limit = Duration::from_secs(90);
        let mut classic = Membership::new(GroupProtocol::Classic, start);
        assert_eq!(classic.complaint(at(90), limit), None);
        assert!(classic.complaint(at(91), limit).is_some(), "nothing was ever told");
        classic.note(&told("up", "steady"), at(10));
        assert_eq!(classic.complaint(at(1_000), limit), None);
        classic.note(&told("up", "wait-join"), at(1_000));
        classic.note(&told("wait-coord", "init"), at(1_050));
        classic.note(b"garbage", at(1_060));
        assert_eq!(classic.complaint(at(1_090), limit), None);
        let text = classic.complaint(at(1_091), limit).unwrap();
        assert!(text.contains("wait-coord, init"), "{text}");
        classic.note(&told("up", "steady"), at(1_100));
        assert_eq!(classic.complaint(at(9_000), limit), None);

        let mut consumer = Membership::new(GroupProtocol::Consumer, start);
        consumer.note(&told("up", "init"), at(10));
        assert_eq!(consumer.complaint(at(1_000), limit), None);
        consumer.note(&told("query-coord", "init"), at(1_000));
        assert!(consumer.complaint(at(1_100), limit).is_some());
    }
}
