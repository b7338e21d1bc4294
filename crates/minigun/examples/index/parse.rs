//! From bytes to a document. Pure: no file, no clock, no database.

use serde::{Deserialize, Serialize};

use crate::path::FilePath;
use crate::read::Raw;
use crate::skip::{Reason, Skip};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Doc {
    pub(crate) path: FilePath,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) lines: usize,
    pub(crate) words: usize,
    #[serde(with = "serde_bytes")]
    pub(crate) hash: [u8; 32],
}

pub(crate) fn parse(Raw { path, bytes }: Raw) -> Result<Doc, Skip> {
    match text(bytes) {
        Ok(text) => Ok(Doc {
            title: title(&text, is_markdown(&path)),
            lines: text.lines().count(),
            words: text.split_whitespace().count(),
            hash: blake3::hash(text.as_bytes()).into(),
            path,
            text,
        }),
        Err(reason) => Err(Skip { path, reason }),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Reason> {
    if bytes.contains(&0) {
        return Err(Reason::Binary);
    }
    String::from_utf8(bytes).map_err(|_| Reason::NotUtf8)
}

fn is_markdown(path: &FilePath) -> bool {
    path.as_path()
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("md") || e.eq_ignore_ascii_case("markdown"))
}

/// The first heading of a Markdown file; the first line with something on it for all others.
fn title(text: &str, markdown: bool) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let heading = if markdown { first_heading(text) } else { None };
    let line = heading.or_else(|| text.lines().map(str::trim).find(|line| !line.is_empty()));
    shorten(line.unwrap_or_default(), 80)
}

/// `# Heading`, but not inside a fenced block, where it is most likely a comment.
fn first_heading(text: &str) -> Option<&str> {
    let mut fenced = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") || line.starts_with("~~~") {
            fenced = !fenced;
        } else if !fenced {
            let rest = line.trim_start_matches('#');
            let level = line.len() - rest.len();
            let heading = rest.trim_end_matches('#').trim();
            if (1..=6).contains(&level) && rest.starts_with([' ', '\t']) && !heading.is_empty() {
                return Some(heading);
            }
        }
    }
    None
}

fn shorten(line: &str, limit: usize) -> String {
    match line.char_indices().nth(limit) {
        None => line.to_owned(),
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn parsed(name: &str, bytes: &[u8]) -> Result<Doc, Reason> {
        parse(Raw { path: PathBuf::from(name).into(), bytes: bytes.to_vec() }).map_err(|skip| skip.reason)
    }

    #[test]
    fn counts() {
        let doc = parsed("a.txt", b"one two\n\nthree\n").unwrap();
        assert_eq!((doc.lines, doc.words), (3, 3));
        let empty = parsed("a.txt", b"").unwrap();
        assert_eq!((empty.lines, empty.words, empty.title.as_str()), (0, 0, ""));
    }

    #[test]
    fn what_is_not_text() {
        assert_eq!(parsed("a", b"\x7fELF\0\0"), Err(Reason::Binary));
        assert_eq!(parsed("a", b"caf\xe9"), Err(Reason::NotUtf8));
        assert_eq!(parsed("a", &[b"\xff".as_slice(), b"\0"].concat()), Err(Reason::Binary));
    }

    #[test]
    fn equal_texts_have_equal_hashes() {
        assert_eq!(parsed("a", b"x").unwrap().hash, parsed("b", b"x").unwrap().hash);
        assert_ne!(parsed("a", b"x").unwrap().hash, parsed("a", b"y").unwrap().hash);
    }

    #[test]
    fn titles() {
        assert_eq!(title("\n  first line \nsecond", false), "first line");
        assert_eq!(title("\u{feff}# Heading #\n", true), "Heading");
        assert_eq!(title("intro\n\n## The heading\n", true), "The heading");
        assert_eq!(title("intro\n## no heading here\n", false), "intro");
        assert_eq!(title("```sh\n# comment\n```\n# Real\n", true), "Real");
        assert_eq!(title("#hashtag\n#\n", true), "#hashtag");
        assert_eq!(title(" \n\t\n", true), "");
    }

    #[test]
    fn long_titles_are_cut_between_characters() {
        let title = title(&"ä".repeat(200), false);
        assert_eq!(title.chars().count(), 81);
        assert!(title.ends_with("ä…"));
    }
}
