//! Makes histories for the tests: a tiny worker and a tiny API that do everything right.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Action, Cause, CommandId, Customer, FailureCode, ORDER_NUMBER, OutcomeId};
use crate::model::{Source, Status};
use crate::verify::{
    ChangeSeen, CommandSeen, DeadLetterSeen, DeviceSeen, Expectation, ExpectedCommand, History,
    KeyText, OperationSeen, OrderSeen, Orders, OutcomeSeen, Report, WatermarkSeen, check,
};

pub(super) const PARTITIONS: i32 = 3;

const RECORDED_AT: Timestamp = Timestamp::UNIX_EPOCH;

fn id(source: &Source, action: Action) -> CommandId {
    CommandId::derive(source, Some(RECORDED_AT), "e", "1", action)
}

#[derive(Default)]
pub(super) struct World {
    pub(super) history: History,
    pub(super) orders: Vec<OrderSeen>,
    devices: BTreeMap<KeyText, DeviceSeen>,
    ends: BTreeMap<i32, i64>,
    seconds: i64,
}

pub(super) fn customer(name: &str) -> Customer {
    Customer::ZeroTouch(name.to_owned())
}

pub(super) fn key(device: usize) -> KeyText {
    KeyText::from(format!("imei:{device:015}"))
}

impl World {
    fn now(&mut self) -> Timestamp {
        self.seconds += 1;
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(self.seconds)
    }

    fn source(&self) -> Source {
        let topic = "orders".to_owned();
        Source { topic, partition: 0, offset: self.orders.len() as i64 }
    }

    fn order(&mut self, expectation: Expectation) -> Source {
        let source = self.source();
        self.orders.push(OrderSeen {
            source: source.clone(),
            recorded_at: Some(RECORDED_AT),
            event_id: "e".to_owned(),
            expectation,
        });
        source
    }

    /// An order event of one line, and its command.
    fn command(
        &mut self,
        device: usize,
        (action, cause): (Action, Cause),
        order: &str,
        owner: Option<&str>,
        metadata: &[(&str, &str)],
    ) -> usize {
        let metadata: BTreeMap<String, String> =
            metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let expected = ExpectedCommand {
            line: "1".to_owned(),
            action,
            cause,
            device: Some(key(device)),
            customer: owner.map(customer),
            metadata: metadata.clone(),
            order_id: order.to_owned(),
        };
        let source = self.order(Expectation::Commands(vec![expected]));
        let partition = device as i32 % PARTITIONS;
        let end = self.ends.entry(partition).or_default();
        // Control records leave gaps.
        *end += 1 + i64::from(self.orders.len().is_multiple_of(4));
        self.history.commands.push(CommandSeen {
            partition,
            offset: *end,
            command_id: id(&source, action),
            device: key(device),
            action,
            cause,
            customer: owner.map(customer),
            metadata,
            order_id: order.to_owned(),
        });
        self.history.commands.len() - 1
    }

    pub(super) fn sale(&mut self, device: usize, order: &str, owner: &str) -> usize {
        let metadata = [(ORDER_NUMBER, order)];
        self.command(device, (Action::Claim, Cause::Sale), order, Some(owner), &metadata)
    }

    pub(super) fn giving_back(&mut self, device: usize, order: &str) -> usize {
        self.command(device, (Action::Unclaim, Cause::Return), order, None, &[])
    }

    pub(super) fn cancellation(&mut self, device: usize, order: &str) -> usize {
        self.command(device, (Action::Unclaim, Cause::Cancellation), order, None, &[])
    }

    pub(super) fn amendment(&mut self, device: usize, order: &str, number: &str) -> usize {
        let metadata = [("phonenumber", number)];
        let what = (Action::UpdateMetadata, Cause::Amendment);
        self.command(device, what, order, None, &metadata)
    }

    pub(super) fn garbage(&mut self) {
        let source = self.order(Expectation::DeadLetter);
        self.history.dead_letters.push(DeadLetterSeen { source, reason: "not_json".to_owned() });
    }

    /// An order line with a wrong IMEI, refused by the intake.
    pub(super) fn invalid_line(&mut self) {
        let expected = ExpectedCommand {
            line: "1".to_owned(),
            action: Action::Claim,
            cause: Cause::Sale,
            device: None,
            customer: Some(customer("1")),
            metadata: BTreeMap::new(),
            order_id: "bad".to_owned(),
        };
        let source = self.order(Expectation::Commands(vec![expected]));
        let command_id = id(&source, Action::Claim);
        self.history.outcomes.push(OutcomeSeen {
            outcome_id: OutcomeId::from(command_id),
            command_id,
            device: None,
            action: Action::Claim,
            status: Status::Failed,
            code: Some(FailureCode::InvalidImei),
            decided_by: None,
        });
    }

    pub(super) fn decide(&mut self, command: usize, status: Status, by: Option<usize>) {
        let CommandSeen { command_id, device, action, .. } = self.history.commands[command].clone();
        self.history.outcomes.push(OutcomeSeen {
            outcome_id: OutcomeId::from(command_id),
            command_id,
            device: Some(device),
            action,
            status,
            code: (status == Status::Failed).then_some(FailureCode::DeviceOther),
            decided_by: by.map(|by| self.history.commands[by].command_id),
        });
    }

    /// Sends a command, with the metadata of others in it; the API does it.
    pub(super) fn send(&mut self, command: usize, absorbed: &[usize]) {
        let started = self.now();
        let at = self.now();
        let CommandSeen { device: key, action, customer, mut metadata, .. } =
            self.history.commands[command].clone();
        for &other in absorbed {
            metadata.extend(self.history.commands[other].metadata.clone());
        }
        let fresh = DeviceSeen { device: key.clone(), owner: None, metadata: BTreeMap::new() };
        let device = self.devices.entry(key.clone()).or_insert(fresh);
        let from = device.owner.clone();
        match action {
            Action::Claim => device.owner = customer,
            Action::Unclaim => device.owner = None,
            Action::UpdateMetadata => {}
        }
        device.metadata.extend(metadata);
        device.metadata.retain(|_, value| !value.is_empty());
        let to = device.owner.clone();
        self.history.changes.push(ChangeSeen { device: key.clone(), at, action, from, to });
        let name = format!("operations/{}", self.history.operations.len());
        let ended = Some(self.now());
        let operation =
            OperationSeen { name, action, devices: vec![key], started, ended, reply_lost: false };
        self.history.operations.push(operation);
    }

    /// Sends a command, which succeeds.
    pub(super) fn succeed(&mut self, command: usize) {
        self.send(command, &[]);
        self.decide(command, Status::Succeeded, None);
    }

    /// Commits what may be committed in every partition.
    pub(super) fn commit(&mut self) {
        let outcomes = &self.history.outcomes;
        let is_open = |c: &&CommandSeen| outcomes.iter().all(|o| o.command_id != c.command_id);
        for partition in 0..PARTITIONS {
            let of_partition = self.history.commands.iter().filter(|c| c.partition == partition);
            let open = of_partition.filter(is_open).map(|c| c.offset).min();
            let end = self.ends.get(&partition).map_or(0, |end| end + 1);
            let committed = open.unwrap_or(end);
            let outcomes_visible = outcomes.len();
            self.history.watermarks.push(WatermarkSeen { partition, committed, outcomes_visible });
        }
    }

    /// The history at rest.
    pub(super) fn rest(mut self) -> Self {
        self.commit();
        self.history.devices = self.devices.values().cloned().collect();
        self
    }

    pub(super) fn check(&self) -> Report {
        check(&self.history, Orders::Known(&mut self.orders.iter().cloned()))
    }
}
