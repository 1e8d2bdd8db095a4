//! Order event in, commands and refused lines out.
//!
//! Decides what a line of an order means for its device, and whether the device can be sent at all.
//! A line never vanishes: it becomes its commands, or one failed outcome (I1). A bad line harms
//! only itself (I9). Pure, and the same event from the same place always gives the same ids.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{
    Action, Cause, Command, Customer, DeadLetterReason, DeviceKey, Failure, FailureCode,
    InputFault, Metadata, ORDER_NUMBER, OrderCustomer, OrderDevice, OrderEvent, Rejection, Source,
    Status, Verdict,
};

/// The only section of a device that this worker touches.
const SECTION_ZERO_TOUCH: &str = "SECTION_TYPE_ZERO_TOUCH";

/// What intake needs to know of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntakeOptions {
    /// Names of the configured accounts.
    pub accounts: BTreeSet<String>,
    /// The account of events that name none.
    pub default_account: Option<String>,
    /// Whether events of other types than ours are passed over, or else become dead letters.
    pub skips_others: bool,
}

/// Why a record of an order topic is passed over: nobody has to put anything right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PassedOver {
    /// It has no value: what a compacted topic keeps of a key that was deleted.
    Tombstone,
    /// It is an event of a type that this worker is not meant for.
    Other,
}

impl PassedOver {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 2] = [Self::Tombstone, Self::Other];

    /// The word used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::Other => "unknown_type",
        }
    }
}

/// Whether a record that is no order event is passed over; else it is a dead letter.
///
/// A type in a wrong spelling (`Sale`) is not foreign, and so is never passed over.
#[must_use]
pub fn passes_over(rejection: &Rejection, options: &IntakeOptions) -> Option<PassedOver> {
    match rejection.reason {
        DeadLetterReason::Tombstone => Some(PassedOver::Tombstone),
        DeadLetterReason::UnknownType if options.skips_others && rejection.is_foreign => {
            Some(PassedOver::Other)
        }
        _ => None,
    }
}

/// What a line of an order became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intaken {
    /// A command for the commands topic.
    Command(Command),
    /// A line that cannot be sent, with its outcome.
    Refused(Refused),
}

/// A line that cannot be sent: its outcome is decided already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The command it would have been, under the id it would have had. Identifiers are normalised,
    /// or as given if they are at fault.
    pub command: Command,
    /// Failed, with an `input.*` code.
    pub verdict: Verdict,
}

/// Turns the lines of an order event into commands, in the order of the event.
///
/// - `sale`: claim, with the metadata of the event below that of the device, and the order id as
///   `ordernumber` unless they give one.
/// - `return`: update_metadata if there is any metadata, then unclaim.
/// - `cancellation`: unclaim.
/// - `amendment`: update_metadata.
///
/// A line without name is named by its index; a name used before in the event gets `#2`, `#3`, ….
/// `recorded_at` is the time of the event's record, which goes into the ids.
#[must_use]
pub fn map(
    event: OrderEvent,
    origin: (&Source, Option<Timestamp>),
    received_at: Timestamp,
    options: &IntakeOptions,
) -> Vec<Intaken> {
    Lines::new(event, origin, received_at, options).collect()
}

/// The same one by one: what follows from a large order need not be in memory at once.
#[derive(Debug)]
pub struct Lines {
    template: Command,
    event_fault: Option<InputFault>,
    devices: std::iter::Enumerate<std::vec::IntoIter<OrderDevice>>,
    names: LineNames,
    seen: BTreeSet<DeviceKey>,
    /// The second command of the last line.
    second: Option<Command>,
}

impl Lines {
    /// See [`map`].
    #[must_use]
    pub fn new(
        event: OrderEvent,
        (source, recorded_at): (&Source, Option<Timestamp>),
        received_at: Timestamp,
        options: &IntakeOptions,
    ) -> Self {
        let OrderEvent { id, kind, occurred_at, order_id, customer, metadata, devices, .. } = event;
        let (account, account_fault) = account(event.account, options);
        let (customer, customer_fault) = checked_customer(customer);
        let event_fault = account_fault.or(customer_fault);
        let template = Command {
            action: main_action(kind),
            cause: kind,
            event_id: id,
            order_id,
            line: String::new(),
            account,
            customer,
            device: Default::default(),
            device_id: None,
            metadata,
            configuration_id: None,
            pre_provisioning_token: None,
            occurred_at,
            received_at,
            source: source.clone(),
            recorded_at,
            traceparent: event.traceparent,
        };
        Self {
            template,
            event_fault,
            devices: devices.into_iter().enumerate(),
            names: LineNames::default(),
            seen: BTreeSet::new(),
            second: None,
        }
    }
}

