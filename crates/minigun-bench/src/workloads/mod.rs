//! The workloads, one file each.

mod batches;
mod blobs;
mod crash;
mod forked;
mod hop;
mod latency;
mod memory;
mod pool;
mod records;
mod scale;
mod statistics;

use crate::contest::{BoxError, Case, Scaled};

/// Work that several contestants do.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) rounds: Scaled<usize>,
    /// All of them, made anew.
    pub(crate) cases: fn() -> Vec<Case>,
}

/// Every workload there is.
pub(crate) const WORKLOADS: &[Workload] = &[
    hop::HOP,
    latency::LATENCY,
    pool::POOL,
    records::RECORDS,
    blobs::BLOBS,
    batches::BATCHES,
    memory::MEMORY,
    scale::SCALE,
    crash::CRASH,
    statistics::STATISTICS,
];

/// The first argument of a process that a contestant starts by running this program again.
pub(crate) const ROLE: &str = "play-role";

/// What such a process does, by the arguments behind [`ROLE`].
pub(crate) fn play(role: &[String]) -> Result<(), BoxError> {
    match role {
        [role, name] if role == records::ONE_BY_ONE => records::ipc_serve(name, records::step),
        [role, name] if role == records::IN_VECS => records::ipc_serve(name, |some: Vec<records::Record>| {
            some.into_iter().map(records::step).collect::<Vec<_>>()
        }),
        [role, name] if role == blobs::AS_BYTES => blobs::serve_bytes(name),
        [role, name] if role == blobs::IN_SHARED_MEMORY => blobs::serve_shared(name),
        [role, way, items, steps] if role == statistics::BARE => statistics::play(way, items, steps),
        _ => Err(format!("there is no role {role:?}").into()),
    }
}
