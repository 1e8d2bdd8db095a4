//! Which outcome belongs to which command: sorted tables over a history, shared by the checks.

use crate::model::CommandId;

use super::history::{CommandSeen, History, OutcomeSeen};

/// The outcomes of one command id.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decided {
    /// Place of the first of them in the history, in reading order.
    pub(super) first: Option<usize>,
    /// How many there are.
    pub(super) count: u64,
}

/// A history with its cross-references. Commands are named by their place in the history.
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    /// Places of commands, by command id, then by position in the topic.
    by_id: Vec<usize>,
    /// For each command, the place of the first one with the same id: itself, unless it is a copy.
    original: Vec<usize>,
    /// For each command that is no copy, its outcomes.
    decided: Vec<Decided>,
    /// Places of outcomes without a command, by command id.
    orphans: Vec<usize>,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let commands = &history.commands;
        let mut by_id: Vec<usize> = (0..commands.len()).collect();
        by_id.sort_unstable_by_key(|&at| {
            (commands[at].command_id, commands[at].partition, commands[at].offset)
        });
        let mut original: Vec<usize> = (0..commands.len()).collect();
        for pair in 1..by_id.len() {
            let (before, at) = (by_id[pair - 1], by_id[pair]);
            if commands[before].command_id == commands[at].command_id {
                original[at] = original[before];
            }
        }
        let decided = vec![Decided::default(); commands.len()];
        let mut index = Self { history, by_id, original, decided, orphans: Vec::new() };
        for (at, outcome) in history.outcomes.iter().enumerate() {
            if let Some(command) = index.find(outcome.command_id) {
                let decided = &mut index.decided[command];
                decided.first.get_or_insert(at);
                decided.count += 1;
            } else {
                index.orphans.push(at);
            }
        }
        index.orphans.sort_by_key(|&at| history.outcomes[at].command_id);
        index
    }

    /// The place of the command with this id.
    pub(super) fn find(&self, id: CommandId) -> Option<usize> {
        let commands = &self.history.commands;
        let at = self.by_id.partition_point(|&at| commands[at].command_id < id);
        self.by_id.get(at).copied().filter(|&at| commands[at].command_id == id)
    }

    pub(super) fn command(&self, at: usize) -> &'a CommandSeen {
        &self.history.commands[at]
    }

    /// Whether an earlier record of the commands topic has the same id.
    pub(super) fn is_copy(&self, at: usize) -> bool {
        self.original[at] != at
    }

    /// The outcomes of a command or of the one it is a copy of.
    pub(super) fn decided(&self, at: usize) -> Decided {
        self.decided[self.original[at]]
    }

    /// The first outcome of a command.
    pub(super) fn outcome(&self, at: usize) -> Option<&'a OutcomeSeen> {
        self.decided(at).first.map(|outcome| &self.history.outcomes[outcome])
    }

    /// Places of outcomes without a command, by command id.
    pub(super) fn orphans(&self) -> &[usize] {
        &self.orphans
    }

    /// The range within [`Self::orphans`] that is about this id.
    pub(super) fn orphans_of(&self, id: CommandId) -> std::ops::Range<usize> {
        let outcomes = &self.history.outcomes;
        let from = self.orphans.partition_point(|&at| outcomes[at].command_id < id);
        let to = self.orphans.partition_point(|&at| outcomes[at].command_id <= id);
        from..to
    }
}
