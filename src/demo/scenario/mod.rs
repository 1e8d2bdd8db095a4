//! A realistic stream of order events, the same for the same seed, with what has to follow from it.
//!
//! Written by hand with `json!` and with identifiers of its own making, not with `wire` or `model`
//! functions: the expectation must not share a mistake with the worker. Holds only the orders that
//! something will still happen to (a few hundred), so a million devices cost no memory; whoever
//! needs the expectations again makes the same scenario again.

mod devices;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::{Cause, Customer, Source};
use crate::verify::{Expectation, OrderSeen};

use self::devices::{Fleet, Kind, Unit};
use self::record::Draft;

/// Customers of each kind.
const CUSTOMERS: u32 = 200;

/// What the scenario depends on.
#[derive(Clone, Copy, Debug)]
pub struct ScenarioOptions {
    /// Different devices that are sold, the invalid ones included.
    pub devices: u64,
    /// The same seed gives the same stream; different seeds give different devices.
    pub seed: u64,
    /// When the first event occurred; the others follow in short intervals.
    pub start: Timestamp,
}

/// What a record of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemKind {
    /// A readable order event.
    Event(Cause),
    /// Bytes that are no JSON.
    Garbage,
    /// An order event of a type that does not exist.
    UnknownType,
}

/// One record to write to the order topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// The record's key: the order id, so that the events of an order keep their sequence.
    pub key: String,
    /// The event's id; empty if it is no event.
    pub event_id: String,
    /// The record's headers.
    pub headers: Vec<(&'static str, String)>,
    /// The record's value.
    pub payload: Vec<u8>,
    /// Order lines in it.
    pub lines: usize,
    /// Devices that are sold in it for the first time: in the end all that were asked for.
    pub sold: usize,
    /// What has to follow from it.
    pub expectation: Expectation,
}

impl Item {
    /// What the oracle needs to know, once it is known where the record was written.
    #[must_use]
    pub fn written_at(self, source: Source, recorded_at: Option<Timestamp>) -> OrderSeen {
        let Self { event_id, expectation, .. } = self;
        OrderSeen { source, recorded_at, event_id, expectation }
    }
}

/// An order, as sold.
#[derive(Debug)]
struct Order {
    id: String,
    customer: Customer,
    units: Vec<Unit>,
}

/// Something that will happen to an order.
#[derive(Debug)]
struct Plan {
    cause: Cause,
    order: Arc<Order>,
    /// Places of the order's units that it concerns.
    lines: Vec<usize>,
    /// Whether what comes back is sold again.
    is_resold: bool,
}

/// The stream. Ends when all devices are sold and nothing is left to happen.
#[derive(Debug)]
pub struct Scenario {
    rng: ChaCha8Rng,
    fleet: Fleet,
    start: Timestamp,
    devices: u64,
    sold: u64,
    orders: u64,
    /// Records made so far.
    records: u64,
    /// What is still to happen: when, in records made, and in which sequence it was planned.
    due: BTreeMap<(u64, u64), Plan>,
    planned: u64,
    is_garbage_made: bool,
    is_unknown_made: bool,
}

