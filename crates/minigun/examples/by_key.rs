//! Items of one key always reach the same worker: each account has its balance in the memory of one process.
//!
//! ```text
//! cargo run --example by_key
//! ```
//!
//! With `by_key` a worker can keep what belongs to its keys in its own state, without a lock and without a database, and
//! sees the items of a key in the order in which they were sent. That state is a cache: a worker that dies takes it with
//! it. So the truth is what is emitted, and here one worker is killed on purpose: its replacement serves the same accounts,
//! and asks for their balance anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process;

use minigun::{Error, Pipeline, processes};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Transfer {
    account: u32,
    cents: i64,
    number: u64,
}

const ACCOUNTS: u32 = 12;
const TRANSFERS: u64 = 600;

fn main() -> Result<(), Error> {
    let transfers = || {
        (0..TRANSFERS).map(|number| Transfer {
            account: (number * 7 % u64::from(ACCOUNTS)) as u32,
            cents: (number % 13) as i64 - 5,
            number,
        })
    };

    let p = Pipeline::new("bank");
    let workers = p.collector::<(u32, u32)>("workers");
    let loaded = p.counter("balances loaded");
    let booked = p
        .source("transfers", transfers())
        .on(processes(3).queue(60).by_key(|transfer: &Transfer| transfer.account), |s| {
            s.processor_init(
                "book",
                || Ok(HashMap::new()),
                move |cache: &mut HashMap<u32, u64>, transfer: Transfer, out| {
                    if transfer.number == 300 && minigun::attempt().is_some_and(|at| at.attempt == 1) {
                        process::abort();
                    }
                    let last = cache.entry(transfer.account).or_insert_with(|| {
                        loaded.add(1);
                        0
                    });
                    assert!(*last <= transfer.number, "transfers of one account come in order");
                    *last = transfer.number;
                    workers.push((transfer.account, process::id()));
                    out.emit(transfer);
                },
            )
        })
        .fold("balances", BTreeMap::new(), |mut balances, transfer: Transfer| {
            *balances.entry(transfer.account).or_insert(0) += transfer.cents;
            balances
        });

    let mut report = p.run()?;
    println!("{report}");

    let mut expected = BTreeMap::new();
    transfers().for_each(|transfer| *expected.entry(transfer.account).or_insert(0) += transfer.cents);
    assert_eq!(report.take(booked), expected, "every transfer booked once");

    let seen = report.take(workers);
    assert_eq!(seen.len() as u64, TRANSFERS);
    let mut of_account = BTreeMap::<u32, BTreeSet<u32>>::new();
    for (account, worker) in &seen {
        of_account.entry(*account).or_default().insert(*worker);
    }
    println!("balances were loaded {} times", report.count(&loaded));
    // The accounts of the worker that died have seen its replacement too; all others one process only.
    let died = report.stage("book").map_or(0, |stage| stage.figures.deaths);
    assert_eq!(died, 1);
    let all: BTreeSet<_> = of_account.values().flatten().copied().collect();
    assert!(all.len() <= 4, "three workers and one replacement");
    for (account, workers) in &of_account {
        println!("account {account:>2}: processes {workers:?}");
        assert!(workers.len() <= 2);
    }
    let shared: Vec<_> = of_account.values().filter(|workers| workers.len() == 2).collect();
    assert!(shared.windows(2).all(|two| two[0] == two[1]), "it is the same two everywhere");
    println!("{TRANSFERS} transfers on {ACCOUNTS} accounts, one worker each, through a death");
    Ok(())
}
