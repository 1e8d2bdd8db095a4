//! Which record could not be used, and which line of an order was refused: for whoever reads the
//! log, who must find the record, and must not be flooded by a producer that sends nothing else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::model::{Command, DeadLetterReason, Failure, FailureCode};
use crate::shell::Topics;
use crate::shell::limit::Limit;
use crate::shell::lock::locked;
use crate::shell::telemetry::metrics::Half;
use crate::wire::shorten;

/// Lines of a kind in a window at most; those beyond become one line that counts them.
const LINES_MAX: u32 = 10;
/// Kinds are few, so that this bounds what is logged.
const WINDOW: Duration = Duration::from_secs(60);
/// Of an id that a producer gave, and of a reason, in bytes.
const TEXT_MAX: usize = 200;

/// What there is so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    DeadLetter(DeadLetterReason),
    Refused(FailureCode),
    Shortened(&'static str),
}

/// Where a record was read: topic, partition, offset.
pub(in crate::shell) type Place<'a> = (&'a str, i32, i64);

/// Tells of both, for the halves of one worker. Only of what is committed.
#[derive(Debug)]
pub(in crate::shell) struct Unusable(Mutex<Limit<Kind>>);

/// A refused line of an order event.
#[derive(Debug)]
struct Line {
    event_id: String,
    order_id: String,
    line: String,
    account: String,
    action: &'static str,
    /// Masked.
    device: Option<String>,
    why: String,
}

/// The refused lines of one order event, until it is committed: no more of them than can be told.
#[derive(Debug, Default)]
pub(in crate::shell) struct RefusedLines(BTreeMap<FailureCode, (Vec<Line>, u64)>);

impl RefusedLines {
    /// One more.
    pub(in crate::shell) fn add(&mut self, command: &Command, failure: &Failure) {
        let (lines, more) = self.0.entry(failure.code).or_default();
        if lines.len() == LINES_MAX as usize {
            *more += 1;
            return;
        }
        let short = |text: &str| shorten(text, TEXT_MAX).into_owned();
        lines.push(Line {
            event_id: short(&command.event_id),
            order_id: short(&command.order_id),
            line: short(&command.line),
            account: short(&command.account),
            action: command.action.as_str(),
            device: command.device_key().map(|key| key.to_string()),
            why: short(&failure.message),
        });
    }
}

impl Default for Unusable {
    fn default() -> Self {
        Self(Mutex::new(Limit::new(LINES_MAX, WINDOW)))
    }
}

impl Unusable {
    /// A record has become a dead letter, for this reason.
    pub(in crate::shell) fn dead_letter(
        &self,
        (topic, partition, offset): Place<'_>,
        (class, why): (DeadLetterReason, &str),
        topics: &Topics,
        now: Instant,
    ) {
        let kind = Kind::DeadLetter(class);
        let Some(held) = self.limit().admit(kind, now) else { return };
        tell_held(kind, held, topics);
        tracing::warn!(
            topic,
            partition,
            offset,
            class = class.as_str(),
            why = &*shorten(why, TEXT_MAX),
            dead_letters = &*topics.dead_letters,
            "a record cannot be used and is a dead letter now; have its producer put it right and \
             produce it again"
        );
    }

    /// Records of a kind, `outcome` or `dead_letter`, have been shortened to fit into a topic.
    pub(in crate::shell) fn shortened(
        &self,
        (what, count): (&'static str, u64),
        topic: &str,
        half: Half,
        now: Instant,
    ) {
        let kind = Kind::Shortened(what);
        let Some(held) = self.limit().admit(kind, now) else { return };
        tracing::warn!(
            topic,
            count,
            half = half.as_str(),
            transactions_not_told = held,
            "records did not fit into this topic and were shortened; their headers say what is \
             missing (an order event itself is still in its topic)"
        );
    }

    /// Lines of the order event at `place` have been refused.
    pub(in crate::shell) fn refused(
        &self,
        place: Place<'_>,
        refused: &RefusedLines,
        topics: &Topics,
        now: Instant,
    ) {
        for (code, (lines, more)) in &refused.0 {
            let kind = Kind::Refused(*code);
            for line in lines {
                // Not kept while the line is written, which may take a while.
                let admitted = self.limit().admit(kind, now);
                if let Some(held) = admitted {
                    tell_held(kind, held, topics);
                    tell_line(place, *code, line);
                }
            }
            self.limit().hold(kind, *more, now);
        }
    }

    /// What was not told one by one, once its time is over. To be called now and then.
    pub(in crate::shell) fn tell_held(&self, topics: &Topics, now: Instant) {
        let held = self.limit().over(now);
        held.into_iter().for_each(|(kind, count)| tell_held(kind, count, topics));
    }

    /// The same at the end.
    pub(in crate::shell) fn tell_rest(&self, topics: &Topics) {
        let rest = self.limit().rest();
        rest.into_iter().for_each(|(kind, count)| tell_held(kind, count, topics));
    }

    fn limit(&self) -> MutexGuard<'_, Limit<Kind>> {
        locked(&self.0)
    }
}

fn tell_line((topic, partition, offset): Place<'_>, code: FailureCode, line: &Line) {
    tracing::warn!(
        topic,
        partition,
        offset,
        event_id = line.event_id,
        order_id = line.order_id,
        line = line.line,
        device = line.device,
        action = line.action,
        account = line.account,
        code = code.as_str(),
        why = line.why,
        "a line of an order is refused, its outcome is failed; have its producer put it right and \
         send the order event again"
    );
}

