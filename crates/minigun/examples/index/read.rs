//! The bytes of a file, if it is a file.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::path::FilePath;
use crate::skip::{Reason, Skip};

/// Larger files are skipped.
pub(crate) const LIMIT: u64 = 4 << 20;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Raw {
    pub(crate) path: FilePath,
    #[serde(with = "serde_bytes")]
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn read(path: FilePath) -> Result<Raw, Skip> {
    match contents(path.as_path()) {
        Ok(bytes) => Ok(Raw { path, bytes }),
        Err(reason) => Err(Skip { path, reason }),
    }
}

/// Opening a FIFO waits for a writer and opening a device may do anything, so look first. The name may change
/// hands between the look and the opening: then the flags keep us from waiting, and the second look decides.
fn contents(path: &Path) -> Result<Vec<u8>, Reason> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(Reason::NotAFile);
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Reason::NotAFile);
    }
    if found.len() > LIMIT {
        return Err(Reason::TooLarge);
    }
    let mut bytes = Vec::with_capacity(found.len() as usize + 1);
    file.take(LIMIT + 1).read_to_end(&mut bytes)?; // it may have grown
    if bytes.len() as u64 > LIMIT { Err(Reason::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::TempDir;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    fn reason(path: &Path) -> Reason {
        read(path.to_owned().into()).unwrap_err().reason
    }

    #[test]
    fn regular_files_up_to_the_limit() {
        let dir = TempDir::new("read");
        let (exact, over) = (dir.join("exact"), dir.join("over"));
        fs::write(&exact, vec![b'x'; LIMIT as usize]).unwrap();
        fs::write(&over, vec![b'x'; LIMIT as usize + 1]).unwrap();
        assert_eq!(read(exact.into()).unwrap().bytes.len() as u64, LIMIT);
        assert_eq!(reason(&over), Reason::TooLarge);
    }

    #[test]
    fn nothing_else_is_opened() {
        let dir = TempDir::new("kinds");
        let (fifo, socket, link) = (dir.join("fifo"), dir.join("socket"), dir.join("link"));
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let _listener = UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        for path in [&fifo, &socket, &link, &*dir, Path::new("/dev/zero")] {
            assert_eq!(reason(path), Reason::NotAFile, "{}", path.display());
        }
    }

    #[test]
    fn a_file_that_vanished_says_so() {
        let dir = TempDir::new("gone");
        let Reason::Unreadable(error) = reason(&dir.join("gone")) else { panic!("a file that is not there") };
        assert!(error.contains("No such file"), "{error}");
    }
}
