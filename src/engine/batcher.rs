//! Group commit of commands into batches, for one account and one action.
//!
//! A batch closes when it is full, or when nothing has joined for the linger and nothing more is
//! known to come. Since a call also
//! needs a token of the quota, and only one submit of an action is under way at a time, batches
//! grow with the load by themselves: no fixed size, no fixed timer.

use std::collections::VecDeque;

use super::batch::BatchIx;
use super::slots::SlotRef;
use super::{Mono, Options};

/// What a batch that closes does with a command of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It goes into the batch.
    Now,
    /// The batch is full; it goes into the next one.
    Later,
    /// It is there no longer.
    Never,
}

/// The commands that are ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    /// In order of becoming ready. Names that are out of date are skipped.
    queue: VecDeque<SlotRef>,
    /// Commands in the queue that are really there.
    ready: usize,
    /// When the first of them came, counted from the last time a batch closed.
    first: Mono,
    /// When the last one came.
    last: Mono,
    /// The batch of this action that is between its intent and the API's answer.
    pub(crate) submitting: Option<BatchIx>,
}

impl Batcher {
    /// A command became ready.
    pub(crate) fn join(&mut self, now: Mono, command: SlotRef) {
        if self.ready == 0 {
            self.first = now;
        }
        self.last = now;
        self.ready += 1;
        self.queue.push_back(command);
    }

    /// A ready command went away: folded, or its lane dropped.
    pub(crate) fn leave(&mut self) {
        self.ready -= 1;
    }

    /// Since when the next batch has been waiting.
    pub(crate) fn first(&self) -> Mono {
        self.first
    }

    /// Commands waiting.
    pub(crate) fn len(&self) -> usize {
        self.ready
    }

    /// When the next batch may close, the quota permitting; `None` while nothing waits or a
    /// submit is under way. With `more_to_come` a batch that is not full waits as long as it may;
    /// else the longer the scarcer the quota is (0 to 1), so that calls are saved before they run
    /// out.
    pub(crate) fn due(&self, options: &Options, more_to_come: bool, scarcity: f64) -> Option<Mono> {
        if self.ready == 0 || self.submitting.is_some() {
            None
        } else if self.ready >= options.batch_items_max {
            Some(Mono::default())
        } else {
            let latest = self.first + options.batch_linger_max;
            let quiet = self.last + options.batch_linger;
            let saving = self.first + options.batch_linger_max.mul_f64(scarcity);
            Some(if more_to_come { latest } else { quiet.max(saving).min(latest) })
        }
    }

    /// Takes the longest waiting commands, at most `items_max` of them, until `take` says `Later`.
    /// The first command must never be left for later.
    pub(crate) fn close(
        &mut self,
        now: Mono,
        items_max: usize,
        mut take: impl FnMut(SlotRef) -> Take,
    ) -> Vec<SlotRef> {
        let mut items = Vec::with_capacity(items_max.min(self.ready));
        while items.len() < items_max {
            let Some(command) = self.queue.pop_front() else { break };
            match take(command) {
                Take::Now => items.push(command),
                Take::Later => {
                    self.queue.push_front(command);
                    break;
                }
                Take::Never => {}
            }
        }
        self.ready -= items.len();
        self.first = now;
        items
    }
}
