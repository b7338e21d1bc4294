//! Paths that can travel: a file name on Unix is bytes, not text.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilePath(#[serde(with = "serde_bytes")] Vec<u8>);

impl FilePath {
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The raw name: the key in the database.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For people: on one line, whatever the name holds.
    pub(crate) fn shown(&self) -> String {
        printable(&String::from_utf8_lossy(&self.0))
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        FilePath(path.into_os_string().into_vec())
    }
}

/// Text from files and file names may hold line breaks or escape sequences; a terminal should see neither.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_the_wire() {
        let path = FilePath::from(PathBuf::from(OsStr::from_bytes(b"/tmp/caf\xe9\n")));
        let wire = serde_json::to_vec(&path).expect("bytes can be written");
        let back: FilePath = serde_json::from_slice(&wire).expect("and read back");
        assert_eq!(back, path);
        assert_eq!(back.as_path().as_os_str().as_bytes(), b"/tmp/caf\xe9\n");
    }

    #[test]
    fn shown_on_one_line() {
        let path = FilePath::from(PathBuf::from(OsStr::from_bytes(b"a\nb\x1b[31m\xff")));
        assert_eq!(path.shown(), "a\\nb\\u{1b}[31m\u{fffd}");
    }
}
