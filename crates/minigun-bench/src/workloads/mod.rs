//! The workloads, one file each.

mod hop;
mod records;

use crate::contest::Contestant;

/// Work that several contestants do.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// How many items at full scale.
    pub(crate) items: u64,
    /// Speeds are given in this unit, which is `per` items a second.
    pub(crate) unit: &'static str,
    pub(crate) per: f64,
    /// All of them, made anew.
    pub(crate) contestants: fn() -> Vec<Contestant>,
}

/// Every workload there is.
pub(crate) const WORKLOADS: &[Workload] = &[hop::HOP, records::RECORDS];