impl Iterator for Lines {
    type Item = Intaken;

    fn next(&mut self) -> Option<Intaken> {
        if let Some(second) = self.second.take() {
            return Some(Intaken::Command(second));
        }
        let (index, device) = self.devices.next()?;
        let mut command = self.template.clone();
        command.line = self.names.name(device.line.clone(), index);
        let checked = fill(&mut command, device, self.event_fault.as_ref())
            .and_then(|()| distinct(&command, &mut self.seen));
        Some(match checked {
            Ok(()) => {
                let (first, second) = commands(command);
                self.second = second;
                Intaken::Command(first)
            }
            Err(fault) => Intaken::Refused(refuse(command, fault)),
        })
    }
}

/// The action by which a refused line is known.
const fn main_action(kind: Cause) -> Action {
    match kind {
        Cause::Sale => Action::Claim,
        Cause::Return | Cause::Cancellation => Action::Unclaim,
        Cause::Amendment => Action::UpdateMetadata,
    }
}

fn account(given: Option<String>, options: &IntakeOptions) -> (String, Option<InputFault>) {
    let Some(name) = given.or_else(|| options.default_account.clone()) else {
        let message = "the event names no account, and the worker has no default account";
        return (String::new(), Some(InputFault::new(FailureCode::UnknownAccount, message)));
    };
    let fault = (!options.accounts.contains(&name)).then(|| {
        let message = format!("account {name:?} is not in the worker's configuration");
        InputFault::new(FailureCode::UnknownAccount, message)
    });
    (name, fault)
}

/// A positive int64 as decimal text without leading zeros.
fn positive_int64(text: &str) -> Option<String> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = text.parse().ok().filter(|number| is_digits && *number > 0)?;
    Some(number.to_string())
}

fn checked_customer(given: OrderCustomer) -> (Option<Customer>, Option<InputFault>) {
    let message = match (given.customer_id, given.google_workspace_customer_id) {
        (None, None) => return (None, None),
        (None, Some(id)) => return (Some(Customer::Workspace(id)), None),
        (Some(id), None) => match positive_int64(&id) {
            Some(id) => return (Some(Customer::ZeroTouch(id)), None),
            None => "customerId needs to be a positive int64",
        },
        (Some(_), Some(_)) => "give either customerId or googleWorkspaceCustomerId, not both",
    };
    (None, Some(InputFault::new(FailureCode::InvalidCustomer, message)))
}

/// Puts the device into the command, and checks both. On an error the command holds what is known.
fn fill(
    command: &mut Command,
    device: OrderDevice,
    event_fault: Option<&InputFault>,
) -> Result<(), InputFault> {
    command.device = device.ids;
    command.device_id = device.device_id;
    if let Some(fault) = device.fault.as_ref().or(event_fault) {
        // Normalised if possible, so that the outcome is keyed like others of the device.
        if let Ok(ids) = command.device.clone().normalise(true) {
            command.device = ids;
        }
        return Err(fault.clone());
    }
    let is_claim = command.action == Action::Claim;
    let may_lack_identifiers = !is_claim && command.device_id.is_some();
    command.device = command.device.clone().normalise(may_lack_identifiers)?;
    command.metadata.extend(device.metadata);
    int64_field("deviceId", &mut command.device_id)?;
    command.configuration_id = device.configuration_id;
    int64_field("configurationId", &mut command.configuration_id)?;
    command.pre_provisioning_token = device.pre_provisioning_token;
    if device.section_type.is_some_and(|section| section != SECTION_ZERO_TOUCH) {
        let message = format!("sectionType needs to be {SECTION_ZERO_TOUCH}");
        return Err(InputFault::new(FailureCode::InvalidField, message));
    }
    match command.cause {
        Cause::Sale => check_claim(command),
        Cause::Amendment if command.metadata.is_empty() => {
            let message = "an amendment needs metadata, of the event or of the device";
            Err(InputFault::new(FailureCode::InvalidMetadata, message))
        }
        Cause::Return | Cause::Cancellation | Cause::Amendment => Ok(()),
    }
}

