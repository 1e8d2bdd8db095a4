//! What the API said about an operation, about one device in it, and about a device looked up.

use super::{Customer, DeviceHash, FailureCode, Metadata};

/// The answer to a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationReply {
    /// Not done, whatever the progress says.
    Running {
        /// 0 to 100, if the server said.
        progress: Option<u8>,
    },
    /// Done, with results in the server's order; there may be fewer or more than were sent.
    Done {
        /// One for each item that the server reports.
        results: Vec<DeviceResult>,
    },
    /// Done, with an error of its own and no results.
    Failed {
        /// RPC status code.
        code: i32,
        /// The server's message.
        message: String,
    },
}

/// What an operation says about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceResult {
    /// The device, from the echoed request; `None` if the server echoed nothing usable.
    pub device: Option<DeviceHash>,
    /// What became of it.
    pub verdict: DeviceVerdict,
}

/// Success or failure of one device in an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceVerdict {
    /// It worked.
    Succeeded {
        /// The API's id of the device; may be missing even on success.
        device_id: Option<Box<str>>,
    },
    /// It did not.
    Failed(Box<DeviceFault>),
}

/// Why one device failed, in our words and in the API's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFault {
    /// Our stable code.
    pub code: FailureCode,
    /// `SINGLE_DEVICE_STATUS_…`, as given.
    pub api_status: String,
    /// `errorIdentifier`, if given.
    pub api_identifier: Option<String>,
    /// `errorMessage`, if given.
    pub api_message: Option<String>,
    /// Whether sending it once more may work.
    pub retryable: bool,
}

/// A device as the API knows it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceState {
    /// The API's id.
    pub device_id: Option<String>,
    /// Who holds its zero-touch claim; `None` when nobody does.
    pub owner: Option<Customer>,
    /// The partner id that made the claim.
    pub reseller: Option<String>,
    /// Its metadata.
    pub metadata: Metadata,
}
