//! Fan-out, fan-in and the splits: a diamond with a shortcut, and one stream dealt out in five ways.
//!
//! ```text
//! cargo run --example diamond
//! ```
//!
//! A flow is cloned where several stages want every item; `merge` brings flows together again. A split gives each item to
//! one branch only. How many branches there are is told by the type, or, with `_n`, by a number known at run time.

use minigun::{Error, Flow, Pipeline, merge};

fn main() -> Result<(), Error> {
    let p = Pipeline::new("diamond");

    //          ┌─ a (+1) ─┬─ d (+20) ─────────┐
    //   start ─┤          └──┐                ├─ end
    //          └─ b (+2) ────┴─ c (+10) ──────┘
    let start = p.source("start", [1]);
    let a = start.clone().threads(2, |s| s.map("a", |n| n + 1));
    let b = start.processes(1, |s| s.map("b", |n| n + 2));
    let d = a.clone().map("d", |n| n + 20);
    let c = merge([a, b]).map("c", |n| n + 10);
    let end = c.merge(d).collect("end");

    // In turn: 4, 3 and 3 of ten. The branches do different things and meet again.
    let [x, y, z] = p.source("ten", 0..10u64).round_robin();
    let dealt = merge([x, y.map("y", |n| n * 100), z.map("z", |n| n * 10_000)]).collect("dealt");

    // By a question, and by a number.
    let (even, odd) = p.source("six", 0..6u64).partition("even?", |n| n % 2 == 0);
    let (even, odd) = (even.collect("even"), odd.collect("odd"));
    let thirds: [Flow<u64>; 3] = p.source("nine", 0..9u64).partition_by("mod 3", |n| *n as usize % 3);
    let mut number = 0;
    let thirds = thirds.map(|third| {
        number += 1;
        third.collect(&format!("third {number}"))
    });

    // By key: words of one first letter stay together. How many branches there are is known only now.
    let words = ["ant", "bee", "auk", "cow", "boa", "cat", "ape"];
    let branches = p.source("words", words).split_by_key_n(minigun::cores() + 1, |word| word.as_bytes()[0]);
    let branches: Vec<_> = branches
        .into_iter()
        .enumerate()
        .map(|(at, words)| words.collect(&format!("letters of branch {at}")))
        .collect();

    // To whoever has least to do: the slow branch gets few, if jobs come no faster than both together can do them.
    let [slow, fast] = p.source("jobs", 0..3000u64).rate(15_000.0, 1).least_loaded();
    let slow = slow.threads(1, |s| {
        s.map("slow", |n| {
            std::thread::sleep(std::time::Duration::from_micros(200));
            n
        })
    });
    let (slow, fast) =
        (slow.collect("slowly"), fast.processor("fast", |n, out| out.emit(n)).collect("fast ones"));

    let mut report = p.run()?;
    println!("{report}");

    let mut end = report.take(end);
    end.sort();
    assert_eq!(end, [12, 13, 22]);
    let mut dealt = report.take(dealt);
    dealt.sort();
    assert_eq!(dealt, [0, 3, 6, 9, 100, 400, 700, 20_000, 50_000, 80_000]);
    assert_eq!((report.take(even), report.take(odd)), (vec![0, 2, 4], vec![1, 3, 5]));
    assert_eq!(thirds.map(|third| report.take(third)), [[0, 3, 6], [1, 4, 7], [2, 5, 8]]);
    let mut together = 0;
    for branch in branches {
        let words = report.take(branch);
        together += words.len();
        for letter in ["a", "b", "c"] {
            let here = words.iter().filter(|word| word.starts_with(letter)).count();
            let all = ["ant", "auk", "ape", "bee", "boa", "cow", "cat"];
            let all = all.iter().filter(|word| word.starts_with(letter)).count();
            assert!(here == 0 || here == all, "words in `{letter}` are not together: {words:?}");
        }
    }
    assert_eq!(together, 7);
    let (slow, fast) = (report.take(slow).len(), report.take(fast).len());
    println!("of 3000 jobs the slow branch did {slow}, the fast one {fast}");
    assert_eq!(slow + fast, 3000);
    println!("a diamond and 5 splits, every item on its way once");
    Ok(())
}
