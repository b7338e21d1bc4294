//! Why one attempt at an item failed: the value a stage closure returns with `?`.
//!
//! `failed` is an item that failed for good, `policy` what a block does with one that failed, `result` what closures
//! may return.

mod failed;
mod policy;
mod result;

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::panics;

pub use failed::{FailedItem, Fate, StopCause};
pub use policy::Backoff;
pub(crate) use policy::{Last, Policy, Verdict};
pub use result::StageResult;

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

/// Runs user code; a panic becomes a failure.
pub(crate) fn guarded<R>(f: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| Err(Failure::from_panic(payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_the_stage_named_first_and_prints_its_causes() {
        let f = Failure::from(std::io::Error::other("disk full")).at("write").at("block");
        assert_eq!(f.to_string(), "stage `write`: disk full");
    }

    #[test]
    fn the_first_details_are_shown_and_the_others_counted() {
        assert_eq!(beneath_first(None, 2), "");
        assert_eq!(beneath_first(Some("a\nb"), 2), "\n    a\n    b");
        assert_eq!(beneath_first(Some("a\nb\nc\nd"), 2), "\n    a\n    b\n    (2 lines more)");
    }
}
