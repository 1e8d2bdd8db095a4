//! What became of a command: status, failure, and the codes subscribers may rely on.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::CommandId;

/// Identity of an outcome; derived from the command, so it is the same in every run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct OutcomeId(pub Uuid);

impl From<CommandId> for OutcomeId {
    fn from(command: CommandId) -> Self {
        Self(Uuid::new_v5(&command.0, b"outcome"))
    }
}

impl std::fmt::Display for OutcomeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The final word about a command.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The device is as the command wanted it.
    Succeeded,
    /// It is not, and `failure` says why.
    Failed,
    /// A later command of the device made this one pointless before it was sent.
    Superseded,
    /// An unsent command of the device carried this one's change with it.
    Merged,
    /// A claim and the cancellation of its order met before the claim was sent; nothing was called.
    Cancelled,
    /// An unclaim that would have removed another customer's or a newer order's claim.
    Stale,
    /// The deadline passed and the device's real state does not tell whether the call worked.
    Unresolved,
}

impl Status {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Failed,
        Self::Superseded,
        Self::Merged,
        Self::Cancelled,
        Self::Stale,
        Self::Unresolved,
    ];

    /// The word used in events, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Merged => "merged",
            Self::Cancelled => "cancelled",
            Self::Stale => "stale",
            Self::Unresolved => "unresolved",
        }
    }
}

/// Stable, hierarchical failure codes: the part before the dot says who has to act.
///
/// `input.*`: the order event; `device.*`: this device at the API; `batch.*`: a whole call;
/// `transport.*`: nobody knows, because the answer never came.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum FailureCode {
    /// The IMEI is not 15 digits with a right check digit.
    #[serde(rename = "input.invalid_imei")]
    InvalidImei,
    /// The MEID is not 14 hexadecimal digits.
    #[serde(rename = "input.invalid_meid")]
    InvalidMeid,
    /// A serial number without manufacturer and model.
    #[serde(rename = "input.incomplete_serial")]
    IncompleteSerial,
    /// A ChromeOS device without the full set: attested id, serial, model, token.
    #[serde(rename = "input.incomplete_chromeos")]
    IncompleteChromeOs,
    /// Nothing that identifies the device.
    #[serde(rename = "input.no_identifier")]
    NoIdentifier,
    /// A field of the device is not what the contract says.
    #[serde(rename = "input.invalid_field")]
    InvalidField,
    /// The customer is missing, of both kinds at once, or of the wrong kind for the device.
    #[serde(rename = "input.invalid_customer")]
    InvalidCustomer,
    /// A metadata value is not text.
    #[serde(rename = "input.invalid_metadata")]
    InvalidMetadata,
    /// The account is not in the worker's configuration.
    #[serde(rename = "input.unknown_account")]
    UnknownAccount,
    /// The same device twice in one event.
    #[serde(rename = "input.duplicate_device")]
    DuplicateDevice,
    /// `SINGLE_DEVICE_STATUS_INVALID_DEVICE_IDENTIFIER`.
    #[serde(rename = "device.invalid_identifier")]
    DeviceInvalidIdentifier,
    /// `SINGLE_DEVICE_STATUS_PERMISSION_DENIED`.
    #[serde(rename = "device.permission_denied")]
    DevicePermissionDenied,
    /// `SINGLE_DEVICE_STATUS_SECTION_NOT_YOURS`: another company holds the device.
    #[serde(rename = "device.not_yours")]
    DeviceNotYours,
    /// Claimed for another customer of this reseller; it must be unclaimed first.
    #[serde(rename = "device.claimed_by_other_customer")]
    DeviceClaimedByOtherCustomer,
    /// `SINGLE_DEVICE_STATUS_INVALID_SECTION_TYPE`.
    #[serde(rename = "device.invalid_section_type")]
    DeviceInvalidSectionType,
    /// `SINGLE_DEVICE_STATUS_INVALID_TOKEN`.
    #[serde(rename = "device.invalid_token")]
    DeviceInvalidToken,
    /// `SINGLE_DEVICE_STATUS_REVOKED_TOKEN`.
    #[serde(rename = "device.revoked_token")]
    DeviceRevokedToken,
    /// `SINGLE_DEVICE_STATUS_DEVICE_LIMIT_EXCEEDED`.
    #[serde(rename = "device.limit_exceeded")]
    DeviceLimitExceeded,
    /// The unclaim would have removed a claim that it does not mean; it was not sent.
    #[serde(rename = "device.stale_unclaim")]
    StaleUnclaim,
    /// Any other status of a single device, and values newer than this worker.
    #[serde(rename = "device.other")]
    DeviceOther,
    /// The API refused the whole call, and bisecting left this command alone as the cause.
    #[serde(rename = "batch.rejected")]
    BatchRejected,
    /// The operation ended with an error of its own.
    #[serde(rename = "batch.operation_failed")]
    BatchOperationFailed,
    /// The operation did not end before the deadline.
    #[serde(rename = "transport.deadline_exceeded")]
    DeadlineExceeded,
    /// The operation vanished, or its result left this device out.
    #[serde(rename = "transport.result_missing")]
    ResultMissing,
    /// No usable answer came, although other calls of the account were answered.
    #[serde(rename = "transport.no_answer")]
    NoAnswer,
}