fn int64_field(name: &str, field: &mut Option<String>) -> Result<(), InputFault> {
    if let Some(text) = field {
        *text = positive_int64(text).ok_or_else(|| {
            let message = format!("{name} needs to be a positive int64");
            InputFault::new(FailureCode::InvalidField, message)
        })?;
    }
    Ok(())
}

fn check_claim(command: &Command) -> Result<(), InputFault> {
    let has_token = command.pre_provisioning_token.is_some();
    let (code, message) = match (&command.customer, command.device.is_chrome_os()) {
        (None, _) => {
            (FailureCode::InvalidCustomer, "a sale needs customerId or googleWorkspaceCustomerId")
        }
        (Some(Customer::Workspace(_)), false) => {
            (FailureCode::InvalidCustomer, "an Android device needs a customer by customerId")
        }
        (Some(Customer::ZeroTouch(_)), true) => (
            FailureCode::InvalidCustomer,
            "a ChromeOS device needs a customer by googleWorkspaceCustomerId",
        ),
        (Some(Customer::Workspace(_)), true) if !has_token => (
            FailureCode::IncompleteChromeOs,
            "the sale of a ChromeOS device needs preProvisioningToken",
        ),
        (Some(Customer::ZeroTouch(_)), false) if has_token => {
            (FailureCode::InvalidField, "preProvisioningToken is for ChromeOS devices only")
        }
        _ => return Ok(()),
    };
    Err(InputFault::new(code, message))
}

/// Refuses a device that an earlier line of the event has taken.
fn distinct(command: &Command, seen: &mut BTreeSet<DeviceKey>) -> Result<(), InputFault> {
    let Some(key) = command.device_key() else {
        let message = "nothing identifies the device";
        return Err(InputFault::new(FailureCode::NoIdentifier, message));
    };
    if seen.insert(key) {
        return Ok(());
    }
    let message = "an earlier line of the event names the same device";
    Err(InputFault::new(FailureCode::DuplicateDevice, message))
}

/// The commands of a line: one, or two that are to follow one another.
fn commands(mut command: Command) -> (Command, Option<Command>) {
    match command.cause {
        Cause::Sale => {
            let order_id = &command.order_id;
            let _ = command.metadata.entry(ORDER_NUMBER.into()).or_insert_with(|| order_id.clone());
        }
        Cause::Amendment => strip_claim(&mut command),
        Cause::Return | Cause::Cancellation => {
            strip_claim(&mut command);
            let metadata = std::mem::take(&mut command.metadata);
            if command.cause == Cause::Return && !metadata.is_empty() {
                let action = Action::UpdateMetadata;
                return (Command { action, metadata, ..command.clone() }, Some(command));
            }
        }
    }
    (command, None)
}

/// Drops what only a claim can carry.
fn strip_claim(command: &mut Command) {
    command.configuration_id = None;
    command.pre_provisioning_token = None;
}

fn refuse(mut command: Command, fault: InputFault) -> Refused {
    command.metadata = Metadata::new();
    let verdict = Verdict {
        status: Status::Failed,
        failure: Some(Box::new(Failure {
            code: fault.code,
            api_status: None,
            api_identifier: None,
            message: fault.message,
            retryable: false,
        })),
        decided_by: None,
        device_id: None,
        operation: None,
        attempts: 0,
        submitted_at: None,
        completed_at: command.received_at,
    };
    Refused { command, verdict }
}

/// Gives every line of an event a name of its own.
#[derive(Debug, Default)]
struct LineNames {
    /// Names given, each with the number of the last namesake.
    given: BTreeMap<String, u32>,
}

impl LineNames {
    fn name(&mut self, line: Option<String>, index: usize) -> String {
        let base = line.unwrap_or_else(|| index.to_string());
        let Some(last) = self.given.get(&base) else {
            let _ = self.given.insert(base.clone(), 1);
            return base;
        };
        let mut number = *last;
        loop {
            number += 1;
            let name = format!("{base}#{number}");
            if !self.given.contains_key(&name) {
                let _ = self.given.insert(base, number);
                let _ = self.given.insert(name.clone(), 1);
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests;
