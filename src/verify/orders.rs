//! The part of I1 about orders: every line has its commands or a dead letter, and no others came.

use crate::model::{CommandId, ORDER_NUMBER, Source};

use super::history::{
    CommandSeen, DeadLetterSeen, Expectation, ExpectedCommand, KeyText, OrderSeen,
};
use super::index::Index;
use super::outcomes::{is_refused_input, orphan};
use super::report::Check;

/// Ticks off what the orders explain; what is left over is a violation.
struct Ledger<'a, 'b> {
    check: &'a mut Check,
    index: &'a Index<'b>,
    /// For each command, whether an order line asked for it.
    commands: Vec<bool>,
    /// For each outcome without command, whether an invalid order line explains it.
    orphans: Vec<bool>,
    /// Dead letters by source, and whether an order record explains them.
    dead_letters: Vec<(&'b DeadLetterSeen, bool)>,
}

/// Checks the orders against commands, outcomes and dead letters.
pub(super) fn check(
    check: &mut Check,
    index: &Index<'_>,
    orders: &mut dyn Iterator<Item = OrderSeen>,
) {
    let mut dead_letters: Vec<_> =
        index.history.dead_letters.iter().map(|letter| (letter, false)).collect();
    dead_letters.sort_by(|(a, _), (b, _)| a.source.cmp(&b.source));
    let mut ledger = Ledger {
        check,
        index,
        commands: vec![false; index.history.commands.len()],
        orphans: vec![false; index.orphans().len()],
        dead_letters,
    };
    for order in orders {
        match &order.expectation {
            Expectation::DeadLetter => ledger.expect_dead_letter(&order.source),
            Expectation::Commands(commands) => {
                for command in commands {
                    ledger.expect(&order, command);
                }
            }
        }
    }
    ledger.check_rest();
}

impl Ledger<'_, '_> {
    fn expect(&mut self, order: &OrderSeen, expected: &ExpectedCommand) {
        self.check.checked += 1;
        let OrderSeen { source, recorded_at, event_id, .. } = order;
        let ExpectedCommand { line, action, .. } = expected;
        let id = CommandId::derive(source, *recorded_at, event_id, line, *action);
        let place = || {
            let Source { topic, partition, offset } = source;
            let (line, action) = (&expected.line, expected.action.as_str());
            format!("line {line} of order {topic}/{partition}/{offset} ({action})")
        };
        let Some(device) = &expected.device else {
            return self.expect_refusal(id, place);
        };
        match self.index.find(id) {
            None => self.check.violated(|| format!("{} has no command", place())),
            Some(at) => {
                self.commands[at] = true;
                if let Some(field) = difference(expected, device, self.index.command(at)) {
                    self.check.violated(|| {
                        format!("the command of {} differs from it in its {field}", place())
                    });
                }
            }
        }
    }

    /// An invalid line ends as one outcome `input.*`, with or without a command before it.
    fn expect_refusal(&mut self, id: CommandId, place: impl Fn() -> String) {
        let outcome = if let Some(at) = self.index.find(id) {
            self.commands[at] = true;
            self.index.outcome(at)
        } else {
            let range = self.index.orphans_of(id);
            self.orphans[range.clone()].fill(true);
            if range.len() > 1 {
                let count = range.len();
                self.check.violated(|| format!("invalid {} has {count} outcomes", place()));
            }
            let places = &self.index.orphans()[range];
            places.first().map(|&at| &self.index.history.outcomes[at])
        };
        match outcome {
            None => self.check.violated(|| format!("invalid {} has no outcome", place())),
            Some(outcome) if !is_refused_input(outcome) => self.check.violated(|| {
                let status = outcome.status.as_str();
                format!("invalid {} ended as {status}, not as failed with input.*", place())
            }),
            Some(_) => {}
        }
    }

    fn expect_dead_letter(&mut self, source: &Source) {
        self.check.checked += 1;
        let from = self.dead_letters.partition_point(|(letter, _)| letter.source < *source);
        let to = self.dead_letters.partition_point(|(letter, _)| letter.source <= *source);
        let found = &mut self.dead_letters[from..to];
        for (_, is_explained) in &mut *found {
            *is_explained = true;
        }
        let count = found.len();
        if count != 1 {
            let Source { topic, partition, offset } = source;
            self.check.violated(|| {
                format!("unreadable record {topic}/{partition}/{offset} has {count} dead letters")
            });
        }
    }

    fn check_rest(self) {
        let Self { check, index, commands, orphans, dead_letters } = self;
        for (at, command) in index.history.commands.iter().enumerate() {
            if !commands[at] && !index.is_copy(at) {
                let CommandSeen { partition, offset, device, .. } = command;
                check.violated(|| {
                    format!("no order line asked for command {partition}/{offset} ({device})")
                });
            }
        }
        for (&at, is_explained) in index.orphans().iter().zip(orphans) {
            if !is_explained {
                check.violated(|| orphan(&index.history.outcomes[at]));
            }
        }
        for (letter, is_explained) in dead_letters {
            if !is_explained {
                let Source { topic, partition, offset } = &letter.source;
                let reason = &letter.reason;
                check.violated(|| {
                    format!(
                        "readable record {topic}/{partition}/{offset} is a dead letter: {reason}"
                    )
                });
            }
        }
    }
}

/// The first field in which a command is not what its order line means.
fn difference(
    expected: &ExpectedCommand,
    device: &KeyText,
    found: &CommandSeen,
) -> Option<&'static str> {
    let has_entry = |(key, value): (&String, &String)| found.metadata.get(key) == Some(value);
    let is_meant = |(key, value): (&String, &String)| {
        expected.metadata.contains_key(key) || (key == ORDER_NUMBER && *value == found.order_id)
    };
    if found.action != expected.action {
        Some("action")
    } else if found.device != *device {
        Some("device")
    } else if found.cause != expected.cause {
        Some("cause")
    } else if found.customer != expected.customer {
        Some("customer")
    } else if found.order_id != expected.order_id {
        Some("order id")
    } else if !expected.metadata.iter().all(has_entry) || !found.metadata.iter().all(is_meant) {
        Some("metadata")
    } else {
        None
    }
}
