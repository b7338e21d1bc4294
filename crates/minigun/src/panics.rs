//! What a panic tells of itself beyond its message: where it happened, and its backtrace if one is asked for.
//!
//! Only a panic hook can see that, and hooks belong to the program: so it is installed in worker processes only,
//! in front of the hook that they inherit. On threads of the program a caught panic has its message alone.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};
use std::thread;

/// What was noted of a panic.
#[derive(Clone)]
pub(crate) struct Note {
    /// `None`: its payload is not text.
    message: Option<String>,
    /// File, line and column.
    pub(crate) place: String,
    pub(crate) backtrace: Option<String>,
}

thread_local! {
    static HERE: RefCell<Option<Note>> = const { RefCell::new(None) };
}

/// The last panic of any thread: a thread that user code starts and joins hands on its panic's payload alone.
static ANYWHERE: Mutex<Option<Note>> = Mutex::new(None);

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// The most that is kept of a backtrace, in bytes.
const BACKTRACE: usize = 16 << 10;

/// Notes panics from here on, in this process and its children; the hook that was there runs as before.
///
/// The hook's lock is taken, which a fork may have caught locked by a thread that was just panicking.
pub(crate) fn note_panics() {
    // A panicking thread must not change the hook: with nothing noted, panics have their message alone.
    if thread::panicking() || INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        note(info);
        before(info);
    }));
}

/// What was noted of the panic that this thread has just caught, known by its message.
pub(crate) fn noted(message: Option<&str>) -> Option<Note> {
    let same = |note: &Note| note.message.as_deref() == message;
    let here = HERE.try_with(|here| here.borrow_mut().take()).ok().flatten();
    here.filter(same).or_else(|| anywhere(|last| last.clone().filter(same)).flatten())
}

fn note(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| from_the_panic(&backtrace.to_string()));
    let note = Note {
        message: info.payload_as_str().map(str::to_string),
        place: info.location().map(ToString::to_string).unwrap_or_default(),
        backtrace,
    };
    anywhere(|last| *last = Some(note.clone()));
    let _ = HERE.try_with(|here| *here.borrow_mut() = Some(note));
}

/// Not at any price: a fork in the middle of this leaves the lock held in the child.
fn anywhere<R>(f: impl FnOnce(&mut Option<Note>) -> R) -> Option<R> {
    match ANYWHERE.try_lock() {
        Ok(mut last) => Some(f(&mut last)),
        Err(TryLockError::Poisoned(last)) => Some(f(&mut last.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A backtrace without the frames of the panic's own machinery, cut to what can be read.
fn from_the_panic(backtrace: &str) -> String {
    let lines: Vec<_> = backtrace.lines().collect();
    let machinery = |line: &&str| line.contains("rust_begin_unwind") || line.contains("core::panicking::");
    let last = lines.iter().rposition(machinery);
    // A frame's second line says where it is.
    let is_place = |line: &str| line.trim_start().starts_with("at ");
    let first =
        last.map_or(0, |at| at + 1 + usize::from(lines.get(at + 1).is_some_and(|line| is_place(line))));
    let mut kept = String::new();
    for line in &lines[first..] {
        if kept.len() + line.len() >= BACKTRACE {
            kept.push_str("      …\n");
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_begins_where_the_panic_was() {
        let text = "   0: std::backtrace::Backtrace::create\n   1: rust_begin_unwind\n             at /rustc/x.rs:1:2\n   \
            2: core::panicking::panic_fmt\n             at /rustc/y.rs:3:4\n   3: mine::parse\n             at ./src/p.rs:5:6\n";
        assert_eq!(from_the_panic(text), "   3: mine::parse\n             at ./src/p.rs:5:6\n");
        assert_eq!(from_the_panic("   0: mine\n"), "   0: mine\n");
        let long = "   1: f\n".repeat(10_000);
        let cut = from_the_panic(&long);
        assert!(cut.len() < BACKTRACE + 16 && cut.ends_with("…\n"));
    }

    #[test]
    fn nothing_is_noted_of_another_panic() {
        let note = |message: &str| Note {
            message: Some(message.to_string()),
            place: "a.rs:1:1".to_string(),
            backtrace: None,
        };
        HERE.with(|here| *here.borrow_mut() = Some(note("this")));
        assert_eq!(noted(Some("this")).map(|note| note.place).as_deref(), Some("a.rs:1:1"));
        assert!(noted(Some("this")).is_none(), "it was taken");
        HERE.with(|here| *here.borrow_mut() = Some(note("this")));
        assert!(noted(Some("that")).is_none());
        assert!(noted(None).is_none());
    }
}
