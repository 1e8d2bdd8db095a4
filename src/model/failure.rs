//! How a call to the API failed, named by what the caller may do next.

use std::time::Duration;

use super::DeviceHash;

/// A failed call. The engine matches this exhaustively; only `wire::google::failure` makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The request certainly had no effect (no connection, lease passed): send it again.
    NotSent {
        /// What happened, for logs.
        reason: String,
    },
    /// The request may have taken effect (timeout, connection lost, 5xx): verify before trusting.
    Ambiguous {
        /// What happened, for logs.
        reason: String,
    },
    /// The API understood and refused (400 and the like): the content is at fault.
    Rejected {
        /// RPC status name, e.g. `INVALID_ARGUMENT`.
        status: String,
        /// The first `CustomError` code among the details, if any.
        identifier: Option<String>,
        /// The API's message.
        message: String,
        /// What of the request the refusal names.
        named: Named,
    },
    /// The API refused (403, 404) and named nothing: the account may be meant, or something in the
    /// request. Nothing happened.
    Forbidden {
        /// RPC status name, e.g. `PERMISSION_DENIED`.
        status: String,
        /// The API's message.
        message: String,
        /// What it means if it is the account, with what to do.
        reason: String,
    },
    /// Over quota (429): nothing happened; wait.
    Throttled {
        /// `Retry-After`, if the reply had one.
        after: Option<Duration>,
    },
    /// The account may not call (401, or terms that it has to accept): the account pauses.
    Unauthorised {
        /// What the API said.
        reason: String,
    },
    /// The named thing does not exist (404 on an operation or a device).
    NotFound,
}

/// What a refusal names of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Places of items, counted from 0.
    pub items: Vec<usize>,
    /// Devices whose identifier is in the message.
    pub devices: Vec<DeviceHash>,
}

impl Named {
    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.devices.is_empty()
    }
}

impl CallFailure {
    /// The word used in logs and metrics.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::NotSent { .. } => "not_sent",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Rejected { .. } => "rejected",
            Self::Throttled { .. } => "throttled",
            Self::Unauthorised { .. } | Self::Forbidden { .. } => "unauthorised",
            Self::NotFound => "not_found",
        }
    }
}

impl std::fmt::Display for CallFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent { reason } => write!(f, "the request was not sent: {reason}"),
            Self::Ambiguous { reason } => write!(f, "no usable answer came: {reason}"),
            Self::Rejected { status, message, .. } => {
                write!(f, "the API refused the request ({status}): {message}")
            }
            Self::Throttled { after: Some(after) } => {
                write!(f, "the quota is used up; the API asks to wait for {after:?}")
            }
            Self::Throttled { after: None } => f.write_str("the quota is used up"),
            Self::Unauthorised { reason } => {
                write!(f, "the API refuses the account: {reason}")
            }
            Self::Forbidden { reason, .. } => write!(f, "the API refuses the call: {reason}"),
            Self::NotFound => f.write_str("the API does not know it"),
        }
    }
}
