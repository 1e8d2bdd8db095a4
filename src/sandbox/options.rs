//! Options of the double: a switch for everything that Google does not document.

use std::collections::BTreeSet;
use std::time::Duration;

use super::customers::CustomersFile;
use super::faults::Rule;

/// When the changes of an operation take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Effect {
    /// When the operation ends.
    #[default]
    Completion,
    /// When the call is accepted, though the results show only at the end.
    Acceptance,
}

/// What a claim of a device that the customer already holds gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Reclaim {
    /// Success; metadata is merged.
    #[default]
    Success,
    /// `OTHER_ERROR` with `DEVICE_ALREADY_EXISTS`.
    Error,
}

/// What an unclaim of a device that nobody holds gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum UnclaimedUnclaim {
    /// Success, unless the device was never claimed: then as `not-found`.
    #[default]
    Success,
    /// `SECTION_NOT_YOURS`.
    NotYours,
    /// `OTHER_ERROR` with `INVALID_DEVICE_ID`.
    NotFound,
}

/// What becomes of the second mention of a device in one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Duplicates {
    /// That item fails.
    #[default]
    Reject,
    /// The items are carried out in order.
    Process,
}

/// What an item does that is wrong in itself (identifiers, section, customer union).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BadItem {
    /// Only that item fails.
    #[default]
    Item,
    /// The whole request is refused with 400.
    Request,
}

/// Whether a device keeps its id when it is claimed again after an unclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceIds {
    /// It keeps it.
    #[default]
    Kept,
    /// It gets a new one; the old one is unknown from then on.
    Renewed,
}

/// Whether lookups show a device that nobody holds to a reseller that once claimed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Listing {
    /// They do, with no claims.
    #[default]
    Listed,
    /// They do not.
    Hidden,
}

/// The switches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Semantics {
    /// When changes take effect.
    pub effect: Effect,
    /// Claim of a device that the same customer holds.
    pub reclaim: Reclaim,
    /// Unclaim of a device that nobody holds.
    pub unclaimed: UnclaimedUnclaim,
    /// A device twice in a batch.
    pub duplicates: Duplicates,
    /// An item that is wrong in itself.
    pub bad_item: BadItem,
    /// Device ids over unclaim and claim.
    pub device_ids: DeviceIds,
    /// Lookups of devices that nobody holds.
    pub listing: Listing,
    /// Whether metadata outlives an unclaim.
    pub keep_metadata: bool,
}

/// Everything that the state needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Seed of all chance.
    pub seed: u64,
    /// Partners that are served; none listed: any.
    pub partners: BTreeSet<String>,
    /// Whether claims may name customers that do not exist.
    pub auto_customers: bool,
    /// Companies that exist from the start.
    pub customers: CustomersFile,
    /// The switches.
    pub semantics: Semantics,
    /// How long an operation takes …
    pub operation_time: Duration,
    /// … and how much longer for each of its devices …
    pub operation_time_per_device: Duration,
    /// … and the share by which chance makes that longer, 0 for none, 1 for up to twice.
    pub operation_jitter: f64,
    /// How long a finished operation can be read; `None`: for ever, and memory grows with each.
    pub operation_retention: Option<Duration>,
    /// Items of one batch at most; more give 400.
    pub batch_items_max: usize,
    /// Calls of one partner in any window; 0: no quota.
    pub quota_calls: usize,
    /// The window.
    pub quota_window: Duration,
    /// Whether a 429 says when to come back.
    pub retry_after: bool,
    /// Whether calls need a bearer token.
    pub auth_required: bool,
    /// Entries that each list of the log holds; the oldest are dropped and counted.
    pub log_max: usize,
    /// Faults from the start.
    pub faults: Vec<Rule>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            partners: BTreeSet::new(),
            auto_customers: false,
            customers: CustomersFile::default(),
            semantics: Semantics::default(),
            operation_time: Duration::from_secs(3),
            operation_time_per_device: Duration::ZERO,
            operation_jitter: 0.0,
            operation_retention: Some(Duration::from_secs(7 * 24 * 3_600)),
            batch_items_max: 100_000,
            quota_calls: 1_000,
            quota_window: Duration::from_secs(100),
            retry_after: true,
            auth_required: false,
            log_max: 1_000_000,
            faults: Vec::new(),
        }
    }
}
