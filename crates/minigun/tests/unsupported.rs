//! Where worker processes are not to be had: process blocks say so when the pipeline starts, and name the way
//! out; with it they run on threads; everything else works. For builds as on a system without fork:
//!
//! ```text
//! RUSTFLAGS='--cfg minigun_no_fork' cargo test --test unsupported
//! ```
#![cfg(any(not(target_os = "linux"), minigun_no_fork))]
#![expect(clippy::unwrap_used, reason = "a test may")]

use minigun::{Backoff, Error, Executor, Pipeline, process_per_batch, processes};

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}

#[test]
fn a_process_block_is_refused_by_name_before_anything_starts() {
    for place in ["processes:2", "process_per_batch:2"] {
        let p = Pipeline::new("refused");
        p.before_run(|| panic!("nothing may start"));
        p.source("items", 0..10u64)
            .on(place.parse::<Executor>().unwrap(), |s| s.map("double", |n| n * 2))
            .discard();
        let error = p.run().err().unwrap();
        assert!(matches!(&error, Error::Unsupported { stage, .. } if stage == "double"), "{error}");
        assert!(error.to_string().contains(".or_threads()"), "{error}");
    }
}

#[test]
fn or_threads_runs_the_block_on_threads() {
    let p = Pipeline::new("pool");
    let (count, seen) = (p.counter("count"), p.collector("seen"));
    let results = p
        .source("items", 0..1000u64)
        .on(processes(2).or_threads(), |s| {
            s.map("double", move |n| {
                count.add(1);
                seen.push(n);
                n * 2
            })
        })
        .batch(10)
        .on(process_per_batch(2).or_threads(), |s| s.unbatch())
        .collect("results");
    let mut report = p.run().unwrap();
    assert_eq!(sorted(report.take(results)), (0..1000).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(sorted(report.take(seen)), (0..1000).collect::<Vec<_>>());
    assert_eq!(report.count(&count), 1000);
}

/// In a worker process the kept frame serves for the next attempt; on threads the item is encoded for it.
#[test]
fn items_that_are_not_clone_are_tried_again_on_threads_as_well() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Item(u64);

    let tries = std::sync::Mutex::new(std::collections::HashMap::<u64, u32>::new());
    let p = Pipeline::new("retry");
    let results = p
        .source("items", (0..100).map(Item))
        .on(processes(2).or_threads().retry(3, Backoff::none()), |s| {
            s.try_map("flaky", move |item: Item| {
                let mut tries = tries.lock().unwrap();
                let tried = tries.entry(item.0).or_default();
                *tried += 1;
                if *tried < 3 { Err("not now".into()) } else { Ok(item.0) }
            })
        })
        .collect("results");
    assert_eq!(sorted(p.run().unwrap().take(results)), (0..100).collect::<Vec<_>>());
}

#[test]
fn everything_else_works() {
    let p = Pipeline::new("the rest");
    let (odd, odds) = p.inlet::<u64>("odd");
    let even = p
        .source("items", 0..1000u64)
        .processor("pass", |n, out| out.emit(n))
        .threads(3, |s| {
            s.processor_to("route", &odd, |n, out, odd| if n % 2 == 0 { out.emit(n) } else { odd.emit(n) })
        })
        .inline(|s| s.map("inline", |n| n))
        .batch(7)
        .rebatch(5)
        .unbatch()
        .collect("even");
    let odd = odds.fold("sum", 0, |sum, n| sum + n);
    let mut report = p.run().unwrap();
    assert_eq!(sorted(report.take(even)), (0..1000).step_by(2).collect::<Vec<_>>());
    assert_eq!(report.take(odd), (0..1000).filter(|n| n % 2 == 1).sum::<u64>());
}
