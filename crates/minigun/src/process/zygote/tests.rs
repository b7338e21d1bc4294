//! Real zygotes, real kills. Where a whole program must die, or a standard stream be held, the test runs a
//! `scene` in a process of its own: this test binary once more.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use minigun_os::{Descriptor, Interest, Pid, Process, Signal, Watch, kill, poll, procfs};

use super::birth::birth;
use super::client::Zygote;
use super::{Exit, Seat, Status, WorkerMain, WorkerProcess, ZygoteError, Zygotes};

/// Longer than anything here takes on a loaded machine; only a failing test waits for it.
const LONG: Duration = Duration::from_secs(60);

/// Does what the first byte on its stream says; leaves at the end of the stream.
fn obedient(seat: Seat) -> i32 {
    let mut order = [0; 1];
    while seat.socket.read(&mut order).unwrap_or(0) == 1 {
        match order[0] {
            b'e' => seat.socket.write_all(&order).unwrap(),
            b'p' => std::panic::resume_unwind(Box::new("ordered to")),
            b's' => kill(Pid::current(), Signal::SEGV).unwrap(),
            b'c' => {
                // A subprocess that outlives its worker unless somebody sees to it.
                let sleeper = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
                seat.socket.write_all(&sleeper.id().to_ne_bytes()).unwrap();
                std::mem::forget(sleeper);
            }
            b'w' => loop {
                thread::park();
            },
            code => return i32::from(code),
        }
    }
    i32::try_from(seat.block * 10 + seat.slot).unwrap()
}

fn born(name: &str, answer: Duration) -> Result<Zygote, ZygoteError> {
    let worker: WorkerMain = Box::new(obedient);
    Zygote::new(name, birth(name, &worker, &|| {})?, answer)
}

fn zygote(name: &str) -> Zygote {
    born(name, LONG).unwrap()
}

fn zygotes(name: &str, answer: Duration) -> Zygotes {
    let worker: WorkerMain = Box::new(obedient);
    Zygotes::birth(name, &worker, &|| {}, answer).unwrap()
}

/// A bound that a zygote that is stopped misses soon, and one that works does not.
const SOON: Duration = Duration::from_secs(1);

fn say(worker: &WorkerProcess, order: u8) {
    worker.socket().write_all(&[order]).unwrap();
}

/// Says something and hears it back: the worker lives from here on.
fn meet(worker: &WorkerProcess) {
    say(worker, b'e');
    let mut answer = [0];
    assert_eq!(worker.socket().read(&mut answer).unwrap(), 1);
}

fn sleeper_of(worker: &WorkerProcess) -> Process {
    say(worker, b'c');
    let mut number = [0; 4];
    assert_eq!(worker.socket().read(&mut number).unwrap(), 4);
    Process::open(Pid::new(u32::from_ne_bytes(number)).unwrap()).unwrap()
}

fn handle(pid: u32) -> Process {
    Process::open(Pid::new(pid).unwrap()).unwrap()
}

/// Waits for the end of a process that is nobody's child here.
fn is_gone(process: &Process) -> bool {
    poll(&mut [Watch::new(process, Interest::Read)], Some(LONG)).unwrap() == 1
}

/// Its number, which the zygote tells right after the fork.
fn pid_of(worker: &WorkerProcess) -> u32 {
    let since = Instant::now();
    loop {
        match worker.pid() {
            Some(pid) => return pid,
            None => assert!(since.elapsed() < LONG, "no process number"),
        }
        thread::yield_now();
    }
}

#[test]
fn a_worker_serves_and_its_end_is_reported() {
    let zygote = zygote("serve");
    let worker = zygote.spawn(3, 4, "mg:serve#4").unwrap();
    meet(&worker);
    let pid = pid_of(&worker);
    assert_eq!(procfs::title(Pid::new(pid).unwrap()).unwrap(), "mg:serve#4");
    assert_eq!(worker.wait(Duration::ZERO), None);
    worker.socket().shutdown_write().unwrap();
    let exit = worker.wait(LONG).unwrap();
    assert_eq!(exit.status, Status::Code(34));
    assert!(exit.max_rss > 0);
    assert_eq!(worker.wait(LONG), Some(exit));
    zygote.close(LONG).unwrap();
}

#[test]
fn a_stream_can_be_written_before_its_worker_exists() {
    let zygote = zygote("early");
    let mut workers: Vec<_> = (0..20).map(|slot| zygote.spawn(0, slot, "mg:early").unwrap()).collect();
    for worker in &workers {
        say(worker, b'e');
    }
    for worker in workers.drain(..) {
        assert_eq!(worker.socket().read(&mut [0]).unwrap(), 1);
    }
    zygote.close(LONG).unwrap();
}

