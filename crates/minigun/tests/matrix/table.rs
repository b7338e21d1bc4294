//! Rows, columns, and what must happen in each cell.

use std::fmt;

use minigun::{Executor, FailureKind};

/// How a worker fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Exit,
    Abort,
    Segfault,
    Kill,
    /// It asks for more memory than its block allows, and aborts.
    Memory,
    /// It never goes on. Idle: it is stopped from outside.
    Hang,
    Panic,
    Error,
}

impl Way {
    /// The worker is gone afterwards, by itself or because the engine ended it.
    pub(crate) fn is_death(self) -> bool {
        !matches!(self, Way::Panic | Way::Error)
    }

    /// Whether an error or a report says of it what it must.
    pub(crate) fn is_told(self, when: Moment, text: &str) -> bool {
        let all: &[&str] = match self {
            Way::Exit => &["code 7"],
            Way::Abort => &["SIGABRT"],
            Way::Segfault => &["SIGSEGV"],
            Way::Kill => &["SIGKILL"],
            Way::Memory => &["memory limit of 512 MiB"],
            Way::Hang if when == Moment::After => &["did not end within 5s"],
            Way::Hang => &["deadline of"],
            Way::Panic => &["panicked", ": no luck"],
            Way::Error => &["no luck"],
        };
        all.iter().all(|said| text.contains(said))
    }

    /// As what kind of failure an item meets it.
    pub(crate) fn kind(self, when: Moment) -> FailureKind {
        match self {
            Way::Panic => FailureKind::Panic,
            Way::Error if when == Moment::Closure => FailureKind::Error,
            Way::Error => FailureKind::Codec,
            Way::Hang => FailureKind::Deadline,
            _ => FailureKind::Death,
        }
    }
}

/// When it fails, in the order of a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Never.
    Never,
    /// The item's `Serialize`, in the program.
    Write,
    AfterFork,
    Before,
    Init,
    /// The item's `Deserialize`.
    Decode,
    Closure,
    /// The result's `Serialize`.
    Encode,
    /// The `Serialize` of a value for a collector.
    Collect,
    /// It has nothing to do.
    Idle,
    After,
    /// The result's `Deserialize`, in the program.
    ReadBack,
    /// The `Deserialize` of a collected value, in the program.
    ReadCollected,
}

const MOMENTS: [Moment; 12] = [
    Moment::Write,
    Moment::AfterFork,
    Moment::Before,
    Moment::Init,
    Moment::Decode,
    Moment::Closure,
    Moment::Encode,
    Moment::Collect,
    Moment::Idle,
    Moment::After,
    Moment::ReadBack,
    Moment::ReadCollected,
];

impl Moment {
    pub(crate) fn is_in_program(self) -> bool {
        matches!(self, Moment::Write | Moment::ReadBack | Moment::ReadCollected)
    }

    /// Before the worker is ready.
    pub(crate) fn is_at_start(self) -> bool {
        matches!(self, Moment::AfterFork | Moment::Before | Moment::Init)
    }
}

/// How often it fails, and what the block is told to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each time, under `stop`.
    Stop,
    /// Each time, under `skip`.
    Skip,
    /// The first time only; items have two attempts.
    Once,
}

/// What must happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// The run ends with an error that names stage, item and cause.
    EndAtItem,
    /// The run ends when too many workers in a row died at their start, with the causes.
    EndAtStart,
    /// The run ends at the first worker that could not start, which is named with the cause.
    EndAtInit,
    /// The run ends and the hook is named with the cause.
    EndAtHook,
    /// The run ends, and collector and cause are named.
    EndAtCollector,
    /// The struck items are skipped with the cause; every other one arrives once. So many workers died.
    Skip { deaths: u64 },
    /// Every result arrives once; so many workers died and were replaced.
    Lose { nothing_with: Deaths },
    /// The cell makes no sense.
    Nothing { because: &'static str },
}

/// How many deaths there must have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deaths {
    Exactly(u64),
    /// Every worker once, a fresh one for each item.
    OfAllWorkers,
    /// Who was sent nothing was not missed: one at least.
    OfSome,
}

/// Room for all that a worker does but [`Way::Memory`].
pub(crate) const MEMORY_LIMIT: u64 = 512 << 20;
/// How often an item may kill before it is set aside, in all cells.
pub(crate) const CRASH_ATTEMPTS: u32 = 2;
/// The items that strike.
pub(crate) const STRUCK: u64 = 2;

