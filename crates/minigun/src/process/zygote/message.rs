//! What program and zygote say to each other over the control socket.
//!
//! Every record is 40 bytes, numbers in native order (both ends are the same program):
//!
//! | bytes | request | reply |
//! |---|---|---|
//! | 0 | kind | kind |
//! | 4..8 | block / signal number | process number / errno / exit code / signal number |
//! | 8..16 | worker's number | worker's number |
//! | 16..24 | slot / grace in ms | peak memory in bytes |
//! | 24..40 | title, NUL-padded | 24..32 processor time in ns |
//!
//! | kind | request | its answer |
//! |---|---|---|
//! | 1 | spawn (with a descriptor) | 11 spawned, or 12 could not be forked |
//! | 2 | a signal for a worker and its process group | 15 done, whether the worker still existed or not |
//! | 3 | close | 15 done: it begins to |
//!
//! Every request has one answer, in the order of the requests: who owes answers and says nothing at all is
//! stuck. Unasked come 10 ready, 13 left with a code, 14 killed by a signal.
//!
//! A message of the program is one record. A message of the zygote is one to [`BATCH`] records. A record that
//! cannot be read is `None`: the connection is then given up.

use std::time::Duration;

use minigun_os::{Ending, Pid, Reaped, Signal};

use super::exit::{Exit, Status};
use super::remedy;

/// The size of a record.
pub(super) const RECORD: usize = 40;

/// The most records of one reply.
pub(super) const BATCH: usize = 32;

/// What the program asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Spawn {
        id: u64,
        block: u32,
        slot: u32,
        title: &'a str,
    },
    /// For the worker and its process group. Number 0 reaches nobody, but is answered.
    Signal {
        id: u64,
        signal: Signal,
    },
    Close {
        grace: Duration,
    },
}

/// What the zygote reports.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Ready,
    Spawned {
        id: u64,
        pid: Pid,
    },
    Ended {
        id: u64,
        exit: Exit,
    },
    /// A request that has no other answer was carried out.
    Done,
}

impl<'a> Request<'a> {
    pub(super) fn encode(&self) -> [u8; RECORD] {
        match self {
            Request::Spawn { id, block, slot, title } => {
                let mut record = record(1, *block, *id, u64::from(*slot), 0);
                let mut end = title.len().min(15);
                while !title.is_char_boundary(end) {
                    end -= 1;
                }
                record[24..24 + end].copy_from_slice(&title.as_bytes()[..end]);
                record
            }
            Request::Signal { id, signal } => record(2, signal.number().cast_unsigned(), *id, 0, 0),
            Request::Close { grace } => {
                record(3, 0, 0, u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), 0)
            }
        }
    }

    pub(super) fn decode(message: &'a [u8]) -> Option<Request<'a>> {
        let record: &'a [u8; RECORD] = message.try_into().ok()?;
        let (kind, value, id, first, _) = fields(record);
        match kind {
            1 => {
                let title = std::str::from_utf8(record[24..].split(|b| *b == 0).next()?).ok()?;
                Some(Request::Spawn { id, block: value, slot: u32::try_from(first).ok()?, title })
            }
            2 => Some(Request::Signal { id, signal: Signal::new(value.cast_signed()) }),
            3 => Some(Request::Close { grace: Duration::from_millis(first) }),
            _ => None,
        }
    }
}

/// A reply that all is set.
pub(super) fn ready() -> [u8; RECORD] {
    record(10, 0, 0, 0, 0)
}

/// A reply that a request was carried out.
pub(super) fn done() -> [u8; RECORD] {
    record(15, 0, 0, 0, 0)
}

/// A reply that a worker was made.
pub(super) fn spawned(id: u64, pid: Pid) -> [u8; RECORD] {
    record(11, pid.get(), id, 0, 0)
}

/// A reply that a worker could not be made.
pub(super) fn spawn_failed(id: u64, errno: i32) -> [u8; RECORD] {
    record(12, errno.unsigned_abs(), id, 0, 0)
}

