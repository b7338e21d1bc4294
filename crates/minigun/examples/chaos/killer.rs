//! The killer: signals to random worker processes, and the look at what is left when all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use minigun_os::{Pid, Process, Signal, procfs};

/// A thread that sends signals until told to end.
pub(crate) struct Killer {
    over: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<&'static str, u64>>,
}

impl Killer {
    pub(crate) fn start(seed: u64, every: Duration, time: Duration) -> Killer {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || kill(&told, seed, every, time));
        Killer { over, thread }
    }

    /// How many of each kind it sent.
    pub(crate) fn end(self) -> BTreeMap<&'static str, u64> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn kill(over: &AtomicBool, seed: u64, every: Duration, time: Duration) -> BTreeMap<&'static str, u64> {
    let mut sent = BTreeMap::new();
    let mut chance = seed | 1;
    let begun = Instant::now();
    let mut next = begun;
    let mut server_lives = true;
    while !over.load(Ordering::Relaxed) {
        next += every;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if server_lives && begun.elapsed() > time / 2 {
            // The one that has workers; the other stands by.
            let servers = children(Pid::current());
            if let Some(server) = servers.into_iter().find(|server| !children(*server).is_empty()) {
                server_lives = !signal(server, Signal::KILL);
                *sent.entry("fork server").or_default() += u64::from(!server_lives);
            }
            continue;
        }
        let workers: Vec<Pid> = children(Pid::current()).into_iter().flat_map(children).collect();
        if workers.is_empty() {
            continue;
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let worker = workers[(chance >> 33) as usize % workers.len()];
        let (name, what) = match (chance >> 20) % 20 {
            0 | 1 => ("SIGSTOP", Signal::STOP),
            2..11 => ("SIGSEGV", Signal::SEGV),
            _ => ("SIGKILL", Signal::KILL),
        };
        if signal(worker, what) {
            *sent.entry(name).or_default() += 1;
        }
    }
    sent
}

fn children(of: Pid) -> Vec<Pid> {
    procfs::children_of(of).unwrap_or_default()
}

/// Through a handle and by its title, so that no stranger is hit who got the number meanwhile.
fn signal(pid: Pid, signal: Signal) -> bool {
    let Ok(process) = Process::open(pid) else { return false };
    procfs::title(pid).is_ok_and(|title| title.starts_with("mg:")) && process.signal(signal).is_ok()
}

/// The descriptors that are open now.
pub(crate) fn open_fds() -> std::io::Result<BTreeSet<(i32, PathBuf)>> {
    let listing = PathBuf::from(format!("/proc/{}/fd", std::process::id()));
    Ok(procfs::open_fds()?.into_iter().filter(|(_, target)| *target != listing).collect())
}

/// Processes and descriptors that were not there before.
pub(crate) fn left_behind(fds: &BTreeSet<(i32, PathBuf)>) -> std::io::Result<Vec<String>> {
    let children = procfs::children_of(Pid::current())?;
    let mut left: Vec<_> = children.into_iter().map(|pid| format!("process {pid}")).collect();
    left.extend(
        open_fds()?.difference(fds).map(|(number, target)| format!("fd {number}: {}", target.display())),
    );
    Ok(left)
}
