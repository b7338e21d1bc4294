//! What a zygote and its workers note in memory that they share with the program: it is still there when they
//! are not.
//!
//! A zygote that hangs or gives up at its birth left a note of what it was doing. A worker's first act is to
//! note its process number: the zygote may be killed before it could tell.

use std::io;
use std::sync::atomic::Ordering;

use minigun_os::{Board, Pid};

/// Workers whose numbers are remembered: the latest. The zygote tells of a worker after some milliseconds, so
/// only the last few are ever asked for.
const BORN: usize = 256;

/// The notes of one zygote. The first word is about its birth, the others are its latest workers.
#[derive(Debug)]
pub(super) struct Notes(Board);

impl Notes {
    pub(super) fn new() -> io::Result<Notes> {
        Board::new(1 + BORN, 1).map(Notes)
    }

    /// The zygote begins the step of this number.
    pub(super) fn step(&self, index: u8) {
        self.0.bytes()[0].store(index, Ordering::Relaxed);
    }

    /// The step it was at last.
    pub(super) fn last_step(&self) -> u8 {
        self.0.bytes()[0].load(Ordering::Relaxed)
    }

    /// The zygote gives up: this call, by its number, was refused.
    pub(super) fn refused(&self, call: u8, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or(0).unsigned_abs();
        self.0.words()[0].store(u64::from(call) << 32 | u64::from(errno) | REFUSED, Ordering::Release);
    }

    /// The call that was refused, by its number, and how.
    pub(super) fn refusal(&self) -> Option<(u8, io::Error)> {
        let word = self.0.words()[0].load(Ordering::Acquire);
        let call = (word >> 32).to_le_bytes()[0];
        (word & REFUSED != 0).then(|| (call, io::Error::from_raw_os_error((word as u32).cast_signed())))
    }

    /// By a worker: it exists.
    pub(super) fn born(&self, id: u64, pid: Pid) {
        self.place(id).store((id << 32) | u64::from(pid.get()), Ordering::Release);
    }

    /// The process number of a worker, if it was one of the latest.
    pub(super) fn pid_of(&self, id: u64) -> Option<Pid> {
        let word = self.place(id).load(Ordering::Acquire);
        // Half a number and its place tell it from any other that could still be asked for.
        if word >> 32 == id & u64::from(u32::MAX) { Pid::new(word as u32) } else { None }
    }

    fn place(&self, id: u64) -> &std::sync::atomic::AtomicU64 {
        &self.0.words()[1 + (id % BORN as u64) as usize]
    }
}

/// Marks the first word as written.
const REFUSED: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_remembered_until_its_place_is_taken() {
        let notes = Notes::new().unwrap();
        assert_eq!(notes.pid_of(7), None);
        notes.born(7, Pid::new(70).unwrap());
        assert_eq!(notes.pid_of(7), Pid::new(70));
        assert_eq!(notes.pid_of(7 + BORN as u64), None);
        notes.born(7 + BORN as u64, Pid::new(71).unwrap());
        assert_eq!(notes.pid_of(7), None);
    }

    #[test]
    fn a_refusal_names_its_call() {
        let notes = Notes::new().unwrap();
        assert!(notes.refusal().is_none());
        notes.refused(3, &io::Error::from_raw_os_error(24));
        let (call, error) = notes.refusal().unwrap();
        assert_eq!((call, error.raw_os_error()), (3, Some(24)));
    }
}
