//! Files that are not indexed, each with its reason.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::path::{FilePath, printable};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Skip {
    pub(crate) path: FilePath,
    pub(crate) reason: Reason,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Reason {
    /// The walk could not look at it; if it is a folder, its files are unknown.
    NotListed(String),
    /// A symbolic link, FIFO, socket or device.
    NotAFile,
    TooLarge,
    Unreadable(String),
    Binary,
    NotUtf8,
}

impl Reason {
    fn name(&self) -> &'static str {
        match self {
            Reason::NotListed(_) => "could not be listed",
            Reason::NotAFile => "not a regular file",
            Reason::TooLarge => "too large",
            Reason::Unreadable(_) => "unreadable",
            Reason::Binary => "binary",
            Reason::NotUtf8 => "not UTF-8",
        }
    }

    fn detail(&self) -> Option<&str> {
        match self {
            Reason::NotListed(error) | Reason::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Reason::Unreadable(error.to_string())
    }
}

/// All skips by reason: how many, and the first few by name.
#[derive(Default)]
pub(crate) struct Skips {
    by_reason: BTreeMap<&'static str, Group>,
    incomplete: bool,
}

#[derive(Default)]
struct Group {
    count: u64,
    first: Vec<String>,
}

const NAMED: usize = 3;

impl Skips {
    pub(crate) fn with(mut self, Skip { path, reason }: Skip) -> Self {
        self.incomplete |= matches!(reason, Reason::NotListed(_));
        let group = self.by_reason.entry(reason.name()).or_default();
        group.count += 1;
        if group.first.len() < NAMED {
            let detail = reason.detail().map(|d| format!(" ({})", printable(d))).unwrap_or_default();
            group.first.push(path.shown() + &detail);
        }
        self
    }

    pub(crate) fn total(&self) -> u64 {
        self.by_reason.values().map(|group| group.count).sum()
    }

    pub(crate) fn walk_was_complete(&self) -> bool {
        !self.incomplete
    }
}

impl fmt::Display for Skips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, Group { count, first }) in &self.by_reason {
            writeln!(f, "skipped {count}: {reason}")?;
            for path in first {
                writeln!(f, "    {path}")?;
            }
            match *count as usize - first.len() {
                0 => {}
                more => writeln!(f, "    and {more} more")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn skips(reasons: impl IntoIterator<Item = Reason>) -> Skips {
        let path = FilePath::from(PathBuf::from("/x"));
        reasons.into_iter().fold(Skips::default(), |s, reason| s.with(Skip { path: path.clone(), reason }))
    }

    #[test]
    fn counted_by_reason_and_a_few_named() {
        let some = skips([
            Reason::Binary,
            Reason::Unreadable("denied".into()),
            Reason::Binary,
            Reason::Binary,
            Reason::Binary,
            Reason::Binary,
        ]);
        assert_eq!(some.total(), 6);
        assert_eq!(
            some.to_string(),
            "skipped 5: binary\n    /x\n    /x\n    /x\n    and 2 more\nskipped 1: unreadable\n    /x (denied)\n"
        );
    }

    #[test]
    fn only_a_failed_listing_makes_the_walk_incomplete() {
        assert!(skips([]).walk_was_complete());
        assert!(skips([Reason::Unreadable("gone".into()), Reason::NotAFile]).walk_was_complete());
        assert!(!skips([Reason::NotListed("denied".into()), Reason::Binary]).walk_was_complete());
    }
}
