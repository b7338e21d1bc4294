//! What `/proc` says: threads, descriptors, children and memory. For tests, diagnostics and one check before a fork.

use std::fs;
use std::io;
use std::path::PathBuf;

pub use super::memory::{mapped_memory, oom_kills, peak_memory, private_memory, resident_memory};
use crate::pid::Pid;

/// How many threads this process has now.
///
/// # Errors
/// What reading `/proc/self/stat` says, e.g. where `/proc` is not mounted.
pub fn threads() -> io::Result<usize> {
    // Not by listing `/proc/self/task`: where a thread ends meanwhile, the listing may end there too.
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name in brackets, which may itself hold anything: the 18th field.
    let count = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(17)?.parse().ok());
    count.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat has no count of threads"))
}

/// The open descriptors of this process and what each leads to, e.g. `socket:[4711]`.
///
/// # Errors
/// What reading `/proc/self/fd` says.
pub fn open_fds() -> io::Result<Vec<(i32, PathBuf)>> {
    fds_of(Pid::current())
}

/// The open descriptors of a process of the same user.
///
/// # Errors
/// What reading `/proc/<pid>/fd` says.
pub fn fds_of(pid: Pid) -> io::Result<Vec<(i32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        // The directory's own descriptor is closed again by the time its link is read, if it is ours.
        if let (Some(number), Ok(target)) =
            (entry.file_name().to_str().and_then(|n| n.parse().ok()), fs::read_link(entry.path()))
        {
            found.push((number, target));
        }
    }
    Ok(found)
}

/// The children of a process, whichever of its threads made them. Zombies count.
///
/// # Errors
/// What reading `/proc` says.
pub fn children_of(parent: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse().ok()).and_then(Pid::new) else {
            continue;
        };
        if stat(pid).is_some_and(|stat| stat.parent == Some(parent)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether a process of that number exists and goes on running: a zombie, and one that is just leaving (it may
/// have closed its descriptors already), do not.
pub fn is_alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X') && stat.flags & EXITING == 0)
}

/// The process group of a process, also of a zombie; `None` if there is no such process.
pub fn group_of(pid: Pid) -> Option<Pid> {
    stat(pid).and_then(|stat| stat.group)
}

/// The title of a process (`comm`), at most 15 bytes.
///
/// # Errors
/// What reading `/proc/<pid>/comm` says.
pub fn title(pid: Pid) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?.trim_end_matches('\n').to_owned())
}

/// The kernel's mark (`PF_EXITING`) on a process that has begun to leave.
const EXITING: u64 = 4;

struct Stat {
    state: char,
    parent: Option<Pid>,
    group: Option<Pid>,
    flags: u64,
}

/// `pid (title) state parent group session terminal foreground flags ...`; the title may hold anything, so fields are counted from its last bracket.
fn stat(pid: Pid) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok().and_then(Pid::new);
    let group = fields.next()?.parse().ok().and_then(Pid::new);
    let flags = fields.nth(3)?.parse().ok()?;
    Some(Stat { state, parent, group, flags })
}