#[test]
fn every_way_to_die_is_told_apart() {
    let zygote = zygote("die");
    let end = |order: u8| {
        let worker = zygote.spawn(0, 0, "mg:die").unwrap();
        say(&worker, order);
        worker.wait(LONG).unwrap()
    };
    assert_eq!(end(b'p').status, Status::Code(101));
    assert_eq!(end(77).status, Status::Code(77));
    let crash = end(b's');
    assert_eq!(crash.status, Status::Signal(11));
    assert_eq!(crash.status.to_string(), "killed by SIGSEGV (11)");
    assert!(crash.max_rss > 0, "{crash:?}");

    let worker = zygote.spawn(0, 0, "mg:die").unwrap();
    say(&worker, b'w');
    worker.kill();
    assert_eq!(worker.wait(LONG).unwrap().status, Status::Signal(9));
    worker.kill();
    zygote.close(LONG).unwrap();
}

#[test]
fn many_threads_ask_at_once() {
    let zygote = zygote("many");
    thread::scope(|scope| {
        for block in 0..4 {
            let zygote = &zygote;
            scope.spawn(move || {
                for slot in 0..50 {
                    let worker = zygote.spawn(block, slot % 10, "mg:many").unwrap();
                    meet(&worker);
                    worker.socket().shutdown_write().unwrap();
                    let code = i32::try_from(block * 10 + slot % 10).unwrap();
                    assert_eq!(worker.wait(LONG).unwrap().status, Status::Code(code));
                }
            });
        }
    });
    zygote.close(LONG).unwrap();
}

#[test]
fn a_worker_takes_its_subprocesses_along() {
    let zygote = zygote("group");
    let worker = zygote.spawn(0, 0, "mg:group").unwrap();
    let killed_with_it = sleeper_of(&worker);
    worker.kill();
    assert!(is_gone(&killed_with_it));

    let worker = zygote.spawn(0, 0, "mg:group").unwrap();
    let left_behind = sleeper_of(&worker);
    worker.socket().shutdown_write().unwrap();
    assert_eq!(worker.wait(LONG).unwrap().status, Status::Code(0));
    assert!(is_gone(&left_behind));
    zygote.close(LONG).unwrap();
}

#[test]
fn closing_waits_for_the_willing_and_kills_the_others() {
    let zygote = zygote("close");
    let willing = zygote.spawn(1, 1, "mg:close").unwrap();
    let unwilling = zygote.spawn(0, 0, "mg:close").unwrap();
    meet(&willing);
    let sleeper = sleeper_of(&unwilling);
    say(&unwilling, b'w');
    willing.socket().shutdown_write().unwrap();
    let processes = [pid_of(&willing), pid_of(&unwilling), zygote.pid()];
    zygote.close(Duration::from_millis(50)).unwrap();
    // Reaped, not only dead.
    for pid in processes {
        assert!(!procfs::is_alive(Pid::new(pid).unwrap()), "{pid} is left");
    }
    assert!(!procfs::children_of(Pid::current()).unwrap().contains(&Pid::new(processes[2]).unwrap()));
    assert!(is_gone(&sleeper));
    assert_eq!(willing.wait(Duration::ZERO).unwrap().status, Status::Code(11));
    assert_eq!(unwilling.wait(Duration::ZERO).unwrap().status, Status::Signal(9));
    assert!(matches!(zygote.spawn(0, 0, ""), Err(ZygoteError::Closed)));
    zygote.close(LONG).unwrap();
}

#[test]
fn dropping_a_zygote_closes_it() {
    let zygote = zygote("drop");
    let worker = zygote.spawn(0, 0, "mg:drop").unwrap();
    say(&worker, b'w');
    let server = handle(zygote.pid());
    drop(zygote);
    assert!(is_gone(&server));
    assert_eq!(worker.wait(Duration::ZERO).unwrap().status, Status::Signal(9));
}

#[test]
fn a_killed_zygote_wakes_every_waiter() {
    let zygote = zygote("lost");
    let workers: Vec<_> = (0..3).map(|slot| zygote.spawn(0, slot, "mg:lost").unwrap()).collect();
    let sleeper = sleeper_of(&workers[0]);
    workers.iter().for_each(meet);
    let handles: Vec<_> = workers.iter().map(|worker| handle(pid_of(worker))).collect();
    thread::scope(|scope| {
        let waiters: Vec<_> = workers.iter().map(|worker| scope.spawn(|| worker.wait(LONG))).collect();
        kill(Pid::new(zygote.pid()).unwrap(), Signal::KILL).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().unwrap().status, Status::ZygoteLost);
        }
    });
    assert!(matches!(zygote.spawn(0, 0, ""), Err(ZygoteError::Lost { .. })));
    workers[0].kill();
    let error = zygote.close(LONG).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the fork server was lost: killed by SIGKILL (9); its workers went with it"
    );
    assert!(handles.iter().all(is_gone) && is_gone(&sleeper));
    assert!(!procfs::children_of(Pid::current()).unwrap().contains(&Pid::new(zygote.pid()).unwrap()));
}

