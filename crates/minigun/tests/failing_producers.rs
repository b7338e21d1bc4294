//! A producer that fails ends the run with its error, or is skipped and named; one that is told to stop ends by itself.

mod common;

use std::sync::{Arc, Mutex};

use common::{Marks, error_of, everywhere, sorted, told, within};
use minigun::{FailureKind, Fate, Pipeline, merge};

#[test]
fn a_producer_that_returns_an_error_ends_the_run_after_what_it_emitted() {
    everywhere(|executor| {
        let p = Pipeline::new("error");
        let _out = p
            .producer("broken", |out| {
                (0..5).for_each(|n| out.emit(n));
                Err("the connection was lost".into())
            })
            .on(executor, |s| s.map("same", |n: i32| n))
            .collect("out");
        let (stage, item, attempts, cause, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), item, attempts, kind), ("broken", 5, 1, FailureKind::Error));
        assert!(cause.contains("the connection was lost"), "{cause}");
    });
}

#[test]
fn a_producer_that_panics_ends_the_run() {
    everywhere(|executor| {
        let p = Pipeline::new("panic");
        let _out = p
            .producer("broken", |out| {
                out.emit(1);
                panic!("no more");
            })
            .on(executor, |s| s.map("same", |n: i32| n))
            .collect("out");
        let (stage, item, _, cause, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), item, kind), ("broken", 1, FailureKind::Panic));
        assert!(cause.contains("no more"), "{cause}");
    });
}

#[test]
fn a_failing_producer_stops_its_siblings_even_if_they_never_end() {
    everywhere(|executor| {
        let p = Pipeline::new("siblings");
        let endless = p.producer("endless", |out| {
            let mut n = 0;
            while !out.is_stopping() {
                out.emit(n);
                n += 1;
            }
        });
        let broken = p.producer("broken", |_| Err::<(), _>("at once".into())).map("type", |()| 0);
        merge([endless, broken]).on(executor, |s| s.map("same", |n| n)).discard();
        assert_eq!(told(error_of(p)).0, "broken");
    });
}

#[test]
fn an_iterator_that_panics_ends_the_run() {
    within("iterator", || {
        let p = Pipeline::new("iterator");
        p.source("broken", (0..5).inspect(|n| assert!(*n != 3, "number three"))).discard();
        let (stage, item, _, cause, _) = told(error_of(p));
        assert_eq!((stage.as_str(), item), ("broken", 3));
        assert!(cause.contains("number three"), "{cause}");
    });
}

#[test]
fn an_iterator_that_panics_before_light_steps_is_blamed_itself_and_what_it_gave_arrives() {
    within("iterator", || {
        let p = Pipeline::new("iterator");
        let items = (0..5).inspect(|n| assert!(*n != 3, "number three"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = Arc::clone(&seen);
        p.source("broken", items).map("light", move |n| sees.lock().unwrap().push(n)).discard();
        let (stage, item, _, cause, _) = told(error_of(p));
        assert_eq!((stage.as_str(), item), ("broken", 3));
        assert!(cause.contains("number three"), "{cause}");
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2]);
    });
}

#[test]
fn a_light_step_that_fails_behind_an_iterator_is_blamed_with_the_number_of_its_item() {
    within("step", || {
        let p = Pipeline::new("step");
        let asked = Arc::new(Mutex::new(0));
        let asks = Arc::clone(&asked);
        let items = (0..5).inspect(move |_| *asks.lock().unwrap() += 1);
        p.source("in", items).map("light", |n| assert!(n != 3, "number three")).discard();
        let (stage, item, _, cause, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), item, kind), ("light", 3, FailureKind::Panic));
        assert!(cause.contains("number three"), "{cause}");
        assert_eq!(*asked.lock().unwrap(), 4, "no more is asked for");
    });
}

#[test]
fn a_file_that_cannot_be_read_fails_its_source_and_is_named() {
    within("lines", || {
        let p = Pipeline::new("lines");
        p.lines("users", "/nowhere/users.txt").discard();
        let (stage, _, _, cause, _) = told(error_of(p));
        assert_eq!(stage, "users");
        assert!(cause.contains("/nowhere/users.txt"), "{cause}");
    });
}

#[test]
fn the_lines_of_a_file_come_without_their_ends() {
    within("lines", || {
        let path = std::env::temp_dir().join(format!("minigun-lines-{}", std::process::id()));
        std::fs::write(&path, "one\ntwo\r\n\nlast").unwrap();
        let p = Pipeline::new("lines");
        let lines = p.lines("lines", &path).collect("all");
        let read = p.run().unwrap().take(lines);
        std::fs::write(&path, b"good\nnot \xff text\n").unwrap();
        let p = Pipeline::new("not text");
        p.lines("lines", &path).discard();
        let (_, item, _, cause, _) = told(error_of(p));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, ["one", "two", "", "last"]);
        assert_eq!(item, 1);
        assert!(cause.contains("UTF-8"), "{cause}");
    });
}

#[test]
fn a_source_made_on_its_own_thread_need_not_be_send() {
    within("not send", || {
        let p = Pipeline::new("not send");
        let all = p.source_with("rc", || {
            let shared = std::rc::Rc::new(5);
            (0..3).map(move |n| n + *shared)
        });
        let all = all.collect("all");
        assert_eq!(p.run().unwrap().take(all), [5, 6, 7]);
    });
}

#[test]
fn a_producer_that_is_skipped_is_named_and_all_items_of_its_siblings_arrive() {
    everywhere(|executor| {
        let p = Pipeline::new("skipped");
        let marks = Marks::new();
        let seen = Arc::clone(&marks);
        p.on_failure(move |failed| seen.add(format!("{} {}", failed.stage, failed.fate)));
        let errs = p.producer("errs", |out| {
            (0..5).for_each(|n| out.emit(n));
            Err("the connection was lost".into())
        });
        let panics = p.producer("panics", |out| {
            out.emit(5);
            panic!("no more");
        });
        let flows = [errs.skip_on_failure(), panics.skip_on_failure(), p.source("sound", 6..500u32)];
        let out = merge(flows).on(executor, |s| s.map("same", |n| n)).collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted(0..500), "under {executor}");
        for (stage, emitted, kind) in [("errs", 5, FailureKind::Error), ("panics", 1, FailureKind::Panic)] {
            let told = report.stage(stage).unwrap();
            assert_eq!((told.failures.len(), told.figures.skipped, told.figures.items_out), (1, 1, emitted));
            let failure = &told.failures[0];
            assert_eq!((failure.fate, failure.item, failure.kind), (Fate::Skipped, emitted, kind));
        }
        assert!(
            report.to_string().contains("skipped item 5 of `errs` after 1 attempt: the connection was lost")
        );
        assert_eq!(sorted(marks.lines()), ["errs skipped", "panics skipped"]);
    });
}

/// What the producer was told to skip is its own failure, not that of a step behind it.
#[test]
fn a_step_fused_behind_a_skipped_producer_still_ends_the_run() {
    within("behind", || {
        let p = Pipeline::new("behind");
        p.source("in", 0..5)
            .skip_on_failure()
            .try_map("refuses", |n| if n == 3 { Err("no".into()) } else { Ok(n) })
            .discard();
        assert_eq!(told(error_of(p)).0, "refuses");
    });
}