/// The table.
fn must(way: Way, when: Moment, mode: Mode, fresh: bool) -> Must {
    use Must::{EndAtCollector, EndAtHook, EndAtInit, EndAtItem, EndAtStart};
    let nothing = |because| Must::Nothing { because };
    let lose = |deaths| Must::Lose { nothing_with: Deaths::Exactly(deaths) };
    let dies = way.is_death();
    let hangs = way == Way::Hang;
    match (when, mode) {
        (Moment::Never, _) => lose(0),

        (when, _) if hangs && when.is_in_program() => nothing("no thread of the program can be interrupted"),
        (when, _) if dies && when.is_in_program() => nothing("it is the program that dies, and all with it"),

        // An item that was never written cannot be sent again.
        (Moment::Write, Mode::Stop | Mode::Once) => EndAtItem,
        (Moment::Write, Mode::Skip) => Must::Skip { deaths: 0 },

        (Moment::AfterFork | Moment::Before | Moment::Init | Moment::After, Mode::Stop) => {
            nothing("policies are about items, so it is as under `skip`")
        }
        (Moment::AfterFork | Moment::Before | Moment::Init, _) if hangs => {
            nothing("`INIT_BOUND` ends it, and the run with it: a minute, which no setting shortens")
        }
        (Moment::AfterFork | Moment::Before | Moment::Init, Mode::Skip) if dies => EndAtStart,
        (Moment::AfterFork | Moment::Before | Moment::Init, Mode::Once) if dies => lose(1),
        (Moment::AfterFork, _) => EndAtHook,
        // What a closure refuses once it would refuse again, in as many workers as there may be.
        (Moment::Before | Moment::Init, _) => EndAtInit,

        (Moment::Decode | Moment::Closure | Moment::Encode | Moment::Collect, mode) => match mode {
            Mode::Stop => EndAtItem,
            Mode::Skip if dies => Must::Skip { deaths: u64::from(CRASH_ATTEMPTS) * STRUCK },
            Mode::Skip => Must::Skip { deaths: 0 },
            Mode::Once => lose(u64::from(dies)),
        },

        (Moment::Idle, _) if fresh => nothing("a fresh worker is forked with its item and ends with it"),
        (Moment::Idle, _) if !dies => nothing("an idle worker runs no code of ours that could fail"),
        (Moment::Idle, Mode::Skip) if hangs => Must::Lose { nothing_with: Deaths::OfSome },
        (Moment::Idle, Mode::Skip) => Must::Lose { nothing_with: Deaths::OfAllWorkers },
        (Moment::Idle, _) => nothing("there is no item to have a policy for, and `Skip` kills all of them"),

        (Moment::After, _) if hangs && fresh => nothing("as in a pool, with `GRACE` for each item: 5 s"),
        (Moment::After, Mode::Once) if hangs => nothing("as under `Skip`, and `GRACE` is 5 s each time"),
        // Its items were done and their results sent before. Its goodbye is lost, and the report says so.
        (Moment::After, Mode::Skip) if dies => Must::Lose { nothing_with: Deaths::OfAllWorkers },
        (Moment::After, Mode::Once) if dies => lose(1),
        (Moment::After, _) => EndAtHook,

        // What the item counted stands in one sum with what its neighbours counted, and was accepted.
        (Moment::ReadBack, _) => EndAtItem,
        (Moment::ReadCollected, _) => EndAtCollector,
    }
}

/// One cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) way: Option<Way>,
    pub(crate) when: Moment,
    pub(crate) mode: Mode,
    pub(crate) place: Executor,
    pub(crate) must: Must,
}

impl Cell {
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.place, Executor::ProcessPerBatch(_))
    }

    pub(crate) fn workers(&self) -> usize {
        match self.place {
            Executor::Processes(workers) | Executor::ProcessPerBatch(workers) => workers,
            other => unreachable!("{other} has no workers that die"),
        }
    }
}

/// As it is looked for in the output of a row that failed.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { way, when, mode, place, must } = self;
        match way {
            Some(way) => write!(f, "{way:?} at {when:?}, {mode:?}, in {place}: must {must:?}"),
            None => write!(f, "peace, {mode:?}, in {place}: must {must:?}"),
        }
    }
}

/// The cells of a row that make sense.
pub(crate) fn cells(way: Option<Way>) -> Vec<Cell> {
    let mut cells = Vec::new();
    let whens: &[Moment] = if way.is_some() { &MOMENTS } else { &[Moment::Never, Moment::Idle] };
    for workers in [1, 2, 5] {
        for place in [Executor::Processes(workers), Executor::ProcessPerBatch(workers)] {
            let fresh = matches!(place, Executor::ProcessPerBatch(_));
            for when in whens {
                for mode in [Mode::Stop, Mode::Skip, Mode::Once] {
                    let must = match way {
                        Some(way) => must(way, *when, mode, fresh),
                        // Nobody dies; a fresh worker is never idle.
                        None if *when == Moment::Idle && fresh => continue,
                        None => Must::Lose { nothing_with: Deaths::Exactly(0) },
                    };
                    if !matches!(must, Must::Nothing { .. }) {
                        cells.push(Cell { way, when: *when, mode, place, must });
                    }
                }
            }
        }
    }
    cells
}
