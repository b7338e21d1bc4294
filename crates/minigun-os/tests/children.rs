//! Real forks from a threaded program: how children start, work and end.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use minigun_os::{
    Board, Ending, ForkGuard, Interest, Pid, Process, Signal, SingleThreaded, Socket, Watch, child,
    close_engine_fds_except, fork, fork_worker, in_worker, kill, kill_group, pipe, procfs, reap, reap_any,
    unforked,
};

fn forked(run: impl FnOnce(SingleThreaded) -> i32) -> Pid {
    fork(ForkGuard::take(Duration::from_millis(100)).unwrap(), run).unwrap()
}

fn ending_of(run: impl FnOnce(SingleThreaded) -> i32) -> Ending {
    reap(forked(run), true).unwrap().unwrap().ending
}

#[test]
fn a_child_ends_with_its_closures_value() {
    assert_eq!(ending_of(|_| 0), Ending::Code(0));
    assert_eq!(ending_of(|_| 42), Ending::Code(42));
    assert!(!in_worker());
    assert_eq!(ending_of(|_| i32::from(in_worker())), Ending::Code(1));
}

#[test]
fn a_lock_held_only_while_nothing_forks_is_free_in_every_child() {
    static LOCK: Mutex<u64> = Mutex::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Held nearly all the time.
            while !over.load(Ordering::Relaxed) {
                unforked(|| {
                    let mut held = LOCK.lock().unwrap();
                    (0..10_000).for_each(|n| *held = held.wrapping_mul(3).wrapping_add(n));
                });
                thread::yield_now();
            }
        });
        let endings: Vec<_> = (0..100).map(|_| ending_of(|_| i32::from(LOCK.try_lock().is_err()))).collect();
        over.store(true, Ordering::Relaxed);
        assert!(endings.iter().all(|ending| *ending == Ending::Code(0)), "{endings:?}");
    });
}

#[test]
fn a_panic_never_leaves_the_child() {
    let here = Pid::current();
    assert_eq!(ending_of(|_| std::panic::resume_unwind(Box::new("quietly"))), Ending::Code(101));
    assert_eq!(Pid::current(), here);
}

#[test]
fn a_signal_is_told_from_a_code() {
    let ending = ending_of(|_| {
        child::reset_signal_handlers();
        child::unblock_all_signals().unwrap();
        kill(Pid::current(), Signal::SEGV).unwrap();
        0
    });
    assert!(matches!(ending, Ending::Signal { signal: Signal::SEGV, .. }), "{ending}");
}

#[test]
fn a_handle_kills_waits_and_forgives_a_stolen_status() {
    let pid = forked(|_| {
        loop {
            std::thread::park();
        }
    });
    let process = Process::open(pid).unwrap();
    assert_eq!(process.wait(Some(Duration::ZERO)).unwrap(), None);
    process.signal(Signal::KILL).unwrap();
    let ending = process.wait(None).unwrap().unwrap();
    assert_eq!(ending, Ending::Signal { signal: Signal::KILL, core: false });
    process.signal(Signal::KILL).unwrap();
    assert_eq!(process.wait(None).unwrap(), Some(Ending::Unknown));
    assert_eq!(reap(pid, true).unwrap().unwrap().ending, Ending::Unknown);
}

#[test]
fn the_usage_of_a_child_is_reported() {
    let pid = forked(|_| {
        let touched = vec![1_u8; 32 << 20];
        i32::from(std::hint::black_box(touched)[4096] != 1)
    });
    let reaped = reap(pid, true).unwrap().unwrap();
    assert_eq!(reaped.ending, Ending::Code(0));
    assert!(reaped.max_rss > 32 << 20, "{} bytes", reaped.max_rss);
}

#[test]
fn a_child_sets_itself_up() {
    let ending = ending_of(|alone| {
        child::reset_signal_handlers();
        child::null_stdin().unwrap();
        child::set_title("minigun é much too long");
        child::own_process_group().unwrap();
        child::ignore_signal(Signal::INT);
        child::unblock_all_signals().unwrap();
        kill(Pid::current(), Signal::INT).unwrap();
        let stdin = std::fs::read_link("/proc/self/fd/0").unwrap();
        assert_eq!(stdin.to_str(), Some("/dev/null"));
        assert_eq!(procfs::title(Pid::current()).unwrap(), "minigun é much");
        // A worker of this child, in a group of its own: it ends with the group.
        let worker = fork_worker(&alone, |_| {
            loop {
                child::own_process_group().unwrap();
                std::thread::park();
            }
        });
        let worker = worker.unwrap();
        while kill_group(worker, Signal::KILL).is_err() {
            std::thread::yield_now();
        }
        assert!(matches!(
            reap(worker, true).unwrap().unwrap().ending,
            Ending::Signal { signal: Signal::KILL, .. }
        ));
        assert!(reap_any().unwrap().is_none());
        7
    });
    assert_eq!(ending, Ending::Code(7));
}

