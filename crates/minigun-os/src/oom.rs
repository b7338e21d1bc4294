//! How often the kernel killed a process because memory ran out: counters that only grow.

/// Counts of processes killed because memory ran out, as they stood at one moment.
///
/// `None` where the kernel (or the container) does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomKills {
    /// In the control group of this process and those below it (version 2 of control groups).
    pub group: Option<u64>,
    /// On the whole machine.
    pub machine: Option<u64>,
}
