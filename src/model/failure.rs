//! How a call to the API failed, named by what the caller may do next.

use std::time::Duration;

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
    },
    /// Over quota (429): nothing happened; wait.
    Throttled {
        /// `Retry-After`, if the reply had one.
        after: Option<Duration>,
    },
    /// The account may not call (401, 403, or its partner is unknown): the account pauses.
    Unauthorised {
        /// What the API said.
        reason: String,
    },
    /// The named thing does not exist (404 on an operation or a device).
    NotFound,
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
            Self::Unauthorised { .. } => "unauthorised",
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
            Self::NotFound => f.write_str("the API does not know it"),
        }
    }
}
