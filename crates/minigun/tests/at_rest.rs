//! Where nothing comes, nothing runs: no thread of the program, of its fork server or of a worker looks for more.
//!
//! One test in a process of its own: it looks at all threads of the process and of its descendants.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use common::everywhere;
use minigun::Pipeline;
use minigun_os::{Pid, procfs};

/// Every thread but this one: whether it sleeps, and how often it left a core.
fn threads() -> BTreeMap<PathBuf, String> {
    let this = fs::read_link("/proc/thread-self").unwrap();
    let this = this.file_name().unwrap().to_owned();
    let (mut processes, mut all) = (vec![Pid::current()], BTreeMap::new());
    while let Some(process) = processes.pop() {
        processes.extend(procfs::children_of(process).unwrap());
        let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for task in tasks.filter_map(Result::ok).filter(|task| task.file_name() != this) {
            let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
            let told = |line: &&str| {
                ["Name:", "State:", "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
                    .iter()
                    .any(|field| line.starts_with(field))
            };
            all.insert(task.path(), status.lines().filter(told).collect::<Vec<_>>().join(" "));
        }
    }
    all
}

/// Waits until all of them sleep through a while. Who looks for more again and again never does, however long each of
/// its sleeps is within that; the watchdog then ends the test.
fn await_rest() {
    let mut before = threads();
    loop {
        thread::sleep(Duration::from_millis(150));
        let now = threads();
        if now == before && now.values().all(|thread| thread.contains("(sleeping)")) {
            return;
        }
        let changed = now.iter().filter(|(thread, told)| before.get(*thread) != Some(told));
        eprintln!("not at rest: {:?}", changed.collect::<Vec<_>>());
        before = now;
    }
}

#[test]
fn an_idle_pipeline_takes_no_turn_on_a_core_after_single_items_and_after_many() {
    everywhere(|executor| {
        let p = Pipeline::new("at rest");
        let (send, numbers) = p.channel("numbers", 4);
        let next = |n: u64| n + 1;
        let mut out = numbers
            .on(executor, |s| s.map("next", next))
            .processor("pass", |n, out| out.emit(n))
            .receiver("out", 4);
        let running = p.start().unwrap();
        await_rest();
        for many in [1, 500, 1] {
            for n in 0..many {
                send.send(n).unwrap();
                assert_eq!(out.next(), Some(n + 1), "under {executor}");
            }
            await_rest();
        }
        // It was asleep, and not dead.
        send.send(7).unwrap();
        assert_eq!(out.next(), Some(8), "under {executor}");
        drop(send);
        assert_eq!(out.next(), None);
        running.join().unwrap();
    });
}