impl Scenario {
    /// Begins the stream.
    #[must_use]
    pub fn new(options: ScenarioOptions) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            fleet: Fleet::new(options.seed),
            start: options.start,
            devices: options.devices,
            sold: 0,
            orders: 0,
            records: 0,
            due: BTreeMap::new(),
            planned: 0,
            is_garbage_made: false,
            is_unknown_made: false,
        }
    }

    fn draft(&mut self) -> Draft<'_> {
        self.records += 1;
        Draft {
            rng: &mut self.rng,
            fleet: &self.fleet,
            number: self.records,
            occurred_at: self.start + jiff::SignedDuration::from_millis(37 * self.records as i64),
        }
    }

    /// What is to happen now, or at all if nothing new will come.
    fn take_due(&mut self) -> Option<Plan> {
        let entry = self.due.first_entry()?;
        let is_due = entry.key().0 <= self.records || self.sold >= self.devices;
        is_due.then(|| entry.remove())
    }

    fn plan(&mut self, records: std::ops::Range<u64>, plan: Plan) {
        self.planned += 1;
        let due = self.records + self.rng.random_range(records);
        self.due.insert((due, self.planned), plan);
    }

    /// Mostly one to five devices, some dozens, a few hundreds; never more than are left.
    fn order_size(&mut self) -> u64 {
        let rng = &mut self.rng;
        let size = match rng.random_range(0..1000) {
            0..450 => 1,
            450..900 => rng.random_range(2..=5),
            900..985 => rng.random_range(6..=60),
            _ => rng.random_range(61..=500),
        };
        size.min(self.devices - self.sold)
    }

    fn new_order(&mut self) -> Arc<Order> {
        let is_chrome_os = self.rng.random_ratio(1, 50);
        let size = self.order_size();
        let units = (0..size)
            .map(|_| {
                self.sold += 1;
                let kind = match self.rng.random_range(0..1000) {
                    _ if is_chrome_os => Kind::ChromeOs,
                    0..5 => Kind::BadImei,
                    5..45 => Kind::Tablet,
                    45..500 => Kind::DualSim,
                    _ => Kind::SingleSim,
                };
                Unit { number: self.sold, kind }
            })
            .collect();
        self.order_of(units, None)
    }

    fn order_of(&mut self, units: Vec<Unit>, not_for: Option<&Customer>) -> Arc<Order> {
        self.orders += 1;
        let is_chrome_os = units.first().is_some_and(|unit| unit.kind == Kind::ChromeOs);
        let name = |number: u32| match is_chrome_os {
            true => Customer::Workspace(format!("C0demo{number:03}")),
            false => Customer::ZeroTouch(format!("{}", 1_000_000_000 + number)),
        };
        let number = self.rng.random_range(0..CUSTOMERS);
        let mut customer = name(number);
        if not_for == Some(&customer) {
            customer = name((number + 1) % CUSTOMERS);
        }
        Arc::new(Order { id: format!("SO-{:07}", self.orders), customer, units })
    }

    /// Decides what will happen to an order that is being sold.
    fn plan_future(&mut self, order: &Arc<Order>) {
        let valid: Vec<usize> =
            (0..order.units.len()).filter(|&at| order.units[at].kind != Kind::BadImei).collect();
        let Some(&first) = valid.first() else { return };
        // Google documents metadata updates for Android only.
        let may_amend = order.units[first].kind != Kind::ChromeOs;
        let plan = |cause, lines: &[usize]| {
            let (order, lines) = (Arc::clone(order), lines.to_vec());
            Plan { cause, order, lines, is_resold: false }
        };
        match self.rng.random_range(0..1000) {
            0..30 => self.plan(0..1, plan(Cause::Cancellation, &valid)),
            30..45 => self.plan(5..40, plan(Cause::Cancellation, &valid)),
            45..95 if may_amend => self.plan(0..3, plan(Cause::Amendment, &valid)),
            95..125 if may_amend => self.plan(20..120, plan(Cause::Amendment, &valid)),
            125..200 => {
                if may_amend && self.rng.random_ratio(1, 5) {
                    self.plan(0..2, plan(Cause::Amendment, &valid));
                }
                let count = self.rng.random_range(1..=valid.len().min(5));
                let from = self.rng.random_range(0..=valid.len() - count);
                let is_resold = self.rng.random_bool(0.5);
                let delay = if self.rng.random_bool(0.4) { 2..6 } else { 10..150 };
                let returned = plan(Cause::Return, &valid[from..from + count]);
                self.plan(delay, Plan { is_resold, ..returned });
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, plan: &Plan) -> Item {
        let item = self.draft().event(plan.cause, &plan.order, &plan.lines);
        match plan.cause {
            Cause::Sale => self.plan_future(&plan.order),
            Cause::Return if plan.is_resold => {
                let units = plan.lines.iter().map(|&at| plan.order.units[at]).collect();
                let order = self.order_of(units, Some(&plan.order.customer));
                self.plan(0..6, sale_of(order));
            }
            Cause::Return | Cause::Cancellation | Cause::Amendment => {}
        }
        item
    }
}

fn sale_of(order: Arc<Order>) -> Plan {
    let lines = (0..order.units.len()).collect();
    Plan { cause: Cause::Sale, order, lines, is_resold: false }
}

impl Iterator for Scenario {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if !self.is_garbage_made && self.sold >= self.devices / 3 {
            self.is_garbage_made = true;
            return Some(self.draft().garbage());
        }
        if !self.is_unknown_made && self.sold >= self.devices / 3 * 2 {
            self.is_unknown_made = true;
            return Some(self.draft().unknown_type());
        }
        if let Some(plan) = self.take_due() {
            return Some(self.carry_out(&plan));
        }
        if self.sold >= self.devices {
            return None;
        }
        let order = self.new_order();
        let item = self.carry_out(&sale_of(order));
        Some(Item { sold: item.lines, ..item })
    }
}

#[cfg(test)]
mod tests;
