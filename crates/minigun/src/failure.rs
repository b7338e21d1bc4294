//! Why one attempt at an item failed: the value a stage closure returns with `?`.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::panics;

/// The failure of one attempt at one item.
///
/// Any error becomes a `Failure` through `?`, and so do `"text".into()` and `String`s. As with
/// `anyhow::Error`, that is only possible because `Failure` does not itself implement
/// [`std::error::Error`].
pub struct Failure(Box<Inner>);

struct Inner {
    error: Box<dyn StdError + Send + Sync>,
    kind: FailureKind,
    stage: Option<String>,
    /// Only policies of blocks nested less deep than this apply: those of the blocks it happened in.
    reach: u16,
    /// A hook failed, not an attempt at an item.
    hook: bool,
    /// Attempts that an inner block made.
    attempts: u32,
    details: Option<String>,
}

/// What kind of failure ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The closure returned an error.
    Error,
    /// The closure panicked.
    Panic,
    /// An item could not be encoded or decoded on its way to or from a worker process.
    Codec,
    /// The worker process died while it ran the item.
    Death,
    /// The item ran longer than its block allows, and its worker was killed.
    Deadline,
}

impl FailureKind {
    pub(crate) fn code(self) -> u8 {
        match self {
            FailureKind::Error => 0,
            FailureKind::Panic => 1,
            FailureKind::Codec => 2,
            FailureKind::Death => 3,
            FailureKind::Deadline => 4,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => FailureKind::Error,
            1 => FailureKind::Panic,
            2 => FailureKind::Codec,
            3 => FailureKind::Death,
            4 => FailureKind::Deadline,
            _ => return None,
        })
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        Failure(Box::new(Inner {
            error,
            kind,
            stage: None,
            reach: u16::MAX,
            hook: false,
            attempts: 0,
            details: None,
        }))
    }

    /// What a caught panic said, with its place and backtrace where those are noted.
    pub(crate) fn from_panic(payload: Box<dyn Any + Send>) -> Self {
        let text = match payload.downcast::<String>() {
            Ok(text) => Some(*text),
            Err(payload) => payload.downcast::<&'static str>().ok().map(|text| (*text).to_string()),
        };
        let note = panics::noted(text.as_deref());
        let place = note.as_ref().map_or(String::new(), |note| format!(" at {}", note.place));
        let text = text.unwrap_or_else(|| "a panic whose payload is not text".to_string());
        Failure::new(FailureKind::Panic, format!("panicked{place}: {text}"))
            .with_details(note.and_then(|note| note.backtrace))
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> FailureKind {
        self.0.kind
    }

    /// The name of the stage in which it happened, once known.
    pub fn stage(&self) -> Option<&str> {
        self.0.stage.as_deref()
    }

    /// The error itself.
    pub fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0.error
    }

    /// More than fits into a line, if there is more: a panic's backtrace, a dead worker's last words.
    pub fn details(&self) -> Option<&str> {
        self.0.details.as_deref()
    }

    pub(crate) fn with_details(mut self, details: Option<String>) -> Self {
        self.0.details = details.filter(|details| !details.is_empty());
        self
    }

    /// Names the stage, unless one nearer to the cause was named before.
    pub(crate) fn at(mut self, stage: &str) -> Self {
        self.0.stage.get_or_insert_with(|| stage.to_string());
        self
    }

    /// No policy may catch it.
    pub(crate) fn finally(self) -> Self {
        self.behind(0)
    }

    /// It happened behind the border of a block nested this deep (0: the outermost): neither that block's
    /// policy nor those of blocks inside it may catch it.
    pub(crate) fn behind(mut self, depth: u16) -> Self {
        self.0.reach = self.0.reach.min(depth);
        self
    }

    /// Whether the policy of a block nested this deep must not catch it.
    pub(crate) fn is_final(&self, depth: u16) -> bool {
        depth >= self.0.reach
    }

    /// The depth given to [`behind`](Self::behind), for the way from a worker to the program.
    pub(crate) fn reach(&self) -> u16 {
        self.0.reach
    }

    /// It is a hook's.
    pub(crate) fn of_hook(mut self) -> Self {
        self.0.hook = true;
        self
    }

    pub(crate) fn is_hook(&self) -> bool {
        self.0.hook
    }

    /// Its item was to be kept for the dead letters and could not be copied.
    pub(crate) fn unkept(self) -> Self {
        let text = format!("{} (and the item could not be copied for its dead letter)", self.chain());
        let again = Failure::new(self.0.kind, text).behind(self.0.reach).after(self.0.attempts);
        match &self.0.stage {
            Some(stage) => again.at(stage),
            None => again,
        }
    }

    /// What it says, and whose worker it was.
    pub(crate) fn of_worker(&self, block: &str) -> String {
        format!("in a worker of `{block}`: {}", self.chain())
    }

    /// An inner block gave up after this many attempts.
    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.0.attempts = self.0.attempts.max(attempts);
        self
    }

    /// Attempts made at the item: by the block that reports it, or by one inside it.
    pub(crate) fn attempts(&self, reported: u32) -> u32 {
        reported.max(self.0.attempts)
    }

    /// The error with its causes, as one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.0.error.to_string();
        let mut cause = self.0.error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            // Many errors repeat their source in their own text.
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        text
    }

    /// The error with its causes, its details indented beneath.
    pub(crate) fn at_length(&self) -> String {
        format!("{}{}", self.chain(), beneath(self.details()))
    }
}

