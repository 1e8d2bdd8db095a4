//! Rights that brokers check, and what to do about one that is missing.

use std::fmt;

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// See that it is there.
    Describe,
    /// Read records, or be a member.
    Read,
    /// Write records, or transactions.
    Write,
}

impl Operation {
    /// As `kafka-acls.sh` spells it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Describe => "Describe",
            Self::Read => "Read",
            Self::Write => "Write",
        }
    }
}

/// What it is done with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic.
    Topic(String),
    /// A consumer group.
    Group(String),
    /// The name under which transactions are written.
    TransactionalId(String),
}

/// A right of the principal under which this process is known to the brokers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// What it allows.
    pub operation: Operation,
    /// With what.
    pub on: Resource,
}

impl Right {
    /// To read a topic.
    pub fn read(topic: &str) -> Self {
        Self { operation: Operation::Read, on: Resource::Topic(topic.to_owned()) }
    }

    /// To see a topic.
    pub fn describe(topic: &str) -> Self {
        Self { operation: Operation::Describe, on: Resource::Topic(topic.to_owned()) }
    }

    /// To write to a topic.
    pub fn write(topic: &str) -> Self {
        Self { operation: Operation::Write, on: Resource::Topic(topic.to_owned()) }
    }

    /// To be a member of a group.
    pub fn join(group: &str) -> Self {
        Self { operation: Operation::Read, on: Resource::Group(group.to_owned()) }
    }

    /// To write transactions under a name.
    pub fn transactions(id: &str) -> Self {
        Self { operation: Operation::Write, on: Resource::TransactionalId(id.to_owned()) }
    }
}

/// What is said of a right that is missing.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = self.operation.as_str();
        let (what, flag, name) = match &self.on {
            Resource::Topic(name) => ("topic", "--topic", name),
            Resource::Group(name) => ("group", "--group", name),
            Resource::TransactionalId(name) => ("transactional id", "--transactional-id", name),
        };
        write!(
            f,
            "no {} on {what} {name} for this principal: grant it (kafka-acls.sh --add \
             --allow-principal User:NAME --operation {operation} {flag} {name})",
            operation.to_uppercase()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_named_with_the_command_that_grants_it() {
        let grant = "for this principal: grant it (kafka-acls.sh --add --allow-principal User:NAME";
        for (right, said) in [
            (
                Right::read("shop.orders"),
                format!(
                    "no READ on topic shop.orders {grant} --operation Read --topic shop.orders)"
                ),
            ),
            (
                Right::join("z.intake"),
                format!("no READ on group z.intake {grant} --operation Read --group z.intake)"),
            ),
            (
                Right::transactions("z.intake.1"),
                format!(
                    "no WRITE on transactional id z.intake.1 {grant} --operation Write \
                     --transactional-id z.intake.1)"
                ),
            ),
        ] {
            assert_eq!(right.to_string(), said);
        }
    }
}
