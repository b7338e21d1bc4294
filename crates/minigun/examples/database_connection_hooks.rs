//! A database connection must not cross a fork: two processes that use one SQLite connection ruin the file. So it
//! is closed before the fork, each worker opens its own, and in the end all are closed.
//!
//! ```text
//! cargo run --example database_connection_hooks
//! ```
//!
//! In order: `before_run` opens the program's connection and the block's `before_fork` closes it; in each worker
//! `after_fork` notes that it begins, `_init` opens its own connection and `after` notes that it ends; `after_run`
//! connects once more, looks, and disconnects. The notes go into a collector: what is pushed there in
//! a worker reaches the program, which a plain captured `Vec` would not.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, fs, process};

use minigun::{Failure, Pipeline, processes};
use rusqlite::Connection;

const WORKERS: usize = 3;
const ROWS: i64 = 60;

fn connect(path: &Path) -> Result<Connection, Failure> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(30))?; // one writer at a time
    Ok(db)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Scratch(env::temp_dir().join(format!("minigun-connections-{}", process::id())));
    fs::create_dir(&folder.0)?;
    let path = folder.0.join("rows.db");

    let p = Pipeline::new("connections");
    let notes = p.collector::<(u32, String)>("notes");
    let note = move |what: &str| notes.push((process::id(), what.to_string()));

    // The program's connection, shared by the hooks that open and close it.
    let ours: Arc<Mutex<Option<Connection>>> = Arc::default();
    let (opening, closing) = (Arc::clone(&ours), Arc::clone(&ours));
    let (first, own, last) = (path.clone(), path.clone(), path.clone());

    p.before_run(move || {
        let db = connect(&first)?;
        db.execute_batch("CREATE TABLE rows (n INTEGER PRIMARY KEY, worker INTEGER NOT NULL)")?;
        *opening.lock().unwrap_or_else(PoisonError::into_inner) = Some(db);
        note("connect");
        Ok(())
    });
    let insert = processes(WORKERS)
        .before_fork(move || {
            let db = closing.lock().unwrap_or_else(PoisonError::into_inner).take();
            db.ok_or("it was never opened")?.close().map_err(|(_, error)| error)?;
            note("disconnect before the fork");
            Ok(())
        })
        .after_fork(move || note("a worker begins"));
    p.source("rows", 0..ROWS).on(insert, |s| {
        s.try_map_init(
            "insert",
            move || {
                note("reconnect");
                Ok(WorkersOwn { db: connect(&own)?, note })
            },
            |own, n| {
                // A row that was tried twice is there once all the same.
                let sql = "INSERT OR REPLACE INTO rows VALUES (?1, ?2)";
                own.db.execute(sql, (n, i64::from(process::id())))?;
                Ok(())
            },
        )
        .after(move || note("a worker ends"))
        .discard()
    });
    p.after_run(move |_| {
        let db = connect(&last)?;
        let rows: i64 = db.query_row("SELECT count(*) FROM rows", [], |row| row.get(0))?;
        db.close().map_err(|(_, error)| error)?;
        note("final disconnect");
        if rows == ROWS { Ok(()) } else { Err(format!("{rows} rows instead of {ROWS}").into()) }
    });

    let mut report = p.run()?;
    println!("{report}");
    let notes = report.take(notes);
    for (pid, what) in &notes {
        println!("{pid}: {what}");
    }
    let count = |what: &str| notes.iter().filter(|(_, noted)| noted == what).count();
    assert_eq!((count("connect"), count("disconnect before the fork"), count("final disconnect")), (1, 1, 1));
    for what in ["a worker begins", "reconnect", "a worker ends", "disconnect"] {
        assert_eq!(count(what), WORKERS, "{what}: once in each worker");
        let in_program = notes.iter().any(|(pid, noted)| noted == what && *pid == process::id());
        assert!(!in_program, "{what}: not in the program");
    }
    println!("{} connections opened, all closed, {ROWS} rows", WORKERS + 2);
    Ok(())
}

/// A worker's connection. It is closed when the worker ends, with the rest of what `_init` made.
struct WorkersOwn<N: Fn(&str)> {
    db: Connection,
    note: N,
}

impl<N: Fn(&str)> Drop for WorkersOwn<N> {
    fn drop(&mut self) {
        (self.note)("disconnect");
    }
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