impl FailureCode {
    /// The code as it stands in events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidImei => "input.invalid_imei",
            Self::InvalidMeid => "input.invalid_meid",
            Self::IncompleteSerial => "input.incomplete_serial",
            Self::IncompleteChromeOs => "input.incomplete_chromeos",
            Self::NoIdentifier => "input.no_identifier",
            Self::InvalidField => "input.invalid_field",
            Self::InvalidCustomer => "input.invalid_customer",
            Self::InvalidMetadata => "input.invalid_metadata",
            Self::UnknownAccount => "input.unknown_account",
            Self::DuplicateDevice => "input.duplicate_device",
            Self::DeviceInvalidIdentifier => "device.invalid_identifier",
            Self::DevicePermissionDenied => "device.permission_denied",
            Self::DeviceNotYours => "device.not_yours",
            Self::DeviceClaimedByOtherCustomer => "device.claimed_by_other_customer",
            Self::DeviceInvalidSectionType => "device.invalid_section_type",
            Self::DeviceInvalidToken => "device.invalid_token",
            Self::DeviceRevokedToken => "device.revoked_token",
            Self::DeviceLimitExceeded => "device.limit_exceeded",
            Self::StaleUnclaim => "device.stale_unclaim",
            Self::DeviceOther => "device.other",
            Self::BatchRejected => "batch.rejected",
            Self::BatchOperationFailed => "batch.operation_failed",
            Self::DeadlineExceeded => "transport.deadline_exceeded",
            Self::ResultMissing => "transport.result_missing",
            Self::NoAnswer => "transport.no_answer",
        }
    }
}

/// Why a command failed or stayed unresolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The stable code.
    pub code: FailureCode,
    /// The API's status word, if it gave one: `SINGLE_DEVICE_STATUS_…` or an RPC status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub api_status: Option<String>,
    /// The API's `errorIdentifier`, if it gave one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub api_identifier: Option<String>,
    /// For a person: what happened and what to do. Not stable.
    pub message: String,
    /// Whether sending the same order event again, unchanged, may work.
    pub retryable: bool,
}

/// The final word about one command, and how it came about; with the command it makes the outcome
/// event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The word.
    pub status: Status,
    /// Why, for failed, stale and unresolved commands.
    pub failure: Option<Box<Failure>>,
    /// The command that superseded, absorbed or cancelled this one.
    pub decided_by: Option<CommandId>,
    /// The API's id of the device, if it is known.
    pub device_id: Option<Box<str>>,
    /// The operation that carried the command.
    pub operation: Option<Arc<str>>,
    /// How often the command was sent.
    pub attempts: u16,
    /// When the call that decided it was made; `None` if there was none.
    pub submitted_at: Option<Timestamp>,
    /// When it was decided.
    pub completed_at: Timestamp,
}
