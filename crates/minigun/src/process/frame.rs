//! Frames: how bytes on a worker's socket are cut into messages.
//!
//! Every frame is a header of 16 bytes and a payload, all numbers little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | `0x4D47`, so that stray output on the socket is noticed |
//! | 2 | version, 1 |
//! | 3 | kind, see [`Kind`] |
//! | 4..8 | length of the payload, at most [`LARGEST_FRAME`](crate::defaults::LARGEST_FRAME) |
//! | 8..16 | a number whose meaning depends on the kind |
//!
//! Both ends are forks of one program, so the version only guards against bytes that are no frame at all.

use crate::defaults::LARGEST_FRAME;

/// Length of a header.
pub(crate) const HEADER: usize = 16;
const MAGIC: [u8; 2] = 0x4D47u16.to_le_bytes();
const VERSION: u8 = 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To a worker: items. The number is the index of the first.
    Items = 1,
    /// To a worker: there will be no more. From a worker: it takes no more, its result of everything that it began
    /// was sent.
    End = 2,
    /// From a worker: it lives.
    Hello = 3,
    /// From a worker: hooks and `_init` closures have run. The payload is a journal.
    Ready = 4,
    /// From a worker: a hook or an `_init` closure failed. The payload is a failure.
    Unready = 5,
    /// From a worker: results. Everything below the number has been dealt with.
    Results = 6,
    /// From a worker: it ends. The payload is a journal and perhaps a failure.
    Bye = 7,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Kind::Items,
            2 => Kind::End,
            3 => Kind::Hello,
            4 => Kind::Ready,
            5 => Kind::Unready,
            6 => Kind::Results,
            7 => Kind::Bye,
            _ => return None,
        })
    }
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(
        "bytes on the worker's socket are no frame (they begin with {0:02x?}); did something write to it?"
    )]
    NoFrame([u8; 4]),
    #[error("a frame of {0} bytes exceeds the largest of {LARGEST_FRAME}")]
    TooLarge(usize),
    #[error("a frame ends inside one of its fields")]
    Short,
    #[error("a frame's content makes no sense: {0}")]
    Content(&'static str),
}

/// One whole frame in a reader's buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
    pub(crate) payload: &'a [u8],
    /// Behind it another whole one has arrived.
    pub(crate) more: bool,
}

/// Starts a frame at the end of `out`; `seal` it when the payload is there.
pub(crate) fn open(out: &mut Vec<u8>, kind: Kind, number: u64) -> usize {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind as u8, 0, 0, 0, 0]);
    out.extend_from_slice(&number.to_le_bytes());
    start
}

/// Writes the length of the frame that starts at `start` and ends at the end of `out`.
pub(crate) fn seal(out: &mut [u8], start: usize) -> Result<(), FrameError> {
    let length = out.len() - start - HEADER;
    if length > LARGEST_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    out[start + 4..start + 8].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// A whole frame.
pub(crate) fn frame(kind: Kind, number: u64, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    let start = open(&mut out, kind, number);
    out.extend_from_slice(payload);
    seal(&mut out, start)?;
    Ok(out)
}

/// Cuts a stream of bytes into frames.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// Bytes before this were given out as frames.
    start: usize,
    /// Bytes from here on were not received yet.
    end: usize,
    /// So much room is enough while no frame needs more.
    few: Option<usize>,
}

/// The least room offered to a read.
const ROOM: usize = 64 << 10;
/// The room for the first read of all.
const FIRST: usize = 8 << 10;
/// A buffer that one large frame made larger than this is given back.
const KEPT: usize = 4 << 20;

impl Reader {
    /// For the one frame that a worker for one item gets: first its header is read, then the rest into a buffer that is no
    /// larger. Every page of it costs a new process a fault.
    pub(crate) fn of_one_frame() -> Self {
        Reader { few: Some(HEADER), ..Reader::default() }
    }

    /// For the few words of a worker for one item.
    pub(crate) fn of_few() -> Self {
        Reader { few: Some(FIRST), ..Reader::default() }
    }