#[test]
fn a_stopped_zygote_is_killed_by_close() {
    let zygote = born("stop", SOON).unwrap();
    let worker = zygote.spawn(0, 0, "mg:stop").unwrap();
    meet(&worker);
    let process = handle(pid_of(&worker));
    kill(Pid::new(zygote.pid()).unwrap(), Signal::STOP).unwrap();
    // Whatever the grace: it does not answer, so nobody counts it.
    assert!(matches!(zygote.close(LONG), Err(ZygoteError::Stuck(SOON))));
    assert!(is_gone(&process));
    assert_eq!(worker.wait(LONG).unwrap().status, Status::ZygoteLost);
}

#[test]
fn a_zygote_that_does_not_answer_is_killed_and_every_waiter_woken() {
    // A spawn, a signal, or the mere question: each is owed an answer.
    let ways: [fn(&Zygote, &WorkerProcess); 3] = [
        |zygote, _| drop(zygote.spawn(0, 1, "mg:mute").unwrap()),
        |_, worker| worker.signal(Signal::TERM),
        |_, worker| worker.signal(Signal::new(0)),
    ];
    for ask in ways {
        let zygote = born("mute", SOON).unwrap();
        let worker = zygote.spawn(0, 0, "mg:mute").unwrap();
        meet(&worker);
        kill(Pid::new(zygote.pid()).unwrap(), Signal::STOP).unwrap();
        ask(&zygote, &worker);
        assert_eq!(worker.wait(LONG).unwrap().status, Status::ZygoteLost);
        assert!(matches!(zygote.spawn(0, 0, ""), Err(ZygoteError::Stuck(SOON))));
        assert!(matches!(zygote.close(LONG), Err(ZygoteError::Stuck(SOON))));
    }
}

#[test]
fn requests_that_find_no_room_end_when_the_zygote_is_killed() {
    let zygote = born("full", SOON).unwrap();
    let worker = zygote.spawn(0, 0, "mg:full").unwrap();
    meet(&worker);
    kill(Pid::new(zygote.pid()).unwrap(), Signal::STOP).unwrap();
    // Far more than a socket holds.
    for _ in 0..100_000 {
        worker.signal(Signal::new(0));
    }
    assert_eq!(worker.wait(LONG).unwrap().status, Status::ZygoteLost);
    assert!(matches!(zygote.close(LONG), Err(ZygoteError::Stuck(SOON))));
}

#[test]
fn a_zygote_with_nothing_to_answer_may_be_silent() {
    let zygote = born("silent", SOON).unwrap();
    let worker = zygote.spawn(0, 0, "mg:silent").unwrap();
    meet(&worker);
    pid_of(&worker);
    kill(Pid::new(zygote.pid()).unwrap(), Signal::STOP).unwrap();
    // Beyond any multiple of its bound that counts.
    assert_eq!(worker.wait(4 * SOON), None);
    kill(Pid::new(zygote.pid()).unwrap(), Signal::CONT).unwrap();
    worker.kill();
    assert_eq!(worker.wait(LONG).unwrap().status, Status::Signal(9));
    drop(zygote.close(LONG));
}

#[test]
fn a_signal_reaches_a_worker_and_its_subprocesses() {
    let zygote = zygote("signal");
    let worker = zygote.spawn(0, 0, "mg:signal").unwrap();
    let sleeper = sleeper_of(&worker);
    worker.signal(Signal::new(0));
    meet(&worker);
    // A stopped worker takes its signal when it goes on.
    worker.signal(Signal::STOP);
    worker.signal(Signal::TERM);
    worker.signal(Signal::CONT);
    assert_eq!(worker.wait(LONG).unwrap().status, Status::Signal(15));
    assert!(is_gone(&sleeper));
    worker.signal(Signal::TERM);
    zygote.close(LONG).unwrap();
}