/// A reply that a worker has ended.
pub(super) fn ended(id: u64, reaped: &Reaped) -> [u8; RECORD] {
    let (kind, value) = match reaped.ending {
        Ending::Code(code) => (13, code.unsigned_abs()),
        Ending::Signal { signal, .. } => (14, signal.number().unsigned_abs()),
        // Nobody else reaps in the zygote; if it happens all the same, SIGKILL is the honest guess.
        Ending::Unknown => (14, Signal::KILL.number().unsigned_abs()),
    };
    record(kind, value, id, reaped.max_rss, u64::try_from(reaped.cpu.as_nanos()).unwrap_or(u64::MAX))
}

impl Reply {
    pub(super) fn decode(record: &[u8]) -> Option<Reply> {
        let (kind, value, id, max_rss, cpu) = fields(record.try_into().ok()?);
        let number = value.cast_signed();
        let status = match kind {
            10 => return Some(Reply::Ready),
            11 => return Some(Reply::Spawned { id, pid: Pid::new(value)? }),
            12 => {
                let error = std::io::Error::from_raw_os_error(number);
                Status::SpawnFailed(format!("{error}{}", remedy(&error)))
            }
            13 => Status::Code(number),
            14 => Status::Signal(number),
            15 => return Some(Reply::Done),
            _ => return None,
        };
        Some(Reply::Ended { id, exit: Exit { status, max_rss, cpu: Duration::from_nanos(cpu) } })
    }
}

fn record(kind: u8, value: u32, id: u64, first: u64, second: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[0] = kind;
    record[4..8].copy_from_slice(&value.to_ne_bytes());
    record[8..16].copy_from_slice(&id.to_ne_bytes());
    record[16..24].copy_from_slice(&first.to_ne_bytes());
    record[24..32].copy_from_slice(&second.to_ne_bytes());
    record
}

fn fields(record: &[u8; RECORD]) -> (u8, u32, u64, u64, u64) {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&record[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    let value = u32::from_ne_bytes([record[4], record[5], record[6], record[7]]);
    (record[0], value, word(8), word(16), word(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_as_they_went() {
        for request in [
            Request::Spawn { id: u64::MAX, block: u32::MAX, slot: 7, title: "mg:deliver" },
            Request::Signal { id: 3, signal: Signal::TERM },
            Request::Signal { id: u64::MAX, signal: Signal::CONT },
            Request::Signal { id: 0, signal: Signal::new(0) },
            Request::Close { grace: Duration::from_millis(1500) },
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    #[test]
    fn replies_come_back_as_they_went() {
        let pid = Pid::current();
        let reaped = Reaped { pid, ending: Ending::Code(7), max_rss: 1 << 20, cpu: Duration::from_nanos(5) };
        let exit = |status| Exit { status, max_rss: 1 << 20, cpu: Duration::from_nanos(5) };
        let killed = Ending::Signal { signal: Signal::TERM, core: false };
        for (record, reply) in [
            (ready(), Reply::Ready),
            (done(), Reply::Done),
            (spawned(u64::MAX, pid), Reply::Spawned { id: u64::MAX, pid }),
            (ended(1, &reaped), Reply::Ended { id: 1, exit: exit(Status::Code(7)) }),
            (
                ended(2, &Reaped { ending: killed, ..reaped }),
                Reply::Ended { id: 2, exit: exit(Status::Signal(15)) },
            ),
        ] {
            assert_eq!(Reply::decode(&record), Some(reply));
        }
    }

    #[test]
    fn a_long_title_is_cut_at_a_characters_border() {
        let request = Request::Spawn {
            id: 0,
            block: 0,
            slot: 0,
            title: "ab\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        };
        let record = request.encode();
        let Some(Request::Spawn { title, .. }) = Request::decode(&record) else { panic!() };
        assert_eq!(title, "ab\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Request::decode(&[]), None);
        assert_eq!(Request::decode(&[9; RECORD]), None);
        assert_eq!(Reply::decode(&[0; RECORD]), None);
        assert_eq!(Reply::decode(&[10; 3]), None);
    }
}
