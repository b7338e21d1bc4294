//! A full-text index of a folder: walk → read → parse → batch → insert, every step where it runs best.
//!
//! ```text
//! cargo run --release --example index -- .                     # index this folder into index.db
//! cargo run --release --example index -- --find "worker pool"  # the ten best hits
//! cargo run --release --features hud --example index -- . --hud  # with a live view
//! ```
//!
//! Things to look at:
//! * files are *read* on threads (they wait for the disk), *parsed* in worker processes (they need a CPU, and
//!   a parser that crashes takes only its worker along) and *inserted* by a fresh process for every batch,
//!   which opens its own connection: an SQLite connection must never cross a fork;
//! * the wire carries paths as raw bytes, because a file name need not be UTF-8;
//! * a file that is not indexed leaves through a port with a named reason, so that at the end
//!   walked = indexed + skipped, or the program fails.
//!
//! A second run over the same folder updates the rows of the first and removes those whose file is gone.

mod args;
mod parse;
mod path;
mod read;
#[cfg(test)]
mod scratch;
mod skip;
mod store;
mod walk;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use minigun::{Output, Pipeline, Report, processes};

use args::{Request, View};
use skip::{Skip, Skips};
use store::{Hit, Store, Written};

/// Documents per transaction.
const BATCH: usize = 200;
/// Files that may wait for a parser: each holds up to [`read::LIMIT`] bytes, so keep them few.
const WAITING: usize = 32;

fn main() -> ExitCode {
    match args::from_env().map_err(Into::into).and_then(answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("index: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn answer(request: Request) -> Result<(), Box<dyn Error>> {
    match request {
        Request::Help => Ok(io::stdout().write_all(args::HELP.as_bytes())?),
        Request::Search { db, words } => Ok(print_hits(&Store::open(&db)?.find(&words)?)?),
        Request::Index { folder, db, processes, find, view } => {
            let done = index(&folder, &db, processes, view)?;
            done.print()?;
            if let Some(words) = find {
                print_hits(&Store::open(&db)?.find(&words)?)?;
            }
            done.check()
        }
    }
}

/// What a run did, counted in three places that know nothing of each other: the walk counts what it meets,
/// the children what they inserted, the port what was skipped.
struct Done {
    report: Report,
    walked: u64,
    written: Written,
    skips: Skips,
    /// Rows of files that this run did not find again; `None` if the walk was not complete.
    removed: Option<u64>,
    /// Rows of this run which the database really holds.
    rows: u64,
}

fn index(folder: &Path, db: &Path, workers: usize, view: View) -> Result<Done, Box<dyn Error>> {
    let folder = walk::root(folder)?;

    // Everything that can be wrong with the database should be found out now. The connection is closed again
    // at the end of the block: `run` forks, and no connection may be open then.
    let (run, db, own_files) = {
        let store = Store::create(db)?;
        (store.begin_run(&folder)?, store.path().to_owned(), store.files()?)
    };

    let p = Pipeline::new("index");
    if view == View::Progress {
        p.progress();
    }
    let walked = p.counter("walked");
    let (skip, skipped) = p.inlet::<Skip>("skipped");

    let root = folder.clone();
    let insert_into = db.clone();
    let written = p
        .source_with("walk", move || walk::entries(&root, own_files).inspect(move |_| walked.add(1)))
        .threads(8, |s| {
            s.processor_to("read", &skip, |entry, out, skip| divert(entry.and_then(read::read), out, skip))
        })
        .on(processes(workers).queue(WAITING), |s| {
            s.processor_to("parse", &skip, |raw, out, skip| divert(parse::parse(raw), out, skip))
        })
        .batch(BATCH)
        .process_per_batch(2, |s| {
            s.try_map_init(
                "insert",
                move || Ok(Store::open(&insert_into)?),
                move |store, docs| Ok(store.insert(run, &docs)?),
            )
        })
        .fold("written", Written::default(), |sum, written| sum + written);
    let skips = skipped.fold("skips", Skips::default(), Skips::with);

    let mut report = if view == View::Hud { with_view(p)? } else { p.run()? };

    let (written, skips) = (report.take(written), report.take(skips));
    let mut store = Store::open(&db)?;
    // A folder that could not be listed may still hold its files: then nothing is removed.
    let removed = if skips.walk_was_complete() { Some(store.remove_older(run, &folder)?) } else { None };
    let rows = store.rows_since(run, &folder)?;
    Ok(Done { walked: report.count(&walked), report, written, skips, removed, rows })
}

#[cfg(feature = "hud")]
fn with_view(p: Pipeline) -> Result<Report, minigun::Error> {
    p.run_with_hud()
}

/// The command line refuses `--hud` then.
#[cfg(not(feature = "hud"))]
fn with_view(p: Pipeline) -> Result<Report, minigun::Error> {
    p.run()
}

/// Sends a result on its way: a value to the next step, a skip to its port.
fn divert<T>(result: Result<T, Skip>, out: &mut Output<T>, skip: &mut Output<Skip>) {
    match result {
        Ok(value) => out.emit(value),
        Err(reason) => skip.emit(reason),
    }
}

impl Done {
    fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", self.report)?;
        write!(out, "{}", self.skips)?;
        let Written { added, changed, unchanged } = self.written;
        write!(out, "{added} new, {changed} changed, {unchanged} unchanged, ")?;
        match self.removed {
            Some(removed) => writeln!(out, "{removed} removed"),
            None => writeln!(out, "none removed: the walk was not complete"),
        }
    }

    /// Prints the last line and compares the books.
    fn check(&self) -> Result<(), Box<dyn Error>> {
        let (indexed, skipped) = (self.written.total(), self.skips.total());
        let lost = i128::from(self.walked) - i128::from(indexed) - i128::from(skipped);
        writeln!(io::stdout(), "indexed {indexed} files, {skipped} skipped, {lost} lost")?;
        if lost != 0 {
            return Err(format!("{} files walked, but {indexed} + {skipped} arrived", self.walked).into());
        }
        // More is possible: another run over the same folder may have begun later and found new files.
        if self.rows < indexed {
            return Err(format!("{indexed} files indexed, but the database holds {}", self.rows).into());
        }
        Ok(())
    }
}

fn print_hits(hits: &[Hit]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if hits.is_empty() {
        writeln!(out, "nothing found")?;
    }
    for Hit { path, title, snippet } in hits {
        writeln!(out, "{path}\n  {title}\n  {snippet}")?;
    }
    Ok(())
}

/// An error and its causes in one line, leaving out what has been said already.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