#[test]
fn two_missed_hellos_in_a_row_condemn_a_zygote() {
    let zygotes = zygotes("hello", LONG);
    let worker = |slot| zygotes.spawn(0, slot, "mg:hello").unwrap();
    let first = worker(0);
    first.missed_hello();
    first.said_hello();
    first.missed_hello();
    meet(&first);
    first.missed_hello();
    assert_eq!(first.wait(LONG).unwrap().status, Status::ZygoteLost);
    // The standby begins anew.
    let second = worker(0);
    second.missed_hello();
    meet(&second);
    second.missed_hello();
    assert_eq!(second.wait(LONG).unwrap().status, Status::ZygoteLost);
    let error = zygotes.spawn(0, 0, "").unwrap_err().to_string();
    assert!(error.contains("2 workers in a row hung before their first words"), "{error}");
    assert!(error.contains("and its standby") && error.contains("held a lock"), "{error}");
    zygotes.close(LONG).unwrap();
}

#[test]
fn the_standby_takes_over_once() {
    let zygotes = zygotes("pair", LONG);
    let pids = zygotes.pids();
    for pid in pids {
        let worker = zygotes.spawn(1, 2, "mg:pair").unwrap();
        meet(&worker);
        assert_eq!(parent_of(pid_of(&worker)), Some(pid));
        kill(Pid::new(pid).unwrap(), Signal::KILL).unwrap();
        assert_eq!(worker.wait(LONG).unwrap().status, Status::ZygoteLost);
        assert!(!procfs::is_alive(Pid::new(pid_of(&worker)).unwrap()), "it ends before its end is told");
    }
    let error = zygotes.spawn(0, 0, "").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the fork server was lost: killed by SIGKILL (9); its workers went with it; and its standby: \
         the fork server was lost: killed by SIGKILL (9); its workers went with it"
    );
    zygotes.close(LONG).unwrap();
    let children = procfs::children_of(Pid::current()).unwrap();
    assert!(pids.iter().all(|pid| !children.contains(&Pid::new(*pid).unwrap())));
}

#[test]
fn a_standby_that_dies_while_it_stands_by_is_not_missed() {
    let zygotes = zygotes("alone", LONG);
    let [first, standby] = zygotes.pids();
    let process = handle(standby);
    kill(Pid::new(standby).unwrap(), Signal::KILL).unwrap();
    assert!(is_gone(&process));
    let worker = zygotes.spawn(0, 0, "mg:alone").unwrap();
    meet(&worker);
    assert_eq!(parent_of(pid_of(&worker)), Some(first));
    zygotes.close(Duration::ZERO).unwrap();
    assert_eq!(worker.wait(LONG).unwrap().status, Status::Signal(9));
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().ok()
}

#[test]
fn a_standby_holds_nothing_of_the_first() {
    let zygotes = zygotes("both", LONG);
    let worker = zygotes.spawn(0, 0, "mg:both").unwrap();
    meet(&worker);
    // The first lets go of the worker's end behind the fork, perhaps after the worker was met.
    let until = Instant::now() + LONG;
    let [first, standby] = loop {
        let held = zygotes.pids().map(sockets_of);
        if held[0].len() == 2 || until <= Instant::now() {
            break held;
        }
        thread::yield_now();
    };
    assert_eq!((first.len(), standby.len()), (2, 2), "control and life");
    assert!(first.iter().all(|socket| !standby.contains(socket)), "{first:?} {standby:?}");
    let workers = sockets_of(pid_of(&worker));
    assert!(workers.iter().all(|socket| !standby.contains(socket)), "{workers:?} {standby:?}");
    zygotes.close(Duration::ZERO).unwrap();
}

fn sockets_of(pid: u32) -> Vec<std::path::PathBuf> {
    let fds = procfs::fds_of(Pid::new(pid).unwrap()).unwrap().into_iter();
    fds.map(|(_, target)| target).filter(|target| target.to_string_lossy().starts_with("socket:")).collect()
}

