//! Locked files: every record whole, from everywhere; and exactly those of committed attempts when asked for them.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use common::{error_of, everywhere, sorted, under, within};
use minigun::{Backoff, Error, LockedFile, Pipeline, Record, attempt, inline, threads};

/// A place for a file that is gone when the test is.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("minigun-locked-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Place(std::env::temp_dir().join(name))
    }

    fn open(&self) -> LockedFile {
        LockedFile::open(&self.0).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A record whose every byte follows from who wrote it: 12 bytes that say so, then up to 200 kB.
fn record(n: u64, k: u32) -> Vec<u8> {
    let mut mixed = (n << 8 | u64::from(k)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    let length = match mixed % 16 {
        0 => mixed >> 8 & 0x3_0d40,
        1..4 => mixed >> 8 & 0xfff,
        _ => mixed >> 8 & 0x3f,
    };
    let filling = (0..length).map(|at| (mixed.rotate_left(at as u32 % 64) ^ at) as u8);
    n.to_le_bytes().into_iter().chain(k.to_le_bytes()).chain(filling).collect()
}

/// Who wrote a record, if it is as it was written.
fn writer(record_read: &Record) -> (u64, u32) {
    let n = u64::from_le_bytes(record_read.bytes[..8].try_into().unwrap());
    let k = u32::from_le_bytes(record_read.bytes[8..12].try_into().unwrap());
    assert!(record_read.bytes == record(n, k), "record {k} of item {n} is not as it was written");
    (n, k)
}

fn all(file: &LockedFile) -> Vec<Record> {
    let mut records = file.records().unwrap();
    let all = records.by_ref().map(Result::unwrap).collect();
    assert_eq!(records.torn_bytes(), 0);
    all
}

fn committed(file: &LockedFile) -> Vec<Record> {
    file.committed().unwrap().map(Result::unwrap).collect()
}

fn writers(records: &[Record]) -> Vec<(u64, u32)> {
    sorted(records.iter().map(writer))
}

#[test]
fn every_record_arrives_whole_from_every_executor() {
    everywhere(|executor| {
        let place = Place::new();
        let file = place.open();
        let p = Pipeline::new("whole");
        let theirs = file.clone();
        p.source("in", 0..150u64).on(executor, |s| {
            s.consumer("append", move |n| (0..3).try_for_each(|k| Ok(theirs.append(&record(n, k))?)))
        });
        p.run().unwrap();
        let expected: Vec<_> = (0..150).flat_map(|n| [0, 1, 2].map(|k| (n, k))).collect();
        let records = all(&file);
        assert_eq!(writers(&records), expected, "under {executor}");
        assert_eq!(committed(&file), records);
        let run = records[0].run;
        for record in records {
            let at = record.attempt.clone().unwrap();
            assert_eq!((at.item, at.attempt, Some(at.run)), (writer(&record).0, 1, run));
            assert!(run.is_some() && record.run == run);
            let within = executor.to_string().starts_with("process");
            assert_eq!(record.pid != std::process::id(), within, "process {}", record.pid);
        }
    });
}

#[test]
fn what_failed_attempts_appended_is_in_the_file_but_not_committed() {
    everywhere(|executor| {
        let place = Place::new();
        let file = place.open();
        let p = Pipeline::new("retries");
        let theirs = file.clone();
        p.source("in", 0..40u64).on(executor.place().retry(3, Backoff::none()).skip(), |s| {
            s.consumer("append", move |n| {
                let at = attempt().ok_or("outside any attempt")?;
                (0..2).try_for_each(|k| theirs.append(&record(n, k)))?;
                match (n % 4, at.attempt) {
                    (1, 1) => Err("not yet".into()),
                    (2, 1 | 2) => panic!("not yet either"),
                    (3, _) => Err("never".into()),
                    _ => Ok(()),
                }
            })
        });
        p.run().unwrap();
        let once = |n| [0, 1].map(|k| (n, k));
        let tries = |n| if n % 4 == 3 { 3 } else { n as usize % 4 + 1 };
        let expected = (0..40u64).flat_map(|n| std::iter::repeat_n(once(n), tries(n)).flatten());
        assert_eq!(writers(&all(&file)), sorted(expected), "under {executor}");
        let committed = committed(&file);
        let expected = (0..40u64).filter(|n| n % 4 != 3).flat_map(once);
        assert_eq!(writers(&committed), sorted(expected), "under {executor}");
        for record in committed {
            let at = record.attempt.clone().unwrap();
            assert_eq!(at.attempt as usize, tries(at.item));
        }
    });
}

/// Every level undoes what is its own: inner attempts on threads and inline, inside an outer one.
#[test]
fn blocks_in_blocks_commit_with_the_outermost_attempt() {
    everywhere(|executor| {
        let place = Place::new();
        let file = place.open();
        let p = Pipeline::new("nested");
        let (inner, innermost, outer) = (file.clone(), file.clone(), file.clone());
        let tries = common::Marks::new();
        let again = move |what: &str, n: u64| {
            let mark = format!("{what} {n}");
            tries.add(&mark);
            tries.count(&mark) == 1
        };
        let again = Arc::new(again);
        let (a, b, c) = (Arc::clone(&again), Arc::clone(&again), again);
        p.source("in", 0..40u64).batch(5).on(executor.place().retry(2, Backoff::none()), |s| {
            s.unbatch()
                .on(threads(2).retry(2, Backoff::none()), |s| {
                    s.try_map("inner", move |n| {
                        inner.append(&record(n, 0))?;
                        if n % 3 == 0 && a("inner", n) { Err("again".into()) } else { Ok(n) }
                    })
                    .on(inline().retry(2, Backoff::none()), |s| {
                        s.try_map("innermost", move |n| {
                            innermost.append(&record(n, 1))?;
                            if n % 4 == 0 && b("innermost", n) { Err("again".into()) } else { Ok(n) }
                        })
                    })
                })
                .consumer("outer", move |n| {
                    outer.append(&record(n, 2))?;
                    if n % 10 == 7 && c("outer", n) { Err("again".into()) } else { Ok(()) }
                })
        });
        p.run().unwrap();
        let once: Vec<_> = (0..40).flat_map(|n| [0, 1, 2].map(|k| (n, k))).collect();
        assert_eq!(writers(&committed(&file)), once, "under {executor}");
        assert!(all(&file).len() > once.len() + 20, "attempts were repeated");
    });
}

/// What a step kept until the end passes through steps that may append, and may be tried again.
#[test]
fn the_remainder_of_a_batch_commits_once() {
    within("remainder", || {
        let place = Place::new();
        let file = place.open();
        let p = Pipeline::new("remainder");
        let (theirs, nested) = (file.clone(), file.clone());
        let tried = AtomicU32::new(0);
        p.source("in", 0..10u64)
            .batch(4)
            .on(inline().retry(2, Backoff::none()), |s| {
                s.inspect("append", move |batch: &Vec<u64>| theirs.append(&record(batch[0], 0)).unwrap())
                    .unbatch()
                    .threads(2, |s| s.inspect("nested", move |n| nested.append(&record(*n, 1)).unwrap()))
                    .try_map("fail once", move |n| {
                        let again = n == 9 && tried.fetch_add(1, Ordering::Relaxed) == 0;
                        if again { Err("again".into()) } else { Ok(n) }
                    })
            })
            .discard();
        p.run().unwrap();
        let expected = [0, 4, 8].map(|n| (n, 0)).into_iter().chain((0..10).map(|n| (n, 1)));
        assert_eq!(writers(&committed(&file)), sorted(expected));
        assert_eq!(all(&file).len(), 13 + 3);
    });
}

#[test]
fn records_from_producers_hooks_and_threads_of_ones_own_count_at_once() {
    everywhere(|executor| {
        let p = Pipeline::new("outside");
        let file = p.locked_file().unwrap();
        let at = |n: u64| {
            let file = file.clone();
            move || Ok(file.append(&record(n, 0))?)
        };
        at(0)().unwrap_or_else(|failure: minigun::Failure| panic!("{failure}"));
        p.before_run(at(1)).before_fork(at(2)).after_fork(at(3));
        let (producer, own, last) = (at(4), at(5), file.clone());
        let read = Arc::new(Mutex::new(Vec::new()));
        let ours = Arc::clone(&read);
        p.after_run(move |_| {
            last.append(&record(6, 0))?;
            *ours.lock().unwrap() = writers(&all(&last));
            assert_eq!(writers(&committed(&last)), *ours.lock().unwrap());
            Ok(())
        });
        p.producer("in", move |out| {
            producer()?;
            out.emit(0);
            Ok(())
        })
        .on(executor, |s| {
            s.consumer("work", move |_| {
                let own = own.clone();
                std::thread::spawn(own).join().map_err(|_| "panicked")?
            })
        });
        p.run().unwrap();
        let workers = match executor.to_string().as_str() {
            "processes:1" | "process_per_batch:2" => 1,
            "processes:3" => 3,
            _ => 0,
        };
        let count = |n: u64| read.lock().unwrap().iter().filter(|(other, _)| *other == n).count();
        assert_eq!([0, 1, 4, 5, 6].map(count), [1; 5], "under {executor}");
        assert_eq!((count(2), count(3)), (workers.min(1), workers), "under {executor}");
    });
}

#[test]
fn a_file_opened_in_a_worker_is_known_to_the_program() {
    everywhere(|executor| {
        let place = Place::new();
        let path = place.0.clone();
        let p = Pipeline::new("opened inside");
        p.source("in", 0..20u64).on(executor, |s| {
            s.consumer_init(
                "append",
                move || Ok(LockedFile::open(&path)?),
                |file, n| Ok(file.append(&record(n, 0))?),
            )
        });
        p.run().unwrap();
        assert_eq!(writers(&committed(&place.open())), (0..20).map(|n| (n, 0)).collect::<Vec<_>>());
    });
}

#[test]
fn a_file_that_stays_tells_runs_apart_and_goes_on_where_it_ended() {
    within("two runs", || {
        let place = Place::new();
        for run in 1..=2u32 {
            let file = place.open();
            let p = Pipeline::new("again");
            p.source("in", 0..5u64)
                .processes(2, |s| s.consumer("append", move |n| Ok(file.append(&record(n, run))?)));
            p.run().unwrap();
        }
        let mut by_run = BTreeMap::new();
        for record in committed(&place.open()) {
            by_run.entry(record.run.unwrap()).or_insert_with(Vec::new).push(writer(&record));
        }
        let of = |run| (0..5).map(|n| (n, run)).collect::<Vec<_>>();
        assert_eq!(sorted(by_run.into_values().map(sorted)), [of(1), of(2)]);
    });
}

#[test]
fn what_is_committed_shows_while_the_run_goes_on() {
    under(&["threads:4", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("meanwhile");
        let file = p.locked_file().unwrap();
        let theirs = file.clone();
        let (sender, requests) = p.channel::<u64>("in", 1);
        let replies = requests
            .on(executor, |s| {
                s.try_map("append", move |n| {
                    theirs.append(&record(n, 0))?;
                    Ok(n)
                })
            })
            .receiver("out", 1);
        let running = p.start().unwrap();
        let mut replies = replies.into_iter();
        for n in 0..20 {
            sender.send(n).unwrap();
            assert_eq!(replies.next(), Some(n));
            let committed = writers(&committed(&file));
            // The reply of the last one may be here before its mark.
            assert!(committed.len() as u64 >= n && all(&file).len() as u64 == n + 1, "{n}: {committed:?}");
        }
        drop(sender);
        running.join().unwrap();
    });
}

#[test]
fn a_temporary_file_is_there_until_after_run_and_not_longer() {
    everywhere(|executor| {
        let run = |fail: bool| {
            let p = Pipeline::new("temporary");
            let file = p.locked_file().unwrap();
            let (theirs, last, path) = (file.clone(), file.clone(), file.path().to_path_buf());
            assert!(path.starts_with(std::env::temp_dir()) && path.exists());
            p.source("in", 0..10u64).on(executor, |s| {
                s.consumer("append", move |n| {
                    theirs.append(&record(n, 0))?;
                    if fail && n == 5 { Err("failed".into()) } else { Ok(()) }
                })
            });
            let seen = Arc::new(Mutex::new(None));
            let ours = Arc::clone(&seen);
            p.after_run(move |_| *ours.lock().unwrap() = Some(all(&last).len()));
            let outcome = p.run();
            assert_eq!(outcome.is_err(), fail);
            let seen = seen.lock().unwrap().unwrap();
            assert!(if fail { seen > 0 } else { seen == 10 }, "{seen}");
            assert!(!path.exists(), "it is gone");
            assert_eq!(file.append(b"late").unwrap_err().kind(), std::io::ErrorKind::NotFound);
            assert!(!path.exists(), "and stays so");
        };
        run(false);
        run(true);
    });
}

#[test]
fn the_temporary_files_of_a_pipeline_that_never_runs_are_gone_with_it() {
    within("never runs", || {
        let gone = |file: LockedFile| assert!(!file.path().exists());
        let p = Pipeline::new("dropped");
        let (file, other) = (p.locked_file().unwrap(), p.locked_file().unwrap());
        assert!(file.path().exists() && file.path() != other.path());
        drop(p);
        gone(file);
        gone(other);
        let p = Pipeline::new("wrongly wired");
        let file = p.locked_file().unwrap();
        drop(p.source("in", 0..3));
        assert!(matches!(error_of(p), Error::Wiring { .. }));
        gone(file);
        let p = Pipeline::new("hook");
        let file = p.locked_file().unwrap();
        p.before_run(|| Err("no".into()));
        p.source("in", 0..3).discard();
        assert!(matches!(error_of(p), Error::Hook { .. }));
        gone(file);
    });
}

#[test]
fn a_mark_that_cannot_be_written_ends_the_run_with_the_files_name() {
    everywhere(|executor| {
        let place = Place::new();
        let (file, path) = (place.open(), place.0.clone());
        let theirs = path.clone();
        let p = Pipeline::new("removed");
        p.source("in", 0..1).on(executor, |s| {
            s.consumer("append", move |_| {
                file.append(b"gone")?;
                Ok(fs::remove_file(&theirs)?)
            })
        });
        let error = error_of(p);
        assert!(matches!(error, Error::LockedFile { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("could not be marked"), "{text}");
    });
}

#[cfg(target_os = "linux")] // whose `/dev/full` is such a disk
#[test]
fn a_full_disk_is_an_error_of_the_append_and_so_of_the_item() {
    everywhere(|executor| {
        let file = LockedFile::open("/dev/full").unwrap();
        let error = file.append(b"one").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("append to /dev/full"), "{error}");
        let p = Pipeline::new("full");
        p.source("in", 0..3).on(executor.place().skip(), |s| {
            s.consumer("append", move |n| if n == 1 { Ok(file.append(b"one")?) } else { Ok(()) })
        });
        let report = p.run().unwrap();
        assert_eq!(report.stage("append").unwrap().figures.skipped, 1);
        let failure = &report.stage("append").unwrap().failures[0];
        assert!((failure.item, failure.error.contains("/dev/full")) == (1, true), "{failure:?}");
    });
}

#[test]
fn a_file_of_something_else_is_not_touched() {
    within("something else", || {
        let place = Place::new();
        fs::write(&place.0, "a letter").unwrap();
        let error = LockedFile::open(&place.0).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(place.0.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&place.0).unwrap(), b"a letter");
        let missing = place.0.join("no folder").join("file");
        let error = LockedFile::open(&missing).unwrap_err();
        assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    });
}

/// As a writer that was killed leaves it: the next one goes on behind, and readers pass over it.
#[test]
fn a_torn_record_hides_neither_those_before_nor_those_behind_it() {
    within("torn", || {
        let whole = |k| {
            let place = Place::new();
            place.open().append(&record(1, k)).unwrap();
            fs::read(&place.0).unwrap()
        };
        for part in [1, 3, 4, 30, 55, 56, 60, 67] {
            let place = Place::new();
            place.open().append(&record(0, 0)).unwrap();
            let mut bytes = fs::read(&place.0).unwrap();
            // Its place is not the one it says, but nothing else is wrong with the part that is there.
            bytes.extend_from_slice(&whole(0)[..part]);
            fs::write(&place.0, &bytes).unwrap();
            for k in 1..3 {
                place.open().append(&record(0, k)).unwrap();
            }
            let mut records = place.open().records().unwrap();
            let found: Vec<_> = records.by_ref().map(|record| writer(&record.unwrap())).collect();
            assert_eq!(found, [(0, 0), (0, 1), (0, 2)]);
            assert_eq!(records.torn_bytes(), part as u64);
            // A file that begins with a torn record is a locked file as well.
            fs::write(&place.0, &whole(0)[..part]).unwrap();
            place.open().append(&record(0, 0)).unwrap();
            assert_eq!(writers(&committed(&place.open())), [(0, 0)]);
        }
    });
}

const APPENDER: &str = "MINIGUN_TEST_APPENDER";

/// Three programs that know nothing of each other, each with four threads.
#[test]
fn programs_append_to_one_file_at_once() {
    const EACH: u64 = 100;
    if let Ok(text) = std::env::var(APPENDER) {
        let (path, who) = text.rsplit_once(' ').unwrap();
        let (file, who) = (LockedFile::open(path).unwrap(), who.parse::<u64>().unwrap());
        std::thread::scope(|scope| {
            for k in 0..4 {
                let file = &file;
                scope.spawn(move || (0..EACH).for_each(|n| file.append(&record(who * EACH + n, k)).unwrap()));
            }
        });
        return;
    }
    within("three programs", || {
        let place = Place::new();
        let programs: Vec<_> = (0..3u64)
            .map(|who| {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--exact", "programs_append_to_one_file_at_once"]);
                command.env(APPENDER, format!("{} {who}", place.0.display())).spawn().unwrap()
            })
            .collect();
        for mut program in programs {
            assert!(program.wait().unwrap().success());
        }
        let records = all(&place.open());
        let expected: Vec<_> = (0..3 * EACH).flat_map(|n| [0, 1, 2, 3].map(|k| (n, k))).collect();
        assert_eq!(writers(&records), expected);
        assert_eq!(committed(&place.open()), records);
        let pids: std::collections::BTreeSet<_> = records.iter().map(|record| record.pid).collect();
        assert_eq!(pids.len(), 3);
    });
}
