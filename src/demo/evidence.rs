//! What the sandbox saw, in the oracle's words.

use crate::model::Action;
use crate::sandbox::{Delivery, Method, OperationEntry, State};
use crate::verify::{ChangeSeen, DeviceSeen, KeyText, OperationSeen};

use super::summary::{BatchSizes, MethodCalls};
use super::witness::Seen;

/// Adds operations, changes and final devices to what was read from Kafka. If workers were killed,
/// the name of an operation that nothing in Kafka tells was lost with one of them.
pub(super) fn add(Seen { history, named, .. }: &mut Seen, state: &State, were_killed: bool) {
    let log = state.log();
    let is_lost = |operation: &OperationEntry| {
        operation.delivery != Delivery::Sent || (were_killed && !named.contains(&operation.name))
    };
    history.operations.extend(log.operations.entries.iter().filter_map(|operation| {
        Some(OperationSeen {
            name: operation.name.clone(),
            action: action(operation.method)?,
            devices: operation.items.iter().map(|item| item.device.clone().into()).collect(),
            started: operation.accepted_at,
            ended: Some(operation.ends_at).filter(|_| operation.ended),
            reply_lost: is_lost(operation),
        })
    }));
    history.changes.extend(log.changes.entries.iter().filter_map(|change| {
        Some(ChangeSeen {
            device: change.device.clone().into(),
            at: change.time,
            action: action(change.method)?,
            from: change.from.as_ref().map(|holder| holder.customer.clone()),
            to: change.to.as_ref().map(|holder| holder.customer.clone()),
        })
    }));
    history.devices.extend(state.devices().map(|record| DeviceSeen {
        device: record.device.clone().into(),
        owner: record.claim.as_ref().map(|holder| holder.customer.clone()),
        metadata: record.metadata.clone(),
    }));
}

/// Calls by method, those with batches against the fewest possible.
pub(super) fn calls(state: &State, batch_items_max: u64) -> Vec<MethodCalls> {
    let stats = &state.log().stats;
    let batched = |method: Method| {
        let devices = stats.items.get(&method).map_or(0, |batches| batches.items);
        let name = format!("devices:{method}");
        let calls = stats.calls.get(&method)?.values().sum();
        Some(MethodCalls::batched(&name, calls, devices, batch_items_max))
    };
    let single = |method: Method| {
        let calls = stats.calls.get(&method)?.values().sum();
        Some(MethodCalls::single(method.as_str(), calls))
    };
    let batches = [Method::ClaimAsync, Method::UnclaimAsync, Method::UpdateMetadataAsync];
    let others = [Method::GetOperation, Method::FindByIdentifier, Method::GetDevice];
    batches.into_iter().filter_map(batched).chain(others.into_iter().filter_map(single)).collect()
}

/// The sizes of all batches that the API took.
pub(super) fn batch_sizes(state: &State) -> Option<BatchSizes> {
    let operations = &state.log().operations.entries;
    BatchSizes::of(operations.iter().map(|operation| operation.items.len() as u64).collect())
}

/// Every item that succeeded or that is not known not to: its operation, device and action.
pub(super) fn writes(state: &State) -> impl Iterator<Item = (&str, KeyText, Action)> {
    let operations = state.log().operations.entries.iter();
    operations.flat_map(|operation| {
        let items = operation.items.iter().filter(|item| {
            item.status.as_deref().is_none_or(|status| status.ends_with("STATUS_SUCCESS"))
        });
        let action = action(operation.method);
        items.filter_map(move |item| Some((&*operation.name, item.device.clone().into(), action?)))
    })
}

/// Devices in operations that have not ended.
pub(super) fn in_flight(state: &State) -> u64 {
    let operations = state.log().operations.entries.iter();
    operations.filter(|operation| !operation.ended).map(|o| o.items.len() as u64).sum()
}

/// All calls.
pub(super) fn calls_made(state: &State) -> u64 {
    state.log().stats.calls.values().flat_map(|by_status| by_status.values()).sum()
}

const fn action(method: Method) -> Option<Action> {
    match method {
        Method::ClaimAsync => Some(Action::Claim),
        Method::UnclaimAsync => Some(Action::Unclaim),
        Method::UpdateMetadataAsync => Some(Action::UpdateMetadata),
        Method::Claim
        | Method::Unclaim
        | Method::Metadata
        | Method::FindByIdentifier
        | Method::FindByOwner
        | Method::GetDevice
        | Method::CreateCustomer
        | Method::ListCustomers
        | Method::ListVendors
        | Method::ListVendorCustomers
        | Method::GetOperation
        | Method::None => None,
    }
}
