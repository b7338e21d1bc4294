//! `Shared`: a data set made before the run, which every worker process reads without a copy of its own.

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::Pod;
use minigun_os::{Data, DataFile};

/// A slice that is written once and then read, by this program and by every worker process that is forked later:
/// nothing of it is copied, and a fork costs the same however large it is.
///
/// A large `Vec` that workers read is not copied by a fork either, but its page tables are: with 1 GiB of heap a fork
/// takes milliseconds instead of microseconds, which counts where [`process_per_batch`](crate::process_per_batch)
/// forks a worker for every batch.
///
/// ```
/// use minigun::{Pipeline, Shared};
///
/// let squares = Shared::collect((0..1000_u64).map(|n| n * n))?;
/// let p = Pipeline::new("look up");
/// let sum = p
///     .source("numbers", [3_usize, 4, 5])
///     .processes(2, move |s| s.map("square", move |n| squares[n]))
///     .fold("sum", 0, |sum, square| sum + square);
/// assert_eq!(p.run()?.take(sum), 9 + 16 + 25);
/// # Ok::<(), minigun::Error>(())
/// ```
///
/// It holds plain data: [`bytemuck::Pod`], which numbers, arrays of them, and structs that derive it are. For text, or
/// anything of varied size, there are [`SharedBytes`], with an index in a second `Shared`.
///
/// Make it before the run and capture it, or a clone, in the closures. A clone is another hold on the same data, also
/// across threads; the memory is free when the last hold of the last process is gone. What is made in a worker is seen
/// by that worker alone, and by those that a run of its own forks.
///
/// # Where it lives
///
/// In a temporary file without a name: in the folder that `TMPDIR` names, else in `/var/tmp`, the place for large
/// temporary files, or in one of your choice ([`writer_in`](Self::writer_in)). So it takes room there, and none of the program's heap:
/// what is being read stays in the kernel's page cache, the rest the kernel may write out and read again. Nothing
/// is left on the disk, however the program ends. A disk that fails to give back what was written kills the
/// process that reads it (SIGBUS). A folder on a disk does better than one in memory (tmpfs), whose small pages each
/// worker would have to map one by one.
///
/// Where there are no such files (systems other than Linux) it is an ordinary `Vec`, of which the threads that then
/// stand for the workers need no copy.
pub struct Shared<S: ?Sized>(Place<S>);

/// Bytes that are shared with worker processes; see [`Shared`].
pub type SharedBytes = Shared<[u8]>;

enum Place<S: ?Sized> {
    Mapped(Arc<Data>),
    /// Where nothing can be mapped.
    Heap(Arc<S>),
}

/// Why a data set could not be shared.
///
/// `Debug` prints the same text as `Display`.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SharedError {
    /// No temporary file could be made.
    #[error("no temporary file for a shared data set can be made in `{}`: {source}; {OTHER_FOLDER}", folder.display())]
    Create {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data could not be written.
    #[error("a shared data set has no more room in `{}` after {written} bytes: {source}; {OTHER_FOLDER}", folder.display())]
    Write {
        /// The folder.
        folder: PathBuf,
        /// How many bytes had been written.
        written: u64,
        /// What the system said.
        source: io::Error,
    },
    /// What was written could not be mapped.
    #[error("a shared data set of {length} bytes in `{}` cannot be mapped: {source}; {OTHER_FOLDER}", folder.display())]
    Map {
        /// The folder.
        folder: PathBuf,
        /// How large it is.
        length: u64,
        /// What the system said.
        source: io::Error,
    },
}

const OTHER_FOLDER: &str = "make room, or choose another folder with TMPDIR or `Shared::writer_in`";

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: Pod> Shared<[T]> {
    /// A copy of what `items` has.
    ///
    /// # Errors
    /// [`SharedError`]: there is no folder for temporary files, or no room in it.
    pub fn copied(items: &[T]) -> Result<Self, SharedError> {
        let mut writer = Self::writer()?;
        writer.extend_from_slice(items)?;
        writer.finish()
    }

    /// All that `items` gives, in its order. It never is in memory twice.
    ///
    /// # Errors
    /// As [`copied`](Self::copied).
    pub fn collect(items: impl IntoIterator<Item = T>) -> Result<Self, SharedError> {
        let mut writer = Self::writer()?;
        for item in items {
            writer.push(item)?;
        }
        writer.finish()
    }

    /// Something to write the data set to bit by bit; [where it lives](Self#where-it-lives).
    ///
    /// # Errors
    /// [`SharedError::Create`].
    pub fn writer() -> Result<SharedWriter<T>, SharedError> {
        Self::writer_in(folder())
    }

    /// As [`writer`](Self::writer), in a folder of your choice: one on a disk with room for it.
    ///
    /// # Errors
    /// [`SharedError::Create`].
    pub fn writer_in(folder: impl AsRef<Path>) -> Result<SharedWriter<T>, SharedError> {
        // A mapping begins at the border of a page.
        const {
            assert!(
                size_of::<T>() > 0 && align_of::<T>() <= 4096,
                "items of no size, or of too large an alignment"
            )
        };
        let folder = folder.as_ref().to_path_buf();
        let file = match DataFile::new(&folder) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            Err(source) => return Err(SharedError::Create { folder, source }),
        };
        Ok(SharedWriter { file, folder, written: 0, block: Vec::new(), of: PhantomData })
    }
}

