//! What happened in a run, counted: faults by kind, and what shows that a run got anywhere.

use std::collections::BTreeMap;

use crate::plan::Fault;

/// What is counted beside the faults, as (what, which).
pub(crate) type Name = (&'static str, &'static str);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    faults: [u64; Fault::ALL.len()],
    events: BTreeMap<Name, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { faults: [0; Fault::ALL.len()], events: BTreeMap::new() }
    }
}

impl Counts {
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn event(&mut self, what: &'static str, which: &'static str) {
        self.events(what, which, 1);
    }

    pub(crate) fn events(&mut self, what: &'static str, which: &'static str, count: u64) {
        *self.events.entry((what, which)).or_default() += count;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.faults.iter_mut().zip(&other.faults) {
            *mine += theirs;
        }
        for ((what, which), count) in &other.events {
            self.events(what, which, *count);
        }
    }

    /// Faults that never happened.
    pub(crate) fn missing(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.faults[*fault as usize] == 0).collect()
    }

    /// One line for each.
    pub(crate) fn lines(&self) -> String {
        let faults = Fault::ALL.iter().zip(&self.faults);
        let faults = faults.map(|(fault, count)| format!("  {:<44} {count:>12}\n", fault.name()));
        let events = self.events.iter().map(|((what, which), count)| {
            let name = format!("({what}{}{which})", if which.is_empty() { "" } else { ": " });
            format!("  {name:<44} {count:>12}\n")
        });
        faults.chain(events).collect()
    }
}
