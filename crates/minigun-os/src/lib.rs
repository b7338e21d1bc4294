//! The system calls behind minigun's worker processes: all `unsafe` code of the project, with a safe face.
//!
//! | part | what it gives |
//! |---|---|
//! | [`ForkGuard`], [`fork`], [`fork_worker`] | a fork that is safe in a threaded program, and a cheap one for a process proved [`SingleThreaded`] |
//! | [`child`] | what a forked child does to itself: signals, standard streams, process group, title, limits |
//! | [`EngineFd`], [`close_engine_fds_except`] | every descriptor is registered, so that a child can drop what it must not hold |
//! | [`Socket`], [`pipe`], [`Control`], [`Event`], [`poll`] | bytes, messages with a descriptor, wake-ups, and waiting for them |
//! | [`Board`], [`Flag`] | memory shared with workers, seen as atomics; a word of it that they can wait for |
//! | [`Slab`] | memory through which bytes pass from one process to another, by copies |
//! | [`Data`] | bytes written once, which every forked child reads without a copy |
//! | [`ChildSignals`], [`reap_any`], [`ended_child`], [`Process`], [`kill`] | who has ended and how; signals that cannot hit a stranger |
//! | [`disposition`] | what a signal does in this process |
//! | [`ring`] | items between two threads, in transactions |
//! | [`LightFence`], [`heavy_fence`] | a fence whose cost is paid by the side that is about to sleep |
//! | [`biased`] | a lock that one side takes all the time, for next to nothing |
//! | [`procfs`] | what `/proc` says about threads, descriptors, children and memory |
//!
//! A descriptor value belongs to the process that made it. In a forked child it goes on working (the child
//! has its own copy of the number) until [`close_engine_fds_except`] closes it there; from then on its methods
//! answer `EBADF`, and dropping it closes nothing.
//!
//! Locks here are those of `std`, not of `parking_lot`: a `parking_lot` lock that is contended goes through
//! one table shared by all locks of the process, and a fork can catch that table locked by a thread that
//! does not exist in the child. A `std` lock is one word of its own.
//!
//! Linux is the home of all this. Elsewhere, and with `--cfg minigun_no_fork`, the same face compiles and
//! everything that would make a process, a descriptor or a mapping returns [`std::io::ErrorKind::Unsupported`].
#![warn(missing_docs)]

mod biased;
mod disposition;
mod ending;
mod oom;
mod pid;
mod ring;

#[cfg(all(target_os = "linux", not(minigun_no_fork)))]
mod linux;
#[cfg(all(target_os = "linux", not(minigun_no_fork)))]
use linux as system;

#[cfg(not(all(target_os = "linux", not(minigun_no_fork))))]
mod stub;
#[cfg(not(all(target_os = "linux", not(minigun_no_fork))))]
use stub as system;

pub use biased::{BiasedGuard, BiasedGuest, BiasedOwner, biased};
pub use disposition::{Disposition, disposition};
pub use ending::{Ending, Reaped};
pub use oom::OomKills;
pub use pid::{Pid, Signal};
pub use ring::{RingReader, RingWriter, ring};
pub use system::{
    Board, ChildSignals, Control, Data, DataFile, Descriptor, EngineFd, Event, Flag, ForkGuard, Interest,
    LightFence, PipeReader, PipeWriter, Process, SingleThreaded, Slab, Socket, Watch, child,
    close_engine_fds_except, ended_child, fork, fork_worker, heavy_fence, in_worker, kill, kill_group, pipe,
    poll, procfs, reap, reap_any, supported, unforked,
};
