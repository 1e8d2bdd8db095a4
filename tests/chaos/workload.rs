//! Order events drawn from a seed: devices are sold, amended, returned, cancelled and sold again.
//!
//! Devices live in baskets. The events of an ordinary basket are all in one partition of the order
//! topic and make sense one after the other. Those of a crossed basket are keyed by order: they
//! arrive in any order, so that sales fail, and returns come for orders that hold nothing.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::client::Record;
use crate::events::{event, sale};
use crate::world::PARTITIONS;

const OPEN_BASKETS: usize = 250;

pub(crate) struct Workload {
    open: Vec<Basket>,
    devices: u64,
    orders: u64,
    events: u64,
    /// Commands that the events so far make.
    pub(crate) changes: usize,
}

struct Basket {
    devices: Vec<u64>,
    partition: i32,
    is_crossed: bool,
    /// The order that holds the devices, if its basket is an ordinary one.
    holder: Option<String>,
    past: Vec<String>,
    left: u32,
}

impl Workload {
    pub(crate) fn new() -> Self {
        Self { open: Vec::new(), devices: 0, orders: 0, events: 0, changes: 0 }
    }

    /// Events that make at least this many commands, each with the record it is sent as.
    pub(crate) fn draw(
        &mut self,
        rng: &mut ChaCha8Rng,
        topic: &str,
        changes: usize,
    ) -> Vec<(Value, Record)> {
        let (mut events, wanted) = (Vec::new(), self.changes + changes);
        while self.changes < wanted {
            while self.open.len() < OPEN_BASKETS {
                let basket = self.basket(rng);
                self.open.push(basket);
            }
            let chosen = rng.random_range(0..self.open.len());
            let mut basket = self.open.swap_remove(chosen);
            let event = self.step(rng, &mut basket);
            let order = event["orderId"].as_str().unwrap().as_bytes().to_vec();
            let record = Record {
                topic: topic.to_owned(),
                partition: (!basket.is_crossed).then_some(basket.partition),
                key: Some(order),
                value: Some(event.to_string().into_bytes()),
                ..Record::default()
            };
            let twice = event["type"] == "return" && event["metadata"].is_object();
            self.changes += basket.devices.len() * if twice { 2 } else { 1 };
            events.push((event, record));
            basket.left -= 1;
            if basket.left > 0 {
                self.open.push(basket);
            }
        }
        events
    }

    fn basket(&mut self, rng: &mut ChaCha8Rng) -> Basket {
        let size = if rng.random_bool(0.5) { 1 } else { rng.random_range(2..=12) };
        let first = self.devices;
        self.devices += size;
        Basket {
            devices: (first..first + size).collect(),
            partition: rng.random_range(0..PARTITIONS),
            is_crossed: rng.random_bool(0.2),
            holder: None,
            past: Vec::new(),
            left: rng.random_range(3..=8),
        }
    }

    fn step(&mut self, rng: &mut ChaCha8Rng, basket: &mut Basket) -> Value {
        self.events += 1;
        let id = format!("event-{}", self.events);
        if basket.is_crossed { self.crossed(rng, basket, &id) } else { self.life(rng, basket, &id) }
    }

    fn sale(&mut self, rng: &mut ChaCha8Rng, basket: &mut Basket, id: &str) -> Value {
        self.orders += 1;
        let order = format!("order-{}", self.orders);
        // Each order of a crossed basket has another customer, so that a second claim fails.
        let customer = if basket.is_crossed {
            (1_000 + self.orders).to_string()
        } else {
            rng.random_range(100..105).to_string()
        };
        let event = sale(id, &order, &customer, &basket.devices);
        basket.past.push(order);
        event
    }

    fn crossed(&mut self, rng: &mut ChaCha8Rng, basket: &mut Basket, id: &str) -> Value {
        if basket.past.is_empty() || rng.random_bool(0.4) {
            return self.sale(rng, basket, id);
        }
        let order = &basket.past[rng.random_range(0..basket.past.len())];
        let kind = if rng.random_bool(0.5) { "return" } else { "cancellation" };
        event(kind, id, order, &basket.devices)
    }

    fn life(&mut self, rng: &mut ChaCha8Rng, basket: &mut Basket, id: &str) -> Value {
        let Some(order) = basket.holder.clone() else {
            let mut event = self.sale(rng, basket, id);
            basket.holder = basket.past.last().cloned();
            if rng.random_bool(0.3) {
                event["metadata"] = json!({"colour": "black", "shop": id});
            }
            return event;
        };
        let of = |kind: &str, order: &str| event(kind, id, order, &basket.devices);
        match rng.random_range(0..100) {
            0..45 => {
                let mut event = of("amendment", &order);
                // An empty value deletes.
                let colour = if rng.random_bool(0.3) { "" } else { id };
                event["metadata"] = json!({"colour": colour, "last": id});
                event
            }
            // A return of an order that holds the devices no more.
            45..55 if basket.past.len() > 1 => of("return", &basket.past[0]),
            45..70 => {
                basket.holder = None;
                of("return", &order)
            }
            70..85 => {
                basket.holder = None;
                let mut event = of("return", &order);
                event["metadata"] = json!({"reason": id});
                event
            }
            _ => {
                basket.holder = None;
                of("cancellation", &order)
            }
        }
    }
}
