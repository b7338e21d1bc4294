//! The workers of a stage's block, one by one.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use minigun_os::{Pid, procfs};

use crate::meter::{StateCell, WAITS_FOR_INPUT, WAITS_FOR_ROOM};

/// One worker, as the others may read it. A process that replaces another takes over its place.
pub(crate) struct WorkerStats {
    place: usize,
    state: StateCell,
    /// 0: none, or a thread.
    pid: AtomicU32,
    items: AtomicU64,
    restarts: AtomicU64,
    peak: AtomicU64,
}

/// A reading of one worker's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct WorkerFigures {
    /// The process in which it runs; `None` for a thread of the program, and where there is none at the moment.
    pub pid: Option<u32>,
    /// What it does.
    pub state: WorkerState,
    /// Items it has dealt with, those of the processes that were here before it included. An attempt that is to be
    /// followed by another does not count.
    pub items: u64,
    /// Processes here that were replaced because they died.
    pub restarts: u64,
    /// Resident memory of its process at this moment, in bytes, what it shares with the program included; `None`
    /// for a thread.
    pub memory: Option<u64>,
    /// The most that a process here was seen to have, in bytes; told when it ends. `None` if no process has ended.
    pub peak_memory: Option<u64>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// It is being forked, or its hooks and `_init` closures run.
    Starting,
    /// It has items: they run, or are on their way to it or back.
    Working,
    /// It has nothing to do: what comes before it is slower.
    WaitingForInput,
    /// What it made finds no room: what comes behind it is slower.
    WaitingForRoom,
    /// It has ended, and there may be another.
    Ended,
}

impl WorkerState {
    fn code(self) -> u8 {
        match self {
            WorkerState::Starting => 0,
            WorkerState::Working => 1,
            WorkerState::Ended => 2,
            WorkerState::WaitingForInput => WAITS_FOR_INPUT,
            WorkerState::WaitingForRoom => WAITS_FOR_ROOM,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => WorkerState::Working,
            2 => WorkerState::Ended,
            WAITS_FOR_INPUT => WorkerState::WaitingForInput,
            WAITS_FOR_ROOM => WorkerState::WaitingForRoom,
            _ => WorkerState::Starting,
        }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkerState::Starting => "starting",
            WorkerState::Working => "working",
            WorkerState::WaitingForInput => "waiting for input",
            WorkerState::WaitingForRoom => "waiting for room",
            WorkerState::Ended => "ended",
        })
    }
}

impl WorkerStats {
    pub(crate) fn new(place: usize) -> Self {
        WorkerStats {
            place,
            state: StateCell::default(),
            pid: AtomicU32::new(0),
            items: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    /// Its place among the workers of its block.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    pub(crate) fn is(&self, state: WorkerState) {
        self.state.set(state.code());
    }

    /// For whoever waits on the worker's behalf.
    pub(crate) fn state(&self) -> StateCell {
        self.state.clone()
    }

    /// A process works here from now on.
    pub(crate) fn runs_in(&self, pid: Option<u32>) {
        self.pid.store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    pub(crate) fn dealt_with(&self, items: u64) {
        self.items.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// A process here had so much memory at most; 0: not known.
    pub(crate) fn peaked(&self, bytes: u64) {
        self.peak.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// 0: not known.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn figures(&self) -> WorkerFigures {
        let state = WorkerState::from_code(self.state.get());
        let pid = self.pid().filter(|_| state != WorkerState::Ended);
        let peak = self.peak();
        WorkerFigures {
            pid,
            state,
            items: self.items.load(Ordering::Relaxed),
            restarts: self.restarts(),
            memory: pid.and_then(Pid::new).and_then(|pid| procfs::resident_memory(pid).ok()),
            peak_memory: (peak > 0).then_some(peak),
        }
    }
}