#[test]
fn a_worker_dies_with_its_parent() {
    let board = Board::new(1, 0).unwrap();
    let (ours, theirs) = Socket::pair(None).unwrap();
    let parent = forked(|alone| {
        let here = Pid::current();
        let worker = fork_worker(&alone, |_| {
            assert!(child::die_with_parent(here).unwrap());
            theirs.write_all(b"!").unwrap();
            loop {
                std::thread::park();
            }
        });
        board.words()[0].store(worker.unwrap().get().into(), Ordering::Relaxed);
        loop {
            std::thread::park();
        }
    });
    assert_eq!(ours.read(&mut [0]).unwrap(), 1);
    kill(parent, Signal::KILL).unwrap();
    reap(parent, true).unwrap();
    // Now only the worker holds the far end: its end is the worker's.
    drop(theirs);
    assert_eq!(ours.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_process_is_alive_until_it_begins_to_leave() {
    let (ours, theirs) = Socket::pair(None).unwrap();
    let pid = forked(move |_| {
        let _ = theirs.read(&mut [0]);
        0
    });
    assert!(procfs::is_alive(pid) && procfs::children_of(Pid::current()).unwrap().contains(&pid));
    ours.shutdown_write().unwrap();
    let process = Process::open(pid).unwrap();
    assert_eq!(minigun_os::poll(&mut [Watch::new(&process, Interest::Read)], None).unwrap(), 1);
    assert!(!procfs::is_alive(pid), "a zombie");
    reap(pid, true).unwrap();
}

/// What a child does to standard error arrives in the pipe, although it closed every other descriptor.
#[test]
fn a_child_prints_into_a_pipe_that_was_kept_for_it() {
    let (reader, writer) = pipe().unwrap();
    let (other, its_writer) = pipe().unwrap();
    let pid = forked(|alone| {
        writer.keep_in_children();
        close_engine_fds_except(&alone, &[]);
        assert!(child::redirect_stderr(&its_writer).is_err(), "that one was closed");
        child::redirect_stderr(&writer).unwrap();
        std::io::Write::write_all(&mut std::io::stderr(), b"last words\n").unwrap();
        0
    });
    assert_eq!(reap(pid, true).unwrap().unwrap().ending, Ending::Code(0));
    let mut text = [0; 64];
    let count = reader.try_read(&mut text).unwrap();
    assert_eq!(&text[..count], b"last words\n");
    assert_eq!(reader.try_read(&mut text).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(writer);
    // The children of other tests hold copies until they end.
    minigun_os::poll(&mut [Watch::new(&reader, Interest::Read)], None).unwrap();
    assert_eq!(reader.try_read(&mut text).unwrap(), 0, "nobody holds the other end any more");
    drop((other, its_writer));
}

/// The program's own memory does not count: a child that inherits more than the limit lives.
#[test]
fn memory_is_limited_relative_to_what_was_inherited() {
    let inherited = std::hint::black_box(vec![1_u8; 256 << 20]);
    let ending = ending_of(|_| {
        child::limit_memory(32 << 20).unwrap();
        let mut small: Vec<u8> = Vec::new();
        let mut large: Vec<u8> = Vec::new();
        let fits = small.try_reserve_exact(8 << 20).is_ok();
        let too_large = large.try_reserve_exact(128 << 20).is_err();
        i32::from(fits) + 2 * i32::from(too_large)
    });
    assert_eq!(ending, Ending::Code(3));
    drop(inherited);
}

#[test]
fn processor_time_is_limited_in_whole_seconds_and_a_signal_says_so() {
    let ending = ending_of(|_| {
        child::reset_signal_handlers();
        child::unblock_all_signals().unwrap();
        child::limit_cpu(Duration::from_millis(10)).unwrap();
        loop {
            std::hint::spin_loop();
        }
    });
    assert!(matches!(ending, Ending::Signal { signal: Signal::XCPU, .. }), "{ending}");
}

#[test]
fn niceness_is_added() {
    let niceness = || -> i32 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().collect();
        fields[16].parse().unwrap()
    };
    let before = niceness();
    let ending = ending_of(move |_| {
        child::nice(3).unwrap();
        niceness() - before
    });
    assert_eq!(ending, Ending::Code(3.min(19 - before)));
}

#[test]
fn a_child_that_visited_a_core_may_run_where_it_could_before() {
    let allowed = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().to_string()
    };
    let before = allowed();
    let ending = ending_of(move |_| {
        [0, 1, 2, usize::MAX].into_iter().for_each(child::visit_core);
        i32::from(allowed() == before)
    });
    assert_eq!(ending, Ending::Code(1));
}
