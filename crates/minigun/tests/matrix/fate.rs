//! What makes a worker fail: one fate for the process and its forks, met by hooks, closures and serde.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use minigun_os::{Pid, Signal};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::table::{MEMORY_LIMIT, Moment, Way};

/// Who fails, how and when.
#[derive(Clone)]
pub(crate) struct Fate {
    pub(crate) way: Way,
    pub(crate) when: Moment,
    /// The items that meet it.
    pub(crate) items: [u64; 2],
    /// Who makes this file fails; nobody else does.
    pub(crate) once: Option<PathBuf>,
    /// The program.
    pub(crate) home: Pid,
}

static FATE: Mutex<Option<Fate>> = Mutex::new(None);

/// Sets what the process and its forks are to meet from now on.
pub(crate) fn set(fate: Option<Fate>) {
    *FATE.lock().unwrap_or_else(PoisonError::into_inner) = fate;
}

/// A moment at which a worker can fail; `item` if it is about one.
pub(crate) fn meet(when: Moment, item: Option<u64>) -> Result<(), &'static str> {
    let fate = FATE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(fate) = fate else { return Ok(()) };
    let in_program = Pid::current() == fate.home;
    if fate.when != when
        || when.is_in_program() != in_program
        || item.is_some_and(|item| !fate.items.contains(&item))
    {
        return Ok(());
    }
    if let Some(path) = &fate.once
        && OpenOptions::new().write(true).create_new(true).open(path).is_err()
    {
        return Ok(());
    }
    strike(fate.way)
}

/// The end, in one of its ways.
pub(crate) fn strike(way: Way) -> Result<(), &'static str> {
    let raise = |signal| drop(minigun_os::kill(Pid::current(), signal));
    match way {
        Way::Exit => std::process::exit(7),
        Way::Abort => std::process::abort(),
        Way::Segfault => raise(Signal::SEGV),
        Way::Kill => raise(Signal::KILL),
        // As much as anybody would get without the limit: no byte of it is touched.
        Way::Memory => drop(black_box(Vec::<u8>::with_capacity(4 * MEMORY_LIMIT as usize))),
        Way::Hang => loop {
            thread::park();
        },
        Way::Panic => panic!("no luck"),
        Way::Error => return Err("no luck"),
    }
    unreachable!("it was to die by {way:?}");
}

/// Values that travel, and the moments at which they are written and read.
macro_rules! travellers {
    ($($(#[$doc:meta])* $name:ident $written:ident $read:ident;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) u64);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                meet(Moment::$written, Some(self.0)).map_err(S::Error::custom)?;
                self.0.serialize(to)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let id = u64::deserialize(from)?;
                meet(Moment::$read, Some(id)).map_err(D::Error::custom)?;
                Ok($name(id))
            }
        }
    )+ };
}

travellers! {
    /// To a worker.
    Item Write Decode;
    /// Back from it.
    Product Encode ReadBack;
    /// Collected in it.
    Note Collect ReadCollected;
}
