//! Which files there are.

use std::io;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};

use crate::path::FilePath;
use crate::skip::{Reason, Skip};

/// The folder by its one true name, so that every way of naming it leads to the same rows.
pub(crate) fn root(folder: &Path) -> io::Result<PathBuf> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", folder.display()));
    let root = folder.canonicalize().map_err(named)?;
    match root.metadata().map_err(named)?.is_dir() {
        true => Ok(root),
        false => Err(named(io::ErrorKind::NotADirectory.into())),
    }
}

/// Every entry under `root` that is no folder, leaving out hidden ones, those that ignore files name, and
/// `own`.
pub(crate) fn entries(
    root: &Path,
    own: Vec<PathBuf>,
) -> impl Iterator<Item = Result<FilePath, Skip>> + use<> {
    let root = root.to_owned();
    WalkBuilder::new(&root)
        .require_git(false) // a .gitignore counts without a repository, too
        .build()
        .filter_map(move |entry| match entry {
            Ok(entry) => file(entry, &own).map(Ok),
            Err(error) => {
                let path = about(&error).unwrap_or(&root).to_owned().into();
                let why = error.io_error().map_or_else(|| error.to_string(), |e| e.kind().to_string());
                Some(Err(Skip { path, reason: Reason::NotListed(why) }))
            }
        })
}

fn file(entry: DirEntry, own: &[PathBuf]) -> Option<FilePath> {
    if let Some(error) = entry.error() {
        eprintln!("index: an ignore file has a line that cannot be used: {error}");
    }
    let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
    let path = entry.into_path();
    (!is_folder && !own.contains(&path)).then(|| path.into())
}

/// The path an error is about.
fn about(error: &ignore::Error) -> Option<&Path> {
    use ignore::Error::*;
    match error {
        WithPath { path, .. } => Some(path),
        WithDepth { err, .. } | WithLineNumber { err, .. } => about(err),
        Loop { child, .. } => Some(child),
        Partial(errors) => errors.iter().find_map(about),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::TempDir;
    use std::fs;

    #[test]
    fn files_only_and_neither_hidden_nor_ignored_nor_our_own() {
        let dir = TempDir::new("walk");
        fs::create_dir(dir.join("sub")).unwrap();
        for name in ["a", "b.log", ".hidden", "index.db", "sub/c"] {
            fs::write(dir.join(name), "x").unwrap();
        }
        fs::write(dir.join(".gitignore"), "*.log\n").unwrap();
        std::os::unix::fs::symlink("/", dir.join("link")).unwrap();

        let mut found: Vec<_> =
            entries(&dir, vec![dir.join("index.db")]).map(|e| e.unwrap().as_path().to_owned()).collect();
        found.sort();
        assert_eq!(found, [dir.join("a"), dir.join("link"), dir.join("sub/c")]);
    }

    #[test]
    fn a_root_is_a_folder() {
        let dir = TempDir::new("root");
        fs::write(dir.join("file"), "").unwrap();
        assert_eq!(root(&dir).unwrap(), dir.canonicalize().unwrap());
        assert!(root(&dir.join("file")).unwrap_err().to_string().contains("not a directory"));
        assert!(root(&dir.join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn a_folder_that_vanished_is_a_skip() {
        let dir = TempDir::new("vanished");
        let gone = dir.join("gone");
        let all: Vec<_> = entries(&gone, vec![]).collect();
        let [Err(Skip { path, reason: Reason::NotListed(_) })] = &all[..] else { panic!("{all:?}") };
        assert_eq!(path.as_path(), gone);
    }
}
