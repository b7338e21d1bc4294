//! Scopes: what kind of worker a flow's steps run in, as a type.

use crate::wire::{Wire, WireFns};

/// The pipeline itself: every processor and consumer has a thread of its own.
pub enum Program {}
/// Inside a block on threads, or inline.
pub enum Thread {}
/// Inside a block of worker processes.
pub enum Worker {}
/// Inside a block of async tasks.
pub enum Task {}

/// A kind of worker. Functions over flows of any scope are written
/// `fn clean<S: Scope>(flow: Flow<A, S>) -> Flow<B, S>`.
pub trait Scope: 'static {
    #[doc(hidden)]
    const PROGRAM: bool = false;
}
impl Scope for Program {
    const PROGRAM: bool = true;
}
impl Scope for Thread {}
impl Scope for Worker {}
impl Scope for Task {}

/// Scopes in which a step may keep items while others pass: the program itself.
#[diagnostic::on_unimplemented(
    message = "items cannot be gathered inside a block",
    label = "this step keeps items while others pass; it cannot stand inside a block",
    note = "put `batch`, `rebatch`, `dedup_by`, `fold`, `collect` and `receiver` before or after the block: a worker that died would take what they hold with it",
    note = "what a block counts and gathers goes into `counter` and `collector` handles"
)]
pub trait Gathers: Scope {}
impl Gathers for Program {}

/// Scopes in which flows can be brought together, and the queues between stages are in view: the program itself.
#[diagnostic::on_unimplemented(
    message = "flows cannot be joined inside a block",
    label = "this belongs to the pipeline itself; it cannot stand inside a block",
    note = "put `merge`, `least_loaded` and `feedback` before, after or around the block",
    note = "to join branches that were split inside a block, end all but one with `send_to`, and merge the flows behind those ports with what comes out of the block"
)]
pub trait Joins: Scope {}
impl Joins for Program {}

/// Items that may pass the border of a scope: the end of a block, or a port.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the border of a process block",
    note = "derive serde's Serialize and Deserialize for it, or use `threads(n)`"
)]
pub trait Crosses<S>: Sized {
    #[doc(hidden)]
    fn wire() -> Option<WireFns<Self>> {
        None
    }
}
impl<T: Send + 'static> Crosses<Program> for T {}
impl<T: Send + 'static> Crosses<Thread> for T {}
impl<T: Send + 'static> Crosses<Task> for T {}
impl<T: Wire> Crosses<Worker> for T {
    fn wire() -> Option<WireFns<Self>> {
        Some(WireFns::new())
    }
}
