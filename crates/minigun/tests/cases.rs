//! First cases.
use minigun::{Executor, Pipeline, merge};

fn sorted<T: Ord>(mut v: Vec<T>) -> Vec<T> {
    v.sort();
    v
}

#[test]
fn chain() {
    for e in ["inline", "threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"] {
        let p = Pipeline::new("c");
        let e: Executor = e.parse().unwrap();
        let out = p
            .source("in", 1..=1000u64)
            .on(e, |s| s.map("x2", |n| n * 2).processor("p10", |n, out| out.emit(n + 10)))
            .collect("out");
        let mut r = p.run().unwrap();
        println!("{r}");
        assert_eq!(sorted(r.take(out)), (1..=1000).map(|n| n * 2 + 10).collect::<Vec<_>>());
    }
}

#[test]
fn diamond() {
    let p = Pipeline::new("diamond");
    let start = p.source("start", [1]);
    let a = start.clone().map("a", |n| n + 1);
    let b = start.map("b", |n| n + 2);
    let d = a.clone().map("d", |n| n + 20);
    let end = merge([a, b]).map("c", |n| n + 10).merge([d]).collect("end");
    let mut r = p.run().unwrap();
    assert_eq!(sorted(r.take(end)), [12, 13, 22]);
}

#[test]
fn hop() {
    let n = 3_000_000u64;
    let p = Pipeline::new("hop");
    let out = p
        .source("in", 0..n)
        .processor("a", |x, out| out.emit(x + 1))
        .processor("b", |x, out| out.emit(x + 1))
        .fold("s", 0u64, |a, x| a + x);
    let t = std::time::Instant::now();
    let mut r = p.run().unwrap();
    println!("{:.1} M/s", n as f64 / t.elapsed().as_secs_f64() / 1e6);
    println!("{r}");
    assert_eq!(r.take(out), (0..n).map(|x| x + 2).sum::<u64>());
    let p = Pipeline::new("inline");
    let out = p
        .source("in", 0..n)
        .inline(|s| s.processor("a", |x, out| out.emit(x + 1)).processor("b", |x, out| out.emit(x + 1)))
        .fold("s", 0u64, |a, x| a + x);
    let t = std::time::Instant::now();
    let mut r = p.run().unwrap();
    println!("{:.1} M/s", n as f64 / t.elapsed().as_secs_f64() / 1e6);
    assert_eq!(r.take(out), (0..n).map(|x| x + 2).sum::<u64>());
}

#[test]
fn pool_speed() {
    let n = 1_000_000u64;
    let p = Pipeline::new("pool");
    let out = p.source("in", 0..n).processes(2, |s| s.map("a", |x| x + 1)).fold("s", 0u64, |a, x| a + x);
    let t = std::time::Instant::now();
    let mut r = p.run().unwrap();
    println!("processes {:.2} M/s", n as f64 / t.elapsed().as_secs_f64() / 1e6);
    println!("{r}");
    assert_eq!(r.take(out), (0..n).map(|x| x + 1).sum::<u64>());
    let n = 2000u64;
    let p = Pipeline::new("pool");
    let out =
        p.source("in", 0..n).process_per_batch(2, |s| s.map("a", |x| x + 1)).fold("s", 0u64, |a, x| a + x);
    let t = std::time::Instant::now();
    let mut r = p.run().unwrap();
    println!("forks {:.0} /s", n as f64 / t.elapsed().as_secs_f64());
    println!("{r}");
    assert_eq!(r.take(out), (0..n).map(|x| x + 1).sum::<u64>());
}

#[test]
fn killer() {
    let p = Pipeline::new("killer");
    let out = p
        .source("in", 0..100u64)
        .on(minigun::processes(2).skip(), |s| {
            s.map("a", |x| if x == 42 { std::process::abort() } else { x + 1 })
        })
        .fold("s", 0u64, |a, x| a + x);
    let mut r = p.run().unwrap();
    println!("{r}");
    assert_eq!(r.take(out), (0..100).filter(|x| *x != 42).map(|x| x + 1).sum::<u64>());
    let p = Pipeline::new("killer");
    let _out = p
        .source("in", 0..100u64)
        .processes(2, |s| s.map("a", |x| if x == 42 { std::process::abort() } else { x + 1 }))
        .fold("s", 0u64, |a, x| a + x);
    let e = p.run().err().unwrap();
    println!("{e}");
}

#[test]
fn nested_batches() {
    let p = Pipeline::new("nest");
    let out = p
        .source("in", 0..1000u64)
        .batch(100)
        .threads(2, |s| s.unbatch().threads(3, |s| s.map("x", |x| x + 1)).map("y", |x| x * 2))
        .batch(30)
        .rebatch(7)
        .collect("out");
    let mut r = p.run().unwrap();
    println!("{r}");
    assert_eq!(sorted(r.take(out).concat()), (0..1000).map(|x| (x + 1) * 2).collect::<Vec<_>>());
}
