//! What held and what did not, for a person and for a program.

use indicatif::HumanCount;
use serde::Serialize;

/// Violations that a report spells out for each invariant; further ones are only counted.
const SHOWN_MAX: usize = 20;

/// A promise that can be checked from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Invariant {
    /// Every command has exactly one outcome; every order line its commands or a dead letter.
    I1,
    /// The device's state at the API equals the fold of its commands in order.
    I2,
    /// Never two operations in flight for one device.
    I3,
    /// A watermark never passes a command without outcome.
    I4,
}

impl Invariant {
    /// The promise in a few words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::I1 => "one outcome for every command",
            Self::I2 => "devices end as their commands say",
            Self::I3 => "one operation at a time for a device",
            Self::I4 => "no offset committed ahead of its outcome",
        }
    }

    /// What is looked at and counted under `checked`; several kinds of things, taken together.
    #[must_use]
    pub const fn counted(self) -> &'static str {
        match self {
            Self::I1 => "commands, lines, dead letters",
            Self::I2 => "devices",
            Self::I3 => "devices in operations",
            Self::I4 => "committed offsets",
        }
    }
}

impl std::fmt::Display for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// What was found about one invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Which one.
    pub invariant: Invariant,
    /// Whether nothing speaks against it.
    pub held: bool,
    /// How many things were looked at; with 0 nothing is proved.
    pub checked: u64,
    /// How many of them allow no verdict, such as a device whose last call has an unknown fate.
    pub undetermined: u64,
    /// How many violations there are.
    pub violations_total: u64,
    /// The first of them, ids masked.
    pub violations: Vec<String>,
}

impl Check {
    pub(super) fn new(invariant: Invariant) -> Self {
        Self {
            invariant,
            held: true,
            checked: 0,
            undetermined: 0,
            violations_total: 0,
            violations: Vec::new(),
        }
    }

    /// Notes a violation; its text is only made if it will be shown.
    pub(super) fn violated(&mut self, text: impl FnOnce() -> String) {
        self.held = false;
        self.violations_total += 1;
        if self.violations.len() < SHOWN_MAX {
            self.violations.push(text());
        }
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { invariant, checked, undetermined, violations_total, .. } = self;
        let word = match (self.held, checked) {
            (false, _) => "VIOLATED",
            (true, 0) => "untested",
            (true, _) => "held",
        };
        let (title, counted) = (invariant.title(), invariant.counted());
        write!(f, "{invariant} {word:<8} {title} ({} looked at: {counted}", HumanCount(*checked))?;
        if *undetermined > 0 {
            write!(f, ", {undetermined} undetermined")?;
        }
        if *violations_total > 0 {
            write!(f, ", {violations_total} violations")?;
        }
        write!(f, ")")?;
        for violation in &self.violations {
            write!(f, "\n     - {violation}")?;
        }
        let hidden = violations_total - self.violations.len() as u64;
        if hidden > 0 {
            write!(f, "\n     - and {hidden} more")?;
        }
        Ok(())
    }
}

/// What was found about all invariants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report {
    /// One for each invariant, in their order.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether every invariant held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    /// Whether there was something to check for every invariant; else holding means little.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.checks.iter().all(|check| check.checked > 0)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, check) in self.checks.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{check}")?;
        }
        Ok(())
    }
}
