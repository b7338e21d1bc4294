//! What a queue holds, behind its lock.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use minigun_os::{Event, RingReader};

use super::Kept;
use super::patience::{Crumbs, Heels};
use crate::gate::Gate;

pub(super) struct State<T> {
    /// One for each sender. A lane whose sender is gone stays until it is empty.
    pub(super) lanes: Vec<RingReader<T>>,
    /// The lane to take from next.
    pub(super) next: usize,
    /// Lanes may be without a sender.
    pub(super) left_lanes: bool,
    pub(super) later: BinaryHeap<Later<T>>,
    /// Items taken by consumers that may still come back for another attempt.
    pub(super) out: usize,
    /// Those that keep the queue open.
    pub(super) senders: usize,
    /// All senders that have a lane.
    pub(super) ways: usize,
    pub(super) taken: u64,
    /// Where items get their numbers, if not by what was taken.
    pub(super) numbers: Option<Arc<AtomicU64>>,
    pub(super) stopped: bool,
    pub(super) closed: bool,
    /// It stands in a loop that has not ended.
    pub(super) in_loop: bool,
    /// So often whoever takes from here is to let go of what it gathered.
    pub(super) asked: usize,
    /// What waits for another attempt is due at once.
    pub(super) hurried: bool,
    pub(super) gate: Option<Gate>,
    /// Consumers that wait and were not called yet, and such that were called and did not answer yet.
    pub(super) idle: usize,
    pub(super) called: usize,
    pub(super) blocked: usize,
    /// What those find who look again and again.
    pub(super) crumbs: Crumbs,
    pub(super) heels: Heels,
    pub(super) events: Vec<Arc<Event>>,
}

pub(super) struct Later<T> {
    pub(super) due: Instant,
    pub(super) kept: Kept<T>,
}

impl<T> PartialEq for Later<T> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl<T> Eq for Later<T> {}
impl<T> PartialOrd for Later<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Later<T> {
    /// The earliest is the greatest, for the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

impl<T> State<T> {
    pub(super) fn new() -> Self {
        State {
            lanes: Vec::new(),
            next: 0,
            left_lanes: false,
            later: BinaryHeap::new(),
            out: 0,
            senders: 0,
            ways: 0,
            taken: 0,
            numbers: None,
            stopped: false,
            closed: false,
            in_loop: false,
            asked: 0,
            hurried: false,
            gate: None,
            idle: 0,
            called: 0,
            blocked: 0,
            crumbs: Crumbs::default(),
            heels: Heels::default(),
            events: Vec::new(),
        }
    }

    /// How many items could be taken now.
    pub(super) fn ready(&self) -> usize {
        self.lanes.iter().map(RingReader::len).sum()
    }

    pub(super) fn ended(&self) -> bool {
        let no_more = (self.senders == 0 || self.closed) && !self.in_loop;
        self.stopped || (no_more && self.later.is_empty() && self.out == 0 && self.ready() == 0)
    }

    /// Takes from one lane after the other, beginning behind the one that came last.
    ///
    /// Lanes that were left come first: a worker that had to build its steps anew has a new lane, and what it sent
    /// before is older than what it sends now.
    pub(super) fn take_lanes(&mut self, run: &mut Vec<T>, max: usize) -> usize {
        let mut count = 0;
        if self.left_lanes {
            for lane in self.lanes.iter_mut().filter(|lane| lane.is_abandoned()) {
                count += lane.take(run, max - count);
            }
        }
        for _ in 0..self.lanes.len() {
            if count == max {
                break;
            }
            self.next = (self.next + 1) % self.lanes.len();
            count += self.lanes[self.next].take(run, max - count);
        }
        if self.left_lanes {
            self.lanes.retain(|lane| !lane.is_abandoned() || !lane.is_empty());
            self.left_lanes = self.lanes.iter().any(RingReader::is_abandoned);
        }
        count
    }
}
