//! A double of the reseller API with devices in memory, for staging and tests.
//!
//! [`State`] is the whole API as pure, deterministic Rust: a simulator calls it with virtual time.
//! [`Sandbox`] puts HTTP around it; the routes in `http/control.rs` let tests read its log and
//! inject faults.
//! It shares no validation with the worker; where Google documents nothing, a switch decides.

mod api;
mod args;
mod customers;
mod devices;
mod faults;
mod http;
mod identifiers;
mod log;
mod operations;
mod options;
mod paging;
mod quota;
mod state;

pub use api::{
    ApiError, Body, Call, CompanyBody, Delivery, Method, Paging, Reply, Request, WorkspaceAccount,
};
pub use args::{SandboxArgs, SandboxError, run};
pub use customers::{Customers, CustomersFile, KnownCompany, KnownVendor};
pub use devices::{Applied, Change, Devices, Holder, Record};
pub use faults::{Drawn, Fault, Faults, Rule};
pub use http::{Sandbox, serve};
pub use identifiers::ItemError;
pub use log::{Batches, Bounded, CallEntry, ChangeEntry, ItemEntry, Log, OperationEntry, Stats};
pub use options::{
    BadItem, DeviceIds, Duplicates, Effect, Listing, Options, Reclaim, Semantics, UnclaimedUnclaim,
};
pub use state::State;
