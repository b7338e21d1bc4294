//! Bulk insert: batches of 1000 rows go into SQLite, each batch from a process of its own, at most four at
//! once.
//!
//! ```text
//! cargo run --example bulk_insert
//! ```
//!
//! A database connection must not cross a fork. So the program closes its own before `run`, and each child
//! opens one in the `_init` closure, which runs in the child. A batch may be inserted twice if a child dies
//! between the insert and its report; `INSERT OR REPLACE` by key makes that harmless.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io, process};

use minigun::Pipeline;
use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};

const ROWS: u32 = 25_500;
const BATCH: usize = 1000;
const CHILDREN: usize = 4;

#[derive(Serialize, Deserialize)]
struct Reading {
    id: u32,
    sensor: String,
    value: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new()?;
    let db = scratch.0.join("readings.db");
    connect(&db)?.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE readings (id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL);",
    )?; // and closed again

    let p = Pipeline::new("bulk insert");
    let insert_into = db.clone();
    let by_child = p
        .source("readings", (0..ROWS).map(reading))
        .batch(BATCH)
        .process_per_batch(CHILDREN, |s| {
            s.try_map_init(
                "insert",
                move || Ok(connect(&insert_into)?),
                |connection, batch| Ok((process::id(), insert(connection, &batch)?)),
            )
        })
        .fold("by child", BTreeMap::new(), |mut rows, (pid, n)| {
            *rows.entry(pid).or_insert(0) += n;
            rows
        });

    let mut report = p.run()?;
    println!("{report}");

    let by_child = report.take(by_child);
    for (pid, rows) in by_child.iter().take(5) {
        println!("child {pid} inserted {rows} rows");
    }
    println!("… {} children in all, never more than {CHILDREN} at once", by_child.len());

    let (rows, ids): (u32, i64) =
        connect(&db)?
            .query_row("SELECT count(*), sum(id) FROM readings", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    assert_eq!(rows, ROWS, "every row is in the database");
    assert_eq!(ids, (0..i64::from(ROWS)).sum::<i64>(), "and each is there once");
    assert_eq!(by_child.values().sum::<usize>(), ROWS as usize, "the children reported what they inserted");
    assert_eq!(by_child.len(), (ROWS as usize).div_ceil(BATCH), "every batch had a process of its own");
    assert!(!by_child.contains_key(&process::id()), "the program inserted nothing itself");
    println!("{rows} rows in the database");
    Ok(())
}

fn reading(id: u32) -> Reading {
    Reading { id, sensor: format!("sensor {}", id % 17), value: f64::from(id).sqrt() }
}

fn connect(db: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(db)?;
    connection.busy_timeout(Duration::from_secs(30))?; // four children, one writer at a time
    Ok(connection)
}

fn insert(connection: &mut Connection, batch: &[Reading]) -> rusqlite::Result<usize> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut insert = tx.prepare("INSERT OR REPLACE INTO readings (id, sensor, value) VALUES (?1, ?2, ?3)")?;
    for Reading { id, sensor, value } in batch {
        insert.execute((id, sensor, value))?;
    }
    drop(insert);
    tx.commit()?;
    Ok(batch.len())
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("minigun-bulk-insert-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
