//! The face on Linux.

mod board;
pub mod child;
mod control;
mod data;
mod event;
mod fd;
mod fence;
mod flag;
mod fork;
mod guard;
mod leave;
mod memory;
mod pipe;
mod poll;
mod process;
pub mod procfs;
mod reap;
mod signals;
mod socket;
mod support;

pub use board::Board;
pub use control::Control;
pub use data::{Data, DataFile};
pub use event::Event;
pub use fd::{Descriptor, EngineFd, close_engine_fds_except, unforked};
pub use fence::{LightFence, heavy_fence};
pub use flag::Flag;
pub use fork::{SingleThreaded, fork, fork_worker, in_worker};
pub use guard::ForkGuard;
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use poll::{Interest, Watch, poll};
pub use process::{Process, kill, kill_group};
pub use reap::{ended_child, reap, reap_any};
pub use signals::ChildSignals;
pub use socket::Socket;
pub use support::supported;
