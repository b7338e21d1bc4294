//! What the kernel says about memory: how much a process has for itself, and how often it killed for want of it.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::oom::OomKills;
use crate::pid::Pid;

/// Bytes of resident memory that belong to this process alone: pages it shares with the process that forked
/// it, and those of files that others have mapped too, are not among them.
///
/// # Errors
/// What reading `/proc/self/smaps_rollup` says (`EACCES` or `ENOENT` where it is not offered); `InvalidData`.
pub fn private_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    private_of(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/smaps_rollup"))
}

/// Bytes of address space that this process has mapped.
///
/// # Errors
/// What reading `/proc/self/statm` says; `InvalidData`.
pub fn mapped_memory() -> io::Result<u64> {
    let pages = mapped_of(&fs::read_to_string("/proc/self/statm")?);
    let bytes = pages.and_then(|pages| pages.checked_mul(rustix::param::page_size() as u64));
    bytes.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/statm"))
}

/// Bytes of memory that a process has resident now, what it shares with others included.
///
/// # Errors
/// What reading `/proc/<pid>/statm` says, e.g. that there is no such process; `InvalidData`.
pub fn resident_memory(pid: Pid) -> io::Result<u64> {
    let path = format!("/proc/{pid}/statm");
    let pages = resident_of(&fs::read_to_string(&path)?);
    let bytes = pages.and_then(|pages| pages.checked_mul(rustix::param::page_size() as u64));
    bytes.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, path))
}

/// The most bytes that this process has had resident, what it shares with others included. One system call: a file of
/// `/proc` would cost a short-lived worker a tenth of its life.
///
/// # Errors
/// What the kernel says to `getrusage`.
pub fn peak_memory() -> io::Result<u64> {
    // SAFETY: 1. Zeroed `rusage` is valid plain data. 2. The pointer outlives the call.
    let (result, used) = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_SELF, &raw mut used), used)
    };
    match result {
        0 => Ok(u64::try_from(used.ru_maxrss).unwrap_or(0).saturating_mul(1024)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many processes the kernel has killed for want of memory by now.
pub fn oom_kills() -> OomKills {
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| events_file(&text));
    let group = group.and_then(|path| fs::read_to_string(path).ok());
    let machine = fs::read_to_string("/proc/vmstat").ok();
    OomKills {
        group: group.and_then(|text| counter(&text, "oom_kill")),
        machine: machine.and_then(|text| counter(&text, "oom_kill")),
    }
}

/// `Private_Clean` and `Private_Dirty` of a rollup, whose lines are `Name:   123 kB`.
fn private_of(rollup: &str) -> Option<u64> {
    kib(rollup, "Private_Clean")?.checked_add(kib(rollup, "Private_Dirty")?)?.checked_mul(1024)
}

/// The number in a line `Name:   123 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The first number of `statm`: pages mapped.
fn mapped_of(statm: &str) -> Option<u64> {
    statm.split_whitespace().next()?.parse().ok()
}

/// The second: pages resident.
fn resident_of(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

/// The `memory.events` of the unified hierarchy's group, from the lines `number:controllers:path`.
fn events_file(cgroups: &str) -> Option<PathBuf> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A group outside of this process's view begins with `..`: its files cannot be found from here.
    (!path.starts_with("..")).then(|| PathBuf::from("/sys/fs/cgroup").join(path).join("memory.events"))
}

/// A counter among lines of `name value`.
fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_read_from_a_rollup() {
        let rollup = "55d0-7ffe ---p 00000000 00:00 0   [rollup]\nRss:       3000 kB\nPss:       900 kB\n\
            Shared_Clean:   1000 kB\nPrivate_Clean:     12 kB\nPrivate_Dirty:    800 kB\nSwap:     0 kB\n";
        assert_eq!(private_of(rollup), Some(812 * 1024));
        assert_eq!(private_of("Rss: 3 kB\nPrivate_Clean: 1 kB\n"), None, "half of it is nothing");
        assert_eq!(private_of("Private_Clean: many kB\nPrivate_Dirty: 1 kB\n"), None);
    }

    #[test]
    fn resident_memory_and_its_peak_are_read_and_the_peak_is_no_less() {
        assert_eq!(resident_of("100 42 7 1 0 5 0"), Some(42));
        assert_eq!(resident_of("100"), None);
        let now = resident_memory(Pid::current()).expect("is read");
        assert!(now > 0 && peak_memory().expect("is read") >= now / 2);
    }

    #[test]
    fn a_process_that_touches_memory_has_more_for_itself() {
        let before = private_memory().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = private_memory().unwrap();
        // Other tests of this process may let something go meanwhile, but not so much.
        assert!(after > before + (32 << 20), "{before} to {after}");
        assert!(mapped_memory().unwrap() > 64 << 20);
        drop(touched);
    }

    #[test]
    fn mapped_pages_are_the_first_number() {
        assert_eq!(mapped_of("1234 567 89 10 0 11 0\n"), Some(1234));
        assert_eq!(mapped_of(""), None);
    }

    #[test]
    fn the_groups_events_are_found_by_the_unified_line() {
        let found = |text| events_file(text).map(|path| path.display().to_string());
        let hybrid = "4:memory:/x\n1:name=systemd:/y\n0::/user.slice/run-1.scope\n";
        assert_eq!(found(hybrid).unwrap(), "/sys/fs/cgroup/user.slice/run-1.scope/memory.events");
        assert_eq!(found("0::/\n").unwrap(), "/sys/fs/cgroup/memory.events");
        assert_eq!(found("0::/../../other\n"), None);
        assert_eq!(found("4:memory:/x\n"), None);
    }

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let events = "low 0\nhigh 7\nmax 3\noom 2\noom_kill 5\noom_group_kill 9\n";
        assert_eq!(counter(events, "oom_kill"), Some(5));
        assert_eq!(counter(events, "oom"), Some(2));
        assert_eq!(counter(events, "oom_group"), None);
    }
}
