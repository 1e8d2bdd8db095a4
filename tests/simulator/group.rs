//! The group's coordinator: members join, are silent, leave; partitions are dealt cooperatively, so
//! that one that moves is given to nobody before its owner has joined without it.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use crate::kafka::{Member, Meta};
use crate::world::{Event, Message, World, nanos};

impl World {
    pub(crate) fn on_join(
        &mut self,
        (slot, session): (usize, u32),
        request: u32,
        member: Option<u32>,
        owned: BTreeSet<i32>,
    ) {
        if self.slots[slot].session.as_ref().is_none_or(|current| current.id != session) {
            return;
        }
        if let Some(name) = member {
            let Some(state) = self.kafka.group.members.get_mut(&name) else {
                return self.tell_lost(name, slot);
            };
            (state.owned, state.joined, state.request) = (owned, true, request);
            self.begin_round();
            return self.complete_round_if_all_joined();
        }
        // Asked again: what the earlier request made is nobody's. Kafka would wait for its session
        // to time out.
        if let Some(nobody) = self.member_of(slot, session) {
            self.kafka.group.members.remove(&nobody);
        }
        let name = self.kafka.group.next_member;
        self.kafka.group.next_member += 1;
        let new = Member {
            slot,
            session,
            owned: BTreeSet::new(),
            assigned: BTreeSet::new(),
            joined: true,
            request,
            silent_since: None,
        };
        if self.plan.static_members && self.take_place(slot, name, &new) {
            return self.complete_round_if_all_joined();
        }
        self.kafka.group.members.insert(name, new);
        self.begin_round();
        self.complete_round_if_all_joined();
    }

    /// A static member that comes back takes its old place, without a rebalance; its old name is
    /// fenced.
    fn take_place(&mut self, slot: usize, name: u32, new: &Member) -> bool {
        let group = &mut self.kafka.group;
        let Some(old) = group.members.iter().find(|(_, m)| m.slot == slot).map(|(name, _)| *name)
        else {
            return false;
        };
        let Some(old) = group.members.remove(&old) else { return false };
        let assigned = old.assigned;
        let (session, request, generation) = (new.session, new.request, group.generation);
        let dealt: usize = group.members.values().map(|member| member.assigned.len()).sum();
        // Its old process may have given up what nobody else has got since.
        let is_complete = dealt + assigned.len() == self.kafka.lanes.len();
        let is_stable = !group.joining && is_complete;
        let member = Member {
            slot,
            session,
            assigned: assigned.clone(),
            owned: BTreeSet::new(),
            joined: !is_stable,
            request,
            silent_since: None,
        };
        group.members.insert(name, member);
        if is_stable {
            let meta = Meta { member: name, generation };
            self.tell_member(slot, session, Message::Synced { request, meta, assigned });
        } else {
            self.begin_round();
        }
        true
    }

    /// One connection: what the coordinator says arrives in the order in which it was said.
    fn tell_member(&mut self, slot: usize, session: u32, message: Message) {
        let wait = self.broker_wait();
        self.tell_member_after(wait, slot, session, message);
    }

    pub(crate) fn tell_member_after(
        &mut self,
        wait: u64,
        slot: usize,
        session: u32,
        message: Message,
    ) {
        let Some(current) = &mut self.slots[slot].session else { return };
        if current.id == session {
            let at = (self.now + wait).max(current.heard_until);
            current.heard_until = at;
            self.at(at, Event::Inbox { slot, session, message });
        }
    }

    /// The group no longer knows the member; the process hears of it at its next heartbeat.
    pub(crate) fn tell_lost(&mut self, member: u32, slot: usize) {
        let Some(session) = &self.slots[slot].session else { return };
        let id = session.id;
        let wait = self.rng.random_range(0..=nanos(self.plan.heartbeat));
        self.tell_member_after(wait, slot, id, Message::Lost { member: Some(member) });
    }

    pub(crate) fn on_leave(&mut self, member: u32) {
        if self.kafka.group.members.remove(&member).is_some() {
            self.begin_round();
            self.complete_round_if_all_joined();
        }
    }

    /// All members are to join again; each hears of it with its next heartbeat.
    pub(crate) fn begin_round(&mut self) {
        let group = &mut self.kafka.group;
        if group.joining || group.members.is_empty() {
            return;
        }
        group.joining = true;
        group.round += 1;
        let round = group.round;
        let mut absent = Vec::new();
        for (name, member) in &mut group.members {
            // Who has just joined has started this round.
            if member.joined {
                continue;
            }
            absent.push((*name, member.slot, member.session));
        }
        let timeout = nanos(self.plan.rebalance_timeout);
        self.after(timeout, Event::RoundEnds { round });
        for (member, slot, session) in absent {
            let wait = self.rng.random_range(0..=nanos(self.plan.heartbeat));
            if !self.slots[slot].is_cut_off {
                self.tell_member_after(wait, slot, session, Message::Rebalancing { member });
            }
        }
    }

    pub(crate) fn complete_round_if_all_joined(&mut self) {
        let group = &self.kafka.group;
        if group.joining && group.members.values().all(|member| member.joined) {
            self.complete_round();
        }
    }

    fn complete_round(&mut self) {
        let deal = self.rng.random();
        let partitions = self.plan.partitions;
        let group = &mut self.kafka.group;
        group.joining = false;
        group.generation += 1;
        let target = group.target(partitions, deal);
        let mut owner: BTreeMap<i32, u32> = BTreeMap::new();
        for (name, member) in &group.members {
            for partition in &member.owned {
                owner.insert(*partition, *name);
            }
        }
        let generation = group.generation;
        let mut replies = Vec::new();
        for (name, member) in &mut group.members {
            let mut given = target.get(name).cloned().unwrap_or_default();
            given.retain(|partition| owner.get(partition).is_none_or(|owner| owner == name));
            member.assigned = given.clone();
            member.joined = false;
            replies.push((*name, (member.slot, member.session, member.request), given));
        }
        self.note(|| format!("generation {generation}: {replies:?}"));
        self.checks.counts.event("rebalances", "");
        for (member, (slot, session, request), assigned) in replies {
            let meta = Meta { member, generation };
            self.tell_member(slot, session, Message::Synced { request, meta, assigned });
        }
    }

    pub(crate) fn on_round_ends(&mut self, round: u32) {
        let group = &mut self.kafka.group;
        if !group.joining || group.round != round {
            return;
        }
        let absent: Vec<u32> =
            group.members.iter().filter(|(_, m)| !m.joined).map(|(name, _)| *name).collect();
        for member in absent {
            self.expel(member);
        }
        if self.kafka.group.members.is_empty() {
            self.kafka.group.joining = false;
        } else {
            self.complete_round_if_all_joined();
        }
    }

    fn expel(&mut self, member: u32) {
        let Some(state) = self.kafka.group.members.remove(&member) else { return };
        self.note(|| format!("member {member} of w{} is given up", state.slot));
        let is_heard = self.slots[state.slot].frozen_until <= self.now
            && !self.slots[state.slot].is_cut_off
            && state.silent_since.is_none();
        if is_heard {
            self.tell_lost(member, state.slot);
        }
    }

    pub(crate) fn on_member_expires(&mut self, member: u32, since: u64) {
        let silent = self.kafka.group.members.get(&member).and_then(|state| state.silent_since);
        if silent == Some(since) {
            self.expel(member);
            if self.kafka.group.members.is_empty() {
                self.kafka.group.joining = false;
            }
            self.begin_round();
            self.complete_round_if_all_joined();
        }
    }
}