#[test]
fn two_zygotes_hold_nothing_of_each_other() {
    let births: Vec<_> = ["one", "two"].map(|name| thread::spawn(move || zygote(name))).into();
    let zygotes: Vec<_> = births.into_iter().map(|birth| birth.join().unwrap()).collect();
    let workers: Vec<_> = zygotes.iter().map(|zygote| zygote.spawn(0, 0, "mg:two").unwrap()).collect();
    workers.iter().for_each(meet);
    let third = zygote("three");
    let late = third.spawn(0, 0, "mg:late").unwrap();
    meet(&late);

    let ours = procfs::open_fds().unwrap();
    let ends: Vec<_> = workers
        .iter()
        .map(|worker| worker.socket().engine_fd().number())
        .map(|number| ours.iter().find(|(open, _)| *open == number).unwrap().1.clone())
        .collect();
    let processes = [
        zygotes[0].pid(),
        zygotes[1].pid(),
        third.pid(),
        pid_of(&workers[0]),
        pid_of(&workers[1]),
        pid_of(&late),
    ];
    let held = processes.map(sockets_of);
    for (at, sockets) in held.iter().enumerate() {
        assert!(ends.iter().all(|end| !sockets.contains(end)), "{at} holds a program's end");
        for (other, others) in held.iter().enumerate() {
            // A worker shares only the sign of life with its own zygote: 0 with 3, 1 with 4, 2 with 5.
            let shared = sockets.iter().filter(|socket| others.contains(socket)).count();
            assert!(
                at == other || shared == usize::from(at % 3 == other % 3),
                "{at} and {other} share {shared}"
            );
        }
        assert!(sockets.len() <= 2, "{at} holds {sockets:?}");
    }
    // So the end of a stream comes although the others live.
    workers[0].kill();
    assert_eq!(workers[0].socket().read(&mut [0]).unwrap_or(0), 0);
    zygotes.iter().chain([&third]).for_each(|zygote| zygote.close(Duration::ZERO).unwrap());
}

#[test]
fn an_exit_reads_well() {
    let exit = Exit { status: Status::Signal(9), max_rss: 12 << 20, cpu: Duration::ZERO };
    assert_eq!(exit.status.to_string(), "killed by SIGKILL (9)");
    let exit = Exit::unmeasured(Status::SpawnFailed("no memory".into()));
    assert_eq!(exit.status.to_string(), "could not be forked: no memory");
}

const SCENE: &str = "MINIGUN_ZYGOTE_SCENE";

fn act(scene: &str) -> Child {
    let here = module_path!().split_once("::").unwrap().1;
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{here}::scene"), "--nocapture", "--test-threads=1"])
        .env(SCENE, scene)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_program_leaves_no_process() {
    let mut program = act("victim");
    let mut processes = Vec::new();
    for line in BufReader::new(program.stdout.as_mut().unwrap()).lines() {
        // The harness prints the test's name first, without an end of line.
        let line = line.unwrap();
        if let Some((_, number)) = line.rsplit_once("process ") {
            processes.push(handle(number.parse().unwrap()));
        } else if line == "set" {
            break;
        }
    }
    assert_eq!(processes.len(), 5);
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(processes.iter().all(is_gone));
}

#[test]
fn a_stream_held_for_ever_is_named() {
    assert!(act("held").wait_with_output().unwrap().status.success());
}

#[test]
fn a_stream_held_for_a_while_is_survived() {
    assert!(act("held a while").wait_with_output().unwrap().status.success());
}

/// What the tests above run in a process of its own; alone it does nothing.
#[test]
fn scene() {
    match std::env::var(SCENE).as_deref() {
        Ok("victim") => victim(),
        Ok("held") => held(),
        Ok("held a while") => held_a_while(),
        _ => {}
    }
}

fn victim() {
    let zygotes = zygotes("victim", LONG);
    let workers: Vec<_> = (0..2).map(|slot| zygotes.spawn(0, slot, "mg:victim").unwrap()).collect();
    let sleeper = sleeper_of(&workers[0]);
    say(&workers[0], b'w');
    meet(&workers[1]);
    for pid in zygotes.pids() {
        println!("process {pid}");
    }
    println!("process {}", sleeper.pid());
    for worker in &workers {
        println!("process {}", pid_of(worker));
    }
    println!("set");
    loop {
        thread::park();
    }
}

/// Another thread that holds standard output until it is told.
fn holder() -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (held, is_held) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let holder = thread::spawn(move || {
        let _stdout = io::stdout().lock();
        held.send(()).unwrap();
        let _ = released.recv();
    });
    is_held.recv().unwrap();
    (release, holder)
}

fn held() {
    let (release, holder) = holder();
    let born = born("held", LONG);
    let left = procfs::children_of(Pid::current()).unwrap();
    drop(release);
    holder.join().unwrap();
    assert!(matches!(born, Err(ZygoteError::Hung { suspect: "standard output", .. })), "{born:?}");
    assert!(left.is_empty(), "{left:?}");
}

fn held_a_while() {
    let (release, holder) = holder();
    let birth = thread::spawn(|| zygote("while"));
    // The first child, born without the stream, is there: it will hang, and be replaced.
    let since = Instant::now();
    while procfs::children_of(Pid::current()).unwrap().is_empty() {
        assert!(since.elapsed() < LONG);
    }
    drop(release);
    holder.join().unwrap();
    let zygote = birth.join().unwrap();
    let worker = zygote.spawn(0, 0, "mg:while").unwrap();
    meet(&worker);
    zygote.close(Duration::ZERO).unwrap();
    io::stdout().flush().unwrap();
}
