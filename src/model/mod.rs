//! The words of the domain: validated values that every other room may use.
//!
//! Decides nothing about time, Kafka or HTTP. Types that are part of a public contract (`Action`,
//! `Status`, `Customer`, …) derive serde and schemars here, so that a word has one definition and
//! a schema cannot drift from it. Whole records live in [`crate::wire`].

mod anchor;
mod batch;
mod command;
mod customer;
mod dead_letter;
mod device;
mod failure;
mod metadata;
mod operation;
mod order;
mod outcome;
mod packed;
mod position;
mod purpose;
mod spelling;

pub use anchor::{Anchor, NoAnchor};
pub use batch::{BatchId, BatchState, LedgerRecord, LedgerWrite, OffsetSet, Run};
pub use command::{Action, Command, CommandFacts, CommandId, order_hash};
pub use customer::Customer;
pub use dead_letter::{DeadLetter, DeadLetterReason, Rejection};
pub use device::{DeviceHash, DeviceKey, DeviceType, IdentifierError, Identifiers};
pub use failure::{CallFailure, Named};
pub use metadata::{METADATA_BYTES_MAX, Metadata, ORDER_NUMBER};
pub use operation::{DeviceFault, DeviceResult, DeviceState, DeviceVerdict, OperationReply};
pub use order::{Cause, InputFault, OrderCustomer, OrderDevice, OrderEvent, Source};
pub use outcome::{Failure, FailureCode, OutcomeId, Status, Verdict};
pub use packed::PackedCommand;
pub use position::{Epoch, Offset, Partition};
pub use purpose::Purpose;