    /// Room for bytes to be received; say with [`received`](Self::received) how many came.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT {
                self.buffer = Vec::new();
            }
        }
        let first = self.few.unwrap_or(FIRST);
        let least = if self.buffer.len() < ROOM { first } else { ROOM };
        let want = match header(&self.buffer[self.start..self.end]) {
            // A large frame grows with what arrives, not with what its header promises.
            Ok(Some((_, _, length))) => {
                (length + HEADER).saturating_sub(self.end - self.start).clamp(least, 1 << 20)
            }
            _ if self.buffer.is_empty() || self.few.is_some() => first,
            _ => ROOM,
        };
        if self.buffer.len() - self.end < want {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.buffer.len() - self.end < want {
                let whole = self.end + want;
                // What is read once is not made larger than it is.
                self.buffer.resize(if least < ROOM { whole } else { whole.next_power_of_two() }, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// That many bytes of the room were filled.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buffer.len());
    }

    /// The next whole frame, if it has arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some((kind, number, length)) = header(&self.buffer[self.start..self.end])? else {
            return Ok(None);
        };
        let from = self.start + HEADER;
        if self.end - from < length {
            return Ok(None);
        }
        self.start = from + length;
        let more = self.has_frame();
        Ok(Some(Frame { kind, number, payload: &self.buffer[from..from + length], more }))
    }

    /// Whether a whole frame has arrived.
    pub(crate) fn has_frame(&self) -> bool {
        let bytes = &self.buffer[self.start..self.end];
        // What is no frame must be looked at as well.
        header(bytes)
            .map_or(true, |header| header.is_some_and(|(_, _, length)| bytes.len() - HEADER >= length))
    }
}

fn header(bytes: &[u8]) -> Result<Option<(Kind, u64, usize)>, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let kind = match (header[..2] == MAGIC && header[2] == VERSION, Kind::from_code(header[3])) {
        (true, Some(kind)) => kind,
        _ => return Err(FrameError::NoFrame([header[0], header[1], header[2], header[3]])),
    };
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if length > LARGEST_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    let mut number = [0; 8];
    number.copy_from_slice(&header[8..]);
    Ok(Some((kind, u64::from_le_bytes(number), length)))
}

/// Takes fields from the front of a payload.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], FrameError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(FrameError::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A field that its length precedes.
    #[inline]
    pub(crate) fn block(&mut self) -> Result<&'a [u8], FrameError> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(reader: &mut Reader, bytes: &[u8], cut: usize) -> Result<Vec<(Kind, u64, Vec<u8>)>, FrameError> {
        let mut frames = Vec::new();
        for part in bytes.chunks(cut.max(1)) {
            reader.room()[..part.len()].copy_from_slice(part);
            reader.received(part.len());
            while let Some(frame) = reader.next()? {
                frames.push((frame.kind, frame.number, frame.payload.to_vec()));
            }
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            sent in prop::collection::vec((1u8..=7, any::<u64>(), prop::collection::vec(any::<u8>(), 0..2000)), 0..20),
            cut in 1usize..5000,
        ) {
            let sent: Vec<_> = sent.into_iter()
                .map(|(kind, number, payload)| (Kind::from_code(kind).unwrap(), number, payload)).collect();
            let stream: Vec<u8> =
                sent.iter().flat_map(|(kind, number, payload)| frame(*kind, *number, payload).unwrap()).collect();
            prop_assert_eq!(feed(&mut Reader::default(), &stream, cut).unwrap(), sent);
        }

        #[test]
        fn arbitrary_bytes_never_panic_nor_reserve_what_they_promise(
            bytes in prop::collection::vec(any::<u8>(), 0..4000), cut in 1usize..4000,
        ) {
            let mut reader = Reader::default();
            let _ = feed(&mut reader, &bytes, cut);
            prop_assert!(reader.buffer.len() <= 4 << 20);
        }

        #[test]
        fn a_header_that_promises_too_much_is_an_error(length in (LARGEST_FRAME as u32 + 1)..) {
            let mut bytes = frame(Kind::Items, 0, &[]).unwrap();
            bytes[4..8].copy_from_slice(&length.to_le_bytes());
            prop_assert_eq!(feed(&mut Reader::default(), &bytes, 16), Err(FrameError::TooLarge(length as usize)));
        }
    }
}
