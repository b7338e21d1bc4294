//! What the crash tests share: one scene at a time, seeded chance, killers, and the proof that nothing is left.
//!
//! `MINIGUN_SEED` repeats the chances of a run that failed.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use minigun::{Error, Pipeline, Report};
use minigun_os::{Pid, Process, Signal, procfs};

/// Beyond this a test has hung. It is no measure of anything.
const LIMIT: Duration = Duration::from_secs(120);

static ALONE: Mutex<()> = Mutex::new(());

/// One test, alone in its process: no other one runs meanwhile, and what is open or alive before it is
/// compared with what is after it.
pub(crate) struct Scene {
    pub(crate) chance: Chance,
    fds: BTreeSet<(i32, PathBuf)>,
    _watchdog: mpsc::Sender<()>,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let chance = Chance::seeded();
        println!("seed {0}; repeat with MINIGUN_SEED={0}", chance.seed);
        let (alive, watched) = mpsc::channel();
        let (seed, test) = (chance.seed, thread::current().name().unwrap_or("?").to_string());
        thread::spawn(move || {
            if watched.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                // Not through `eprintln`, which the test harness captures.
                let text =
                    format!("{test} has hung (seed {seed}); its threads and processes: {}\n", family());
                let _ = std::io::stderr().write_all(text.as_bytes());
                std::process::abort();
            }
        });
        Scene { chance, fds: open_fds(), _watchdog: alive, _alone: alone }
    }

    /// No child, no zombie, no worker, no descriptor more than before.
    pub(crate) fn nothing_is_left(self) {
        let children = procfs::children_of(Pid::current()).unwrap();
        assert!(children.is_empty(), "children are left: {children:?}");
        let fds = open_fds();
        let more: Vec<_> = fds.difference(&self.fds).collect();
        assert!(more.is_empty(), "descriptors are left open: {more:?}");
    }
}

fn open_fds() -> BTreeSet<(i32, PathBuf)> {
    // The listing shows itself, under whatever number was free.
    let listing = PathBuf::from(format!("/proc/{}/fd", std::process::id()));
    procfs::open_fds().unwrap().into_iter().filter(|(_, target)| *target != listing).collect()
}

/// The threads of this process and the processes under it, for a message.
fn family() -> String {
    let mut text = String::new();
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        let call = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
        text.push_str(&format!("\n  thread {:?} {} in {call}", thread.file_name(), name.trim()));
    }
    for zygote in procfs::children_of(Pid::current()).unwrap_or_default() {
        text.push_str(&format!("\n  {zygote} {:?}", procfs::title(zygote)));
        for worker in procfs::children_of(zygote).unwrap_or_default() {
            text.push_str(&format!("\n    {worker} {:?}", procfs::title(worker)));
        }
    }
    text
}

