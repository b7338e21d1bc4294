//! The standard streams over a fork, in a process of its own: other threads hold and hammer them.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use minigun_os::{Ending, ForkGuard, Process, fork};

/// Threads that print without a pause can starve each other, and us, for a while.
const LONG: Duration = Duration::from_secs(60);

const SCENE: &str = "MINIGUN_OS_SCENE";

fn act(scene: &str) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "scene", "--nocapture", "--test-threads=1"])
        .env(SCENE, scene)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn hammered_streams_do_not_hang_the_child() {
    let output = act("hammer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_stream_that_is_never_let_go_costs_the_guard_its_bound_only() {
    assert!(act("hold").status.success());
}

#[test]
fn buffered_text_is_printed_once() {
    let output = act("buffered");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.matches("parent's").count(), 1, "{text}");
    assert_eq!(text.matches("child's").count(), 1, "{text}");
}

/// What the tests above run in a process of its own; alone it does nothing.
#[test]
fn scene() {
    match std::env::var(SCENE).as_deref() {
        Ok("hammer") => hammer(),
        Ok("hold") => hold(),
        Ok("buffered") => buffered(),
        _ => {}
    }
}

fn hammer() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(|| {
                while !OVER.load(Ordering::Relaxed) {
                    println!("out");
                    eprintln!("err");
                }
            })
        })
        .collect();
    for _ in 0..100 {
        let guard = ForkGuard::take(LONG).unwrap();
        assert!(guard.holds_streams());
        let pid = fork(guard, |_| {
            println!("child");
            eprintln!("child");
            0
        });
        let child = Process::open(pid.unwrap()).unwrap();
        assert_eq!(child.wait(Some(LONG)).unwrap(), Some(Ending::Code(0)));
    }
    OVER.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn hold() {
    let (held, is_held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let holder = thread::spawn(move || {
        let _stdout = std::io::stdout().lock();
        held.send(()).unwrap();
        let _ = released.recv();
    });
    is_held.recv().unwrap();
    let guard = ForkGuard::take(Duration::from_millis(100)).unwrap();
    assert!(!guard.holds_streams());
    // The child's last flush meets a lock that is never let go: it leaves all the same, with its code.
    let pid = fork(guard, |_| 5).unwrap();
    assert_eq!(Process::open(pid).unwrap().wait(Some(LONG)).unwrap(), Some(Ending::Code(5)));
    drop(release);
    holder.join().unwrap();
}

fn buffered() {
    print!("parent's ");
    let pid = fork(ForkGuard::take(Duration::from_millis(100)).unwrap(), |_| {
        print!("child's ");
        0
    });
    Process::open(pid.unwrap()).unwrap().wait(None).unwrap();
    std::io::stdout().flush().unwrap();
}
