//! What is to happen, by its time; of the same time, in the order in which it was said.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::world::Event;

#[derive(Default)]
pub(crate) struct Queue {
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    sequence: u64,
    /// The events stay where they are: the heap moves only their numbers.
    events: Vec<Option<Event>>,
    free: Vec<usize>,
}

impl Queue {
    pub(crate) fn push(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.order.push(Reverse((time, self.sequence, place)));
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((time, _, place)) = self.order.pop()?;
        self.free.push(place);
        Some((time, self.events[place].take()?))
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}