/// Random numbers from a seed that is printed.
#[derive(Clone)]
pub(crate) struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    fn seeded() -> Chance {
        let seed = match std::env::var("MINIGUN_SEED") {
            Ok(text) => text.parse().expect("MINIGUN_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        };
        Chance { seed, state: seed | 1 }
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    pub(crate) fn micros(&mut self, range: Range<u64>) -> Duration {
        Duration::from_micros(range.start + self.below(range.end - range.start))
    }
}

/// The fork servers of the pipelines that run in this process.
pub(crate) fn zygotes() -> Vec<Pid> {
    procfs::children_of(Pid::current()).unwrap_or_default()
}

/// The workers of a fork server.
pub(crate) fn workers_of(zygote: Pid) -> Vec<Pid> {
    procfs::children_of(zygote).unwrap_or_default()
}

/// The workers of all its pipelines.
pub(crate) fn workers() -> Vec<Pid> {
    zygotes().into_iter().flat_map(|zygote| procfs::children_of(zygote).unwrap_or_default()).collect()
}

/// Kills a process of a pipeline, and no stranger that may have got its number meanwhile.
pub(crate) fn kill_ours(pid: Pid) -> bool {
    let Ok(process) = Process::open(pid) else { return false };
    procfs::title(pid).is_ok_and(|title| title.starts_with("mg:")) && process.signal(Signal::KILL).is_ok()
}

/// Kills one worker after the other, chosen and timed by chance, until told to end. It tires after some kills:
/// on a machine so slow that no item is done between two kills, the run must come to its end as well.
pub(crate) struct Killer {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Killer {
    pub(crate) fn start(chance: &mut Chance, pause: Range<u64>) -> Killer {
        Killer::at_most(200, chance, pause)
    }

    pub(crate) fn at_most(most: u64, chance: &mut Chance, pause: Range<u64>) -> Killer {
        let over = Arc::new(AtomicBool::new(false));
        let (mut chance, told) = (chance.clone(), Arc::clone(&over));
        let thread = thread::spawn(move || {
            let mut kills = 0;
            while kills < most && !told.load(Ordering::Relaxed) {
                thread::sleep(chance.micros(pause.clone()));
                let workers = workers();
                if let Some(worker) = workers.get(chance.below(workers.len() as u64) as usize) {
                    kills += u64::from(kill_ours(*worker));
                }
            }
            kills
        });
        Killer { over, thread }
    }

    /// How many it killed.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What a killed run is fed: so many numbers, and more until a kill has hit a worker at work. A run that could end
/// before would prove nothing.
#[derive(Clone)]
pub(crate) struct Load {
    least: u64,
    made: Arc<AtomicU64>,
    hit: Arc<AtomicBool>,
}

impl Load {
    /// One that asks for no hit, for a run that is left in peace.
    pub(crate) fn peaceful(least: u64) -> Load {
        let load = Load::new(least);
        load.hit.store(true, Ordering::Relaxed);
        load
    }

    pub(crate) fn new(least: u64) -> Load {
        Load { least, made: Arc::default(), hit: Arc::default() }
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + Send + use<> {
        let load = self.clone();
        (0..).take_while(move |n| {
            let more = *n < load.least || !load.hit.load(Ordering::Relaxed);
            if more && *n >= load.least {
                // A few more, not as many as all queues hold.
                thread::sleep(Duration::from_millis(1));
            }
            load.made.fetch_add(u64::from(more), Ordering::Relaxed);
            more
        })
    }

    /// How many were made, in the end.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Runs the pipeline that is fed with it.
    pub(crate) fn run(&self, p: Pipeline) -> Result<Report, Error> {
        let running = p.start()?;
        let (handle, hit, over) = (running.handle(), Arc::clone(&self.hit), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&over);
        let watcher = thread::spawn(move || {
            while !hit.load(Ordering::Relaxed) && !told.load(Ordering::Relaxed) {
                let deaths: u64 = handle.stats().iter().map(|stage| stage.figures.deaths).sum();
                hit.store(deaths > 0, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let ended = running.join();
        over.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
        ended
    }
}

/// Keeps a core busy for about this long.
pub(crate) fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Waits for something that must come, however long it takes; the watchdog ends it if it does not.
pub(crate) fn until(what: impl Fn() -> bool) {
    while !what() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// A file to which any process may append a line: what happened, told past the engine.
#[derive(Clone)]
pub(crate) struct Notes(PathBuf);

impl Notes {
    pub(crate) fn new() -> Notes {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("minigun-notes-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, "").unwrap();
        Notes(path)
    }

    pub(crate) fn add(&self, line: impl std::fmt::Display) {
        let mut file = OpenOptions::new().append(true).open(&self.0).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.0).unwrap().lines().map(str::to_string).collect()
    }

    /// The file goes.
    pub(crate) fn remove(self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Set in a process that a test made of its own binary: what it is to do.
const ROLE: &str = "MINIGUN_TEST_ROLE";

/// What this process is to do, if a test made it.
pub(crate) fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    Some(role.split('/').next().unwrap_or_default().to_string())
}

/// The test binary once more, running only `test`, in which [`role`] then answers `role`.
pub(crate) struct Program {
    pub(crate) child: Child,
    mark: Vec<u8>,
}

impl Program {
    pub(crate) fn start(test: &str, role: &str) -> Program {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{role}/{}-{number}", std::process::id());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--include-ignored"])
            .env(ROLE, &mark)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Program { child, mark: format!("{ROLE}={mark}").into_bytes() }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::new(self.child.id()).unwrap()
    }

    /// Every living process that began as this program, whoever its parent is by now: forks inherit the
    /// environment.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        Program::marked(&self.mark)
    }

    /// Waits for its end. What outlives it is ended then.
    pub(crate) fn finish(mut self) -> Finished {
        // It must not wait for somebody who reads.
        let (out, err) = (read_all(self.child.stdout.take()), read_all(self.child.stderr.take()));
        let success = self.child.wait().unwrap().success();
        let left = self.processes();
        left.iter().for_each(|pid| drop(minigun_os::kill(*pid, Signal::KILL)));
        Finished { success, text: out.join().unwrap() + &err.join().unwrap(), left }
    }

    fn marked(mark: &[u8]) -> Vec<Pid> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()).and_then(Pid::new) else {
                continue;
            };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark) {
                found.push(pid);
            }
        }
        found
    }
}

/// How a program ended.
pub(crate) struct Finished {
    pub(crate) success: bool,
    /// What it printed: first to its standard output, then to standard error.
    pub(crate) text: String,
    /// Processes of it that outlived it.
    pub(crate) left: Vec<Pid>,
}

fn read_all(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.map(|mut stream| stream.read_to_end(&mut bytes).unwrap());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Descriptors broken on purpose, behind the back of whoever owns them. Only for a worker about to be lost.
pub(crate) mod vandal {
    use std::fs::File;
    use std::io::Write;
    use std::mem::ManuallyDrop;
    use std::os::fd::{FromRawFd, OwnedFd};

    /// The sockets of this process.
    pub(crate) fn sockets() -> Vec<i32> {
        let fds = minigun_os::procfs::open_fds().unwrap();
        let sockets = fds.into_iter().filter(|(_, target)| target.to_string_lossy().starts_with("socket:"));
        sockets.map(|(number, _)| number).collect()
    }

    /// Closes a descriptor under its owner.
    pub(crate) fn close(number: i32) {
        // SAFETY: it is open, `sockets` has just found it; its owner goes on to use a number that is closed,
        // which is what the test is about. Nothing is opened meanwhile that could get the number.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }

    /// Writes into a descriptor under its owner.
    pub(crate) fn write(number: i32, bytes: &[u8]) {
        // SAFETY: it is open, `sockets` has just found it, and it is not closed here.
        let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
        let _ = file.write_all(bytes);
    }

    /// From now on orphans of this process's descendants become its children, as with the first process of a
    /// container.
    pub(crate) fn take_over_orphans() {
        // SAFETY: this call has no precondition on memory.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    }

    /// Lets a process (0: this one) open no descriptor from this number on; gives what the number was. What is
    /// open stays open.
    pub(crate) fn limit_descriptors(pid: u32, number: u64) -> u64 {
        // SAFETY: 1. Zeroed `rlimit` is valid plain data. 2. Both pointers outlive the calls.
        unsafe {
            let (pid, mut limit): (_, libc::rlimit) = (pid.cast_signed(), std::mem::zeroed());
            assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit), 0);
            let before = std::mem::replace(&mut limit.rlim_cur, number);
            assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()), 0);
            before
        }
    }

    /// Has these called at every fork of this process and its descendants: in the parent, in the child.
    pub(crate) fn at_fork(parent: extern "C" fn(), child: extern "C" fn()) {
        // SAFETY: the handlers are functions of this program, which are there as long as it is.
        assert_eq!(unsafe { libc::pthread_atfork(None, Some(parent), Some(child)) }, 0);
    }

    /// Leaves a child behind that has every descriptor of this process and none of its groups: nobody but
    /// the test can end it. Gives its process number.
    pub(crate) fn leave_a_child() -> i32 {
        // SAFETY: the child makes two system calls and is killed by the test; it returns to no frame.
        unsafe {
            match libc::fork() {
                0 => {
                    libc::setsid();
                    loop {
                        libc::pause();
                    }
                }
                pid => pid,
            }
        }
    }
}