/// `/tmp` is often in memory, with small pages and little room: it comes last.
fn folder() -> PathBuf {
    let large = Path::new("/var/tmp");
    if std::env::var_os("TMPDIR").is_none() && large.is_dir() {
        large.to_path_buf()
    } else {
        std::env::temp_dir()
    }
}

impl<T: Pod> Deref for Shared<[T]> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            // It begins at the border of a page, and was written as whole items.
            Place::Mapped(data) => bytemuck::cast_slice(data.bytes()),
            Place::Heap(items) => items,
        }
    }
}

impl<T: Pod> AsRef<[T]> for Shared<[T]> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<S: ?Sized> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Shared(match &self.0 {
            Place::Mapped(data) => Place::Mapped(Arc::clone(data)),
            Place::Heap(items) => Place::Heap(Arc::clone(items)),
        })
    }
}

/// How large it is, not what is in it.
impl<T: Pod> fmt::Debug for Shared<[T]> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared<[{}; {}]>", std::any::type_name::<T>(), self.len())
    }
}

/// A data set that is being written; made by [`Shared::writer`]. For bytes it is an [`io::Write`].
pub struct SharedWriter<T> {
    /// Absent where there are no such files: then all of it stays in `block`.
    file: Option<DataFile>,
    folder: PathBuf,
    written: u64,
    /// The bytes of what was given and is not yet written.
    block: Vec<u8>,
    of: PhantomData<T>,
}

/// What is written at once, at a multiple of it: whole huge pages. The page cache keeps together what came together,
/// and a worker that reads a place of it maps a huge page at once; of smaller blocks it would map a few pages at a
/// time.
const BLOCK: usize = 4 << 20;

impl<T: Pod> SharedWriter<T> {
    /// Appends one item.
    ///
    /// # Errors
    /// [`SharedError::Write`]: there is no more room. The next call tries again to write what was taken until then,
    /// this item among it.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), SharedError> {
        self.block.extend_from_slice(bytemuck::bytes_of(&item));
        if self.block.len() >= BLOCK { self.write_blocks() } else { Ok(()) }
    }

    /// Appends all of these.
    ///
    /// # Errors
    /// As [`push`](Self::push): some of these were then taken, others were not.
    pub fn extend_from_slice(&mut self, items: &[T]) -> Result<(), SharedError> {
        for items in items.chunks((BLOCK / size_of::<T>()).max(1)) {
            self.block.extend_from_slice(bytemuck::cast_slice(items));
            if self.block.len() >= BLOCK {
                self.write_blocks()?;
            }
        }
        Ok(())
    }

    /// The data set as it was written.
    ///
    /// # Errors
    /// [`SharedError::Write`], [`SharedError::Map`].
    pub fn finish(mut self) -> Result<Shared<[T]>, SharedError> {
        self.write_blocks()?;
        self.write(self.block.len())?;
        let SharedWriter { file, folder, written: length, block, .. } = self;
        match file {
            Some(file) if length > 0 => match file.map() {
                Ok(data) => Ok(Shared(Place::Mapped(Arc::new(data)))),
                Err(source) => Err(SharedError::Map { folder, length, source }),
            },
            // There is no mapping of no size.
            _ => {
                let items = block.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned);
                Ok(Shared(Place::Heap(items.collect())))
            }
        }
    }

    /// Whole blocks, however large the items are.
    fn write_blocks(&mut self) -> Result<(), SharedError> {
        while self.file.is_some() && self.block.len() >= BLOCK {
            self.write(BLOCK)?;
        }
        Ok(())
    }

    /// So many bytes of what is waiting.
    fn write(&mut self, length: usize) -> Result<(), SharedError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(source) = file.append(&self.block[..length]) {
            return Err(SharedError::Write { folder: self.folder.clone(), written: self.written, source });
        }
        self.written += length as u64;
        self.block.drain(..length);
        Ok(())
    }
}

impl<T> fmt::Debug for SharedWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedWriter({} bytes in {})", self.written, self.folder.display())
    }
}

impl Write for SharedWriter<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    /// There is nothing that could be seen earlier: what was written is seen when it is
    /// [finished](SharedWriter::finish).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
