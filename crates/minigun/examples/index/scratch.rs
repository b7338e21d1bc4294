//! A folder for one test, removed with everything in it.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// `name` keeps the tests of one process apart.
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("minigun-index-{}-{name}", process::id()));
        fs::create_dir(&path).unwrap();
        TempDir(path)
    }
}

impl Deref for TempDir {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