/// Details as they are shown after a message: beneath it, indented.
pub(crate) fn beneath(details: Option<&str>) -> String {
    details.into_iter().flat_map(str::lines).map(|line| format!("\n    {line}")).collect()
}

/// At most so many lines of details.
pub(crate) fn beneath_first(details: Option<&str>, lines: usize) -> String {
    let shown: String = beneath(details).split_inclusive('\n').take(lines + 1).collect();
    match details.map_or(0, |details| details.lines().count()).saturating_sub(lines) {
        0 => shown,
        more => format!("{}\n    ({more} lines more)", shown.trim_end()),
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::new(FailureKind::Error, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stage) = &self.0.stage {
            write!(f, "stage `{stage}`: ")?;
        }
        f.write_str(&self.chain())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.0.kind)
            .field("stage", &self.0.stage)
            .field("error", &self.0.error)
            .finish()
    }
}

/// An item that failed for good, as the report tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FailedItem {
    /// The stage in which it failed.
    pub stage: String,
    /// The item's number at its block: 0 for the first that arrived.
    pub item: u64,
    /// Attempts made.
    pub attempts: u32,
    /// The error of the last attempt, with its causes, in one line.
    pub error: String,
    /// More than fits into a line, if there is more: a panic's backtrace, a dead worker's last words.
    #[serde(default)]
    pub details: Option<String>,
    /// What kind of failure ended the last attempt.
    pub kind: FailureKind,
    /// What became of the item.
    pub fate: Fate,
}

/// Who asked a run to end before its sources had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum StopCause {
    /// The program, by [`Running`](crate::Running) or a [`Handle`](crate::Handle).
    Handle,
    /// The signal of this number, sent to the program.
    Signal(i32),
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopCause::Handle => f.write_str("its handle"),
            StopCause::Signal(number) => minigun_os::Signal::new(*number).fmt(f),
        }
    }
}

/// What becomes of an item that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// It was set aside; the run goes on.
    Skipped,
    /// It went to the block's dead letters; the run goes on.
    Dead,
    /// It ends the run.
    Stopped,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fate::Skipped => "skipped",
            Fate::Dead => "dead",
            Fate::Stopped => "stopped the run at",
        })
    }
}

impl FailedItem {
    /// `block` names the stage if the failure does not know it.
    pub(crate) fn new(block: &str, item: u64, attempts: u32, failure: &Failure, fate: Fate) -> Self {
        FailedItem {
            stage: failure.stage().unwrap_or(block).to_string(),
            item,
            attempts: failure.attempts(attempts),
            error: failure.chain(),
            details: failure.details().map(str::to_string),
            kind: failure.kind(),
            fate,
        }
    }
}

/// Runs user code; a panic becomes a failure.
pub(crate) fn guarded<R>(f: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| Err(Failure::from_panic(payload)))
}

/// What a stage closure may return: `()` or `Result<(), Failure>`.
///
/// A generic error type would not infer (`Ok(())` alone does not name it), so there is one implementation
/// per shape, and one for closures that never return.
#[diagnostic::on_unimplemented(
    message = "a stage closure returns `()` or `Result<(), minigun::Failure>`, not `{Self}`",
    note = "a function with its own error type goes in as `|x, out| Ok(f(x)?)`; to pass a value on, use `map`/`try_map` or `out.emit(value)`"
)]
pub trait StageResult {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), Failure>;
}

