//! Bytes that are written once and then read by many processes: an unlinked temporary file, mapped shared.
//!
//! A fork copies no page tables of such a mapping, so it costs the same however much was written. A child has no
//! page of it at first; where it reads, the kernel maps what its page cache holds there in one piece, on file
//! systems with large folios far more than a page. Written in large blocks, the pieces are large.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use crate::pid::Pid;

/// The file before it is mapped.
#[derive(Debug)]
pub struct DataFile {
    file: File,
    written: usize,
}

/// What was written, mapped for reading: at the border of a page, in this process and in every child that is forked
/// while it exists. Each process unmaps its own view on drop; the memory is free when the last view is gone.
#[derive(Debug)]
pub struct Data {
    /// Absent where nothing was written: there is no mapping of no size.
    start: Option<NonNull<u8>>,
    length: usize,
}

/// Names that were tried and not free, before it is given up.
const TRIES: usize = 16;

impl DataFile {
    /// A new file in this folder that has no name: whatever becomes of this process, nothing is left of it.
    ///
    /// # Errors
    /// What the system says: the folder does not exist, is not a folder, cannot be written to.
    pub fn new(folder: &Path) -> io::Result<DataFile> {
        let unnamed =
            OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(folder);
        let file = match unnamed {
            // Not every file system can make a file without a name.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
                removed(folder)?
            }
            other => other?,
        };
        Ok(DataFile { file, written: 0 })
    }

    /// Appends these bytes, all or none: after an error the next ones are written over what got there.
    ///
    /// # Errors
    /// What the system says to `pwrite`: `StorageFull`, `QuotaExceeded`, `FileTooLarge`.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written as u64)?;
        self.written += bytes.len();
        Ok(())
    }

    /// Maps what was written, for reading only; the file is closed. All pages that memory holds are mapped at once in
    /// this process, so that none of them ever looks like the own memory of a child that reads it
    /// (see [`private_memory`](crate::procfs::private_memory)).
    ///
    /// # Errors
    /// What the kernel says to `mmap`: `ENOMEM`, `ENODEV` where the file system cannot map.
    pub fn map(self) -> io::Result<Data> {
        let DataFile { file, written: length } = self;
        if length == 0 {
            return Ok(Data { start: None, length });
        }
        // SAFETY: 1. A null hint lets the kernel choose a place where nothing is mapped. 2. The mapping cannot be
        // written through. 3. Nobody else can change or shorten the file: it never had a name, or has none any
        // more, and the one descriptor of it is closed when this function returns. (Another process of the same
        // user could have opened it through `/proc` until then, as it could write to this process's memory.)
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::POPULATE,
                &file,
                0,
            )
        }?;
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Data { start: Some(start), length }),
            None => Err(io::Error::other("mmap gave a null mapping")),
        }
    }
}

/// A file that had a name, but not for long.
fn removed(folder: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    for _ in 0..TRIES {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".minigun-{}-{number}", Pid::current()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no name was free for a temporary file"))
}

impl Data {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self.start {
            // SAFETY: 1. The mapping begins here and has this length, all of it written to the file before, so no
            // byte lies behind the file's end. 2. It stays mapped while `self` is borrowed. 3. Nobody writes to
            // it: see `DataFile::map`. 4. The length is that of a file that was written, below `isize::MAX`.
            Some(start) => unsafe { std::slice::from_raw_parts(start.as_ptr(), self.length) },
            None => &[],
        }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            // SAFETY: 1. This is the range that was mapped. 2. No reference into it is left: they borrow `self`.
            let _ = unsafe { rustix::mm::munmap(start.as_ptr().cast(), self.length) };
        }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only read.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: &[u8]) -> Data {
        let mut file = DataFile::new(&std::env::temp_dir()).unwrap();
        bytes.chunks(7).for_each(|chunk| file.append(chunk).unwrap());
        file.map().unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        assert_eq!(data(&bytes).bytes(), bytes);
        assert_eq!(data(&[]).bytes(), b"");
    }

    #[test]
    fn a_file_that_had_a_name_has_none_any_more() {
        let folder = std::env::temp_dir().join(format!("minigun-data-{}", Pid::current()));
        std::fs::create_dir(&folder).unwrap();
        let mut file = DataFile { file: removed(&folder).unwrap(), written: 0 };
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(&folder).unwrap();
        file.append(b"still there").unwrap();
        assert_eq!(file.map().unwrap().bytes(), b"still there");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error = DataFile::new(Path::new("/there/is/no/such/folder")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
