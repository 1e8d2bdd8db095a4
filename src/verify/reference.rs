//! The reference: what an ideal API makes of one device's commands, as far as it can be known.
//!
//! A command of unknown fate leaves more than one possible value. Whether an unclaim, or a claim
//! that follows one, keeps older metadata is not documented by Google; both count as possible.

use std::collections::BTreeMap;

use crate::model::{Action, Customer, Metadata};

use super::history::CommandSeen;

/// Whether something happened at the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    Certain,
    Maybe,
    Never,
}

/// What may be the value. Never empty; short, since nearly every fate is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Possible<T>(Vec<T>);

impl<T: PartialEq + Copy> Possible<T> {
    fn known(value: T) -> Self {
        Self(vec![value])
    }

    fn add(&mut self, value: T) {
        if !self.allows(value) {
            self.0.push(value);
        }
    }

    fn write(&mut self, value: T, certainty: Certainty) {
        match certainty {
            Certainty::Certain => *self = Self::known(value),
            Certainty::Maybe => self.add(value),
            Certainty::Never => {}
        }
    }

    pub(super) fn allows(&self, value: T) -> bool {
        self.0.contains(&value)
    }

    /// The value, if only one is possible.
    pub(super) fn certain(&self) -> Option<T> {
        match self.0[..] {
            [value] => Some(value),
            _ => None,
        }
    }
}

/// A claim as it stands at the API: for whom, and by which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder<'a> {
    pub(super) owner: &'a Customer,
    pub(super) order: &'a str,
}

/// One device at the ideal API. Starts unclaimed and without metadata.
pub(super) struct Reference<'a> {
    pub(super) holder: Possible<Option<Holder<'a>>>,
    metadata: BTreeMap<&'a str, Possible<Option<&'a str>>>,
}

impl<'a> Reference<'a> {
    pub(super) fn new() -> Self {
        Self { holder: Possible::known(None), metadata: BTreeMap::new() }
    }

    /// Applies a command: the claim or unclaim with one certainty, its metadata with another, since
    /// metadata may travel in another command.
    pub(super) fn apply(
        &mut self,
        command: &'a CommandSeen,
        change: Certainty,
        metadata: Certainty,
    ) {
        match (command.action, &command.customer) {
            (Action::Claim, Some(owner)) => {
                let holder = Holder { owner, order: &command.order_id };
                let fresh = !self.holder.allows(Some(holder));
                self.holder.write(Some(holder), change);
                if fresh && change != Certainty::Never {
                    self.may_forget_metadata();
                }
            }
            (Action::Unclaim, _) => {
                self.holder.write(None, change);
                if change != Certainty::Never {
                    self.may_forget_metadata();
                }
                // An unclaim carries no metadata at the API.
                return;
            }
            (Action::Claim, None) | (Action::UpdateMetadata, _) => {}
        }
        self.write_metadata(&command.metadata, metadata);
    }

    /// Notes that the claim of a command may have been meant to stand, but nobody can say.
    pub(super) fn doubt(&mut self, command: &'a CommandSeen) {
        if let Some(owner) = &command.customer {
            self.holder.add(Some(Holder { owner, order: &command.order_id }));
        }
    }

    fn may_forget_metadata(&mut self) {
        for value in self.metadata.values_mut() {
            value.add(None);
        }
    }

    fn write_metadata(&mut self, metadata: &'a Metadata, certainty: Certainty) {
        for (key, value) in metadata {
            // An empty value deletes its key.
            let value = Some(value.as_str()).filter(|value| !value.is_empty());
            self.metadata
                .entry(key)
                .or_insert_with(|| Possible::known(None))
                .write(value, certainty);
        }
    }

    /// Whether the API may have this owner.
    pub(super) fn allows_owner(&self, owner: Option<&Customer>) -> bool {
        self.holder.0.iter().any(|holder| holder.map(|holder| holder.owner) == owner)
    }

    /// Whether the owner is known.
    pub(super) fn is_owner_certain(&self) -> bool {
        let owner = |holder: &Option<Holder<'a>>| holder.map(|holder| holder.owner);
        self.holder.0.windows(2).all(|pair| owner(&pair[0]) == owner(&pair[1]))
    }

    /// The first metadata key whose value at the API cannot be.
    pub(super) fn wrong_key<'b>(&'b self, found: &'b Metadata) -> Option<&'b str> {
        let missing = self.metadata.iter().find_map(|(key, possible)| {
            let value = found.get(*key).map(String::as_str);
            (!possible.0.contains(&value)).then_some(*key)
        });
        let foreign = || found.keys().map(String::as_str).find(|k| !self.metadata.contains_key(k));
        missing.or_else(foreign)
    }
}