fn tell_held(kind: Kind, count: u64, topics: &Topics) {
    match kind {
        _ if count == 0 => {}
        Kind::DeadLetter(class) => tracing::warn!(
            class = class.as_str(),
            count,
            topic = &*topics.dead_letters,
            "more records of this class are dead letters than were logged one by one; this topic \
             has all of them, with class, reason and source in the headers"
        ),
        Kind::Shortened(what) => tracing::warn!(
            what,
            transactions = count,
            "more records were shortened to fit than were logged; their headers say what is missing"
        ),
        Kind::Refused(code) => tracing::warn!(
            code = code.as_str(),
            count,
            topic = &*topics.outcomes,
            "more lines of orders were refused with this code than were logged one by one; this \
             topic has the outcomes of all of them, with device, order and source"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::captured::{find, logged};
    use crate::wire;

    const WHOLE: &str = "a record cannot be used";
    const COUNTED: &str = "than were logged one by one";

    fn command() -> Command {
        let sample = include_bytes!("../../../schemas/examples/command.claim.json");
        wire::command::decode(sample).unwrap()
    }

    fn refused(code: FailureCode, count: usize) -> RefusedLines {
        let message = "the line is at fault".to_owned();
        let (api_status, api_identifier) = (None, None);
        let failure = Failure { code, api_status, api_identifier, message, retryable: false };
        let mut lines = RefusedLines::default();
        (0..count).for_each(|_| lines.add(&command(), &failure));
        lines
    }

    #[test]
    fn a_dead_letter_is_told_with_the_place_of_the_record_and_the_reason() {
        let (topics, now) = (Topics::default(), Instant::now());
        let lines = logged(tracing::Level::WARN, || {
            let why = (DeadLetterReason::NotJson, "the value is not JSON: line 1 column 1");
            Unusable::default().dead_letter(("shop.orders", 2, 816), why, &topics, now);
        });
        let [line] = find(&lines, WHOLE)[..] else { panic!("{lines:#?}") };
        assert_eq!((&line["topic"], &line["partition"]), (&"shop.orders".into(), &2.into()));
        assert_eq!((&line["offset"], &line["class"]), (&816.into(), &"not_json".into()));
        assert_eq!(line["why"], "the value is not JSON: line 1 column 1");
        assert_eq!(line["dead_letters"], "zerotouch.dead-letters");
        assert_eq!(line["level"], "WARN");
    }

    #[test]
    fn a_refused_line_is_told_with_its_order_and_its_device_masked() {
        let (topics, now, command) = (Topics::default(), Instant::now(), command());
        let lines = logged(tracing::Level::WARN, || {
            let refused = refused(FailureCode::InvalidCustomer, 1);
            Unusable::default().refused(("shop.orders", 2, 815), &refused, &topics, now);
        });
        let [line] = &lines[..] else { panic!("{lines:#?}") };
        let key = command.device_key().unwrap();
        for (field, value) in [
            ("topic", "shop.orders"),
            ("order_id", &*command.order_id),
            ("event_id", &*command.event_id),
            ("line", &*command.line),
            ("device", &*key.to_string()),
            ("account", &*command.account),
            ("code", "input.invalid_customer"),
            ("why", "the line is at fault"),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
        assert_eq!((&line["partition"], &line["offset"]), (&2.into(), &815.into()));
        let (_, id) = key.as_str().split_once(':').unwrap();
        assert!(!line.to_string().contains(id), "{line}");
    }

    #[test]
    fn garbage_without_end_is_a_few_lines_a_minute_and_how_much_there_was() {
        let (topics, began) = (Topics::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let lines = logged(tracing::Level::WARN, || {
            let unusable = Unusable::default();
            for offset in 0..1_000 {
                let class = match offset {
                    500 => DeadLetterReason::Tombstone,
                    _ => DeadLetterReason::NotJson,
                };
                let place = ("shop.orders", 0, offset);
                unusable.dead_letter(place, (class, "garbage"), &topics, at(1));
            }
            unusable.tell_held(&topics, at(30));
            unusable.tell_held(&topics, at(61));
            unusable.tell_held(&topics, at(200));
        });
        let of = |class: &str| find(&lines, WHOLE).iter().filter(|l| l["class"] == class).count();
        assert_eq!((of("not_json"), of("tombstone")), (10, 1), "each class has lines of its own");
        let [counted] = find(&lines, COUNTED)[..] else { panic!("{lines:#?}") };
        assert_eq!((&counted["class"], &counted["count"]), (&"not_json".into(), &989.into()));
        assert_eq!(counted["topic"], "zerotouch.dead-letters");
    }

    #[test]
    fn an_order_of_refused_lines_alone_does_not_flood_the_log_either() {
        let topics = Topics::default();
        let lines = logged(tracing::Level::WARN, || {
            let unusable = Unusable::default();
            for offset in 0..2 {
                let refused = refused(FailureCode::UnknownAccount, 5_000);
                unusable.refused(("shop.orders", 0, offset), &refused, &topics, Instant::now());
            }
            unusable.tell_rest(&topics);
            unusable.tell_rest(&topics);
        });
        assert_eq!(find(&lines, "a line of an order is refused").len(), 10);
        let [counted] = find(&lines, COUNTED)[..] else { panic!("{lines:#?}") };
        assert_eq!(counted["code"], "input.unknown_account");
        assert_eq!(
            (&counted["count"], &counted["topic"]),
            (&9_990.into(), &"zerotouch.outcomes".into())
        );
    }
}