impl StageResult for () {
    #[inline]
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl StageResult for Result<(), Failure> {
    #[inline]
    fn into_result(self) -> Result<(), Failure> {
        self
    }
}

/// `|_| panic!()` and `|_| abort()`: edition 2024 infers `!`, which stable Rust can name only as the
/// output of a function pointer.
impl StageResult for <fn() -> ! as FnOutput>::Output {
    fn into_result(self) -> Result<(), Failure> {
        self
    }
}

#[doc(hidden)]
pub trait FnOutput {
    type Output;
}

impl<R> FnOutput for fn() -> R {
    type Output = R;
}

/// How long to wait before an item is tried again: `first`, doubled after every attempt, never more than
/// `max`, each shortened by a random part of up to a quarter so that items that failed together do not come
/// back together.
///
/// The default is 100 ms, doubled up to 10 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits `first` after the first failed attempt, twice as long after each further one, at most `max`.
    pub fn exponential(first: Duration, max: Duration) -> Self {
        Backoff { first, max }
    }

    /// Tries again at once.
    pub fn none() -> Self {
        Backoff { first: Duration::ZERO, max: Duration::ZERO }
    }

    /// The wait after the `attempt`-th failed attempt (1, 2, …); `spread` in 0..=255 is the random part.
    pub(crate) fn wait(&self, attempt: u32, spread: u8) -> Duration {
        let doubled =
            self.first.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        // Far beyond any run, and still a time that a clock can be asked for.
        let wait = doubled.min(self.max).min(Duration::from_secs(365 * 24 * 3600));
        wait - wait / 1024 * u32::from(spread)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::exponential(crate::defaults::BACKOFF_FIRST, crate::defaults::BACKOFF_MAX)
    }
}

/// What a block does with an item that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Policy {
    /// Attempts at an item beyond which `last` applies; 1 means no retry.
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) last: Last,
}

/// What happens when an item's attempts are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Last {
    /// The run ends and returns the error.
    #[default]
    Stop,
    /// The item is counted as skipped, its error kept for the report.
    Skip,
    /// The item goes to the block's dead letters.
    DeadLetter,
}

/// What to do about a failed attempt.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Retry(Duration),
    Skip,
    DeadLetter,
    Stop,
}

impl Policy {
    /// The verdict on an item whose `attempt`-th attempt (1, 2, …) failed.
    pub(crate) fn verdict(&self, attempt: u32, spread: u8) -> Verdict {
        if attempt < self.attempts {
            return Verdict::Retry(self.backoff.wait(attempt, spread));
        }
        self.last_word()
    }

    /// The verdict on an item whose attempts are used up.
    pub(crate) fn last_word(&self) -> Verdict {
        match self.last {
            Last::Stop => Verdict::Stop,
            Last::Skip => Verdict::Skip,
            Last::DeadLetter => Verdict::DeadLetter,
        }
    }

    pub(crate) fn retries(&self) -> bool {
        self.attempts > 1
    }

    /// Whether an item must be kept while its `attempt`-th attempt is made.
    pub(crate) fn keeps(&self, attempt: u32) -> bool {
        attempt < self.attempts || self.last == Last::DeadLetter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_ceiling_and_never_exceeds_it() {
        let b = Backoff::exponential(Duration::from_millis(10), Duration::from_millis(35));
        let waits: Vec<_> = (1..=4).map(|n| b.wait(n, 0).as_millis()).collect();
        assert_eq!(waits, [10, 20, 35, 35]);
        assert!(b.wait(200, 255) <= Duration::from_millis(35));
        assert!(b.wait(2, 255) >= Duration::from_millis(15), "the random part is at most a quarter");
    }

    #[test]
    fn attempts_are_used_up_before_the_last_word() {
        let p = Policy { attempts: 3, backoff: Backoff::none(), last: Last::Skip };
        assert_eq!(p.verdict(1, 0), Verdict::Retry(Duration::ZERO));
        assert_eq!(p.verdict(2, 0), Verdict::Retry(Duration::ZERO));
        assert_eq!(p.verdict(3, 0), Verdict::Skip);
        assert_eq!(Policy::default().verdict(1, 0), Verdict::Stop);
    }

    #[test]
    fn a_failure_keeps_the_stage_named_first_and_prints_its_causes() {
        let f = Failure::from(std::io::Error::other("disk full")).at("write").at("block");
        assert_eq!(f.to_string(), "stage `write`: disk full");
    }
}
