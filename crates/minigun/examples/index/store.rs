//! The index itself: one SQLite file with a table of files and a full-text table beside it.
//!
//! Every run has a number, and every row carries the number of the last run that saw its file. So a run that
//! was interrupted leaves a consistent index of mixed age, and the next one can tell what is gone.

use std::ffi::OsString;
use std::ops::Add;
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior, named_params, params};
use serde::{Deserialize, Serialize};

use crate::parse::Doc;
use crate::path::printable;

/// Marks an SQLite file as ours ("mgix"), so that nobody else's is ever touched.
const APPLICATION_ID: i64 = 0x6d67_6978;
const SCHEMA_VERSION: i64 = 1;
/// Two children insert at the same time and one waits for the other's transaction.
const PATIENCE: Duration = Duration::from_secs(60);

/// `path` is what the system calls the file and need not be text; `name` is the same for people.
const SCHEMA: &str = "
    CREATE TABLE runs (
        id      INTEGER PRIMARY KEY,
        folder  BLOB NOT NULL,
        started TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) STRICT;
    CREATE TABLE files (
        id    INTEGER PRIMARY KEY,
        path  BLOB NOT NULL UNIQUE,
        name  TEXT NOT NULL,
        title TEXT NOT NULL,
        lines INTEGER NOT NULL,
        words INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        hash  BLOB NOT NULL,
        run   INTEGER NOT NULL REFERENCES runs
    ) STRICT;
    CREATE VIRTUAL TABLE texts USING fts5(title, body, tokenize = 'unicode61 remove_diacritics 2');
";

pub(crate) struct Store {
    path: PathBuf,
    connection: Connection,
}

/// What happened to a batch of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) added: u64,
    pub(crate) changed: u64,
    pub(crate) unchanged: u64,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) path: String,
    pub(crate) title: String,
    pub(crate) snippet: String,
}

/// What is wrong, and with which database.
#[derive(Debug)]
pub(crate) struct StoreError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Missing,
    NotOurs,
    OtherVersion(i64),
    Path(io::Error),
    Sqlite(rusqlite::Error),
}

impl Store {
    /// Opens the index, making it if there is none.
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        Store::with(path, OpenFlags::SQLITE_OPEN_CREATE, |connection| {
            // Checked before the first byte is written, and again where nobody else can write.
            state(connection)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if state(&tx)? == State::Empty {
                tx.execute_batch(SCHEMA)?;
                tx.pragma_update(None, "application_id", APPLICATION_ID)?;
                tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            Ok(tx.commit()?)
        })
    }

    /// Opens an index that must be there.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError { path: path.to_owned(), problem: Problem::Missing });
        }
        Store::with(path, OpenFlags::empty(), |connection| match state(connection)? {
            State::Ours => Ok(()),
            State::Empty => Err(Problem::Missing),
        })
    }

    fn with(
        path: &Path,
        how: OpenFlags,
        prepare: impl FnOnce(&mut Connection) -> Result<(), Problem>,
    ) -> Result<Self, StoreError> {
        let open = || {
            // An absolute path is always a file: neither `:memory:` nor the empty name of a temporary one.
            let path = path::absolute(path)?;
            let how = how | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(&path, how)?;
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            prepare(&mut connection)?;
            Ok(Store { path, connection })
        };
        open().map_err(|problem| StoreError { path: path.to_owned(), problem })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The files SQLite keeps this index in, by their true names. A walk should not find them.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let db = self.path.canonicalize().map_err(|e| self.error(e))?;
        let beside = |suffix: &str| {
            let mut name = OsString::from(&db);
            name.push(suffix);
            PathBuf::from(name)
        };
        Ok(["", "-wal", "-shm", "-journal"].map(beside).into())
    }

    /// Opens a run. As the first write it also shows that the database can be written at all.
    pub(crate) fn begin_run(&self, folder: &Path) -> Result<i64, StoreError> {
        let insert = "INSERT INTO runs (folder) VALUES (?1) RETURNING id";
        self.connection
            .query_row(insert, [folder.as_os_str().as_bytes()], |row| row.get(0))
            .map_err(|e| self.error(e))
    }

    /// Writes a batch of documents, all or none. Doing it twice is the same as doing it once, as it must be
    /// for an item of a pipeline that may be tried again.
    pub(crate) fn insert(&mut self, run: i64, docs: &[Doc]) -> Result<Written, StoreError> {
        insert(&mut self.connection, run, docs).map_err(|e| self.error(e))
    }

    /// Removes what lies under `folder` and was last seen before `run`; says how many.
    pub(crate) fn remove_older(&mut self, run: i64, folder: &Path) -> Result<u64, StoreError> {
        remove_older(&mut self.connection, run, &Under::new(folder)).map_err(|e| self.error(e))
    }

    /// How many rows under `folder` were seen by `run`, or by one that began later.
    pub(crate) fn rows_since(&self, run: i64, folder: &Path) -> Result<u64, StoreError> {
        let Under { from, to } = Under::new(folder);
        let count = "SELECT count(*) FROM files JOIN texts ON texts.rowid = files.id
                     WHERE path >= ?1 AND path < ?2 AND run >= ?3";
        let rows: i64 = self
            .connection
            .query_row(count, params![from, to, run], |row| row.get(0))
            .map_err(|e| self.error(e))?;
        Ok(rows.unsigned_abs())
    }

    /// The ten best documents that hold all words.
    pub(crate) fn find(&self, words: &str) -> Result<Vec<Hit>, StoreError> {
        find(&self.connection, words).map_err(|e| self.error(e))
    }

    fn error(&self, problem: impl Into<Problem>) -> StoreError {
        StoreError { path: self.path.clone(), problem: problem.into() }
    }
}

#[derive(PartialEq)]
enum State {
    Empty,
    Ours,
}

fn state(connection: &Connection) -> Result<State, Problem> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id")?;
    if application == APPLICATION_ID {
        match number("PRAGMA user_version")? {
            SCHEMA_VERSION => Ok(State::Ours),
            other => Err(Problem::OtherVersion(other)),
        }
    } else if application == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0 {
        Ok(State::Empty)
    } else {
        Err(Problem::NotOurs)
    }
}

fn insert(connection: &mut Connection, run: i64, docs: &[Doc]) -> rusqlite::Result<Written> {
    // A transaction that begins by reading could not be made to wait once it wants to write.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut written = Written::default();
    for doc in docs {
        let known = tx
            .prepare_cached("SELECT id, hash = ?2 FROM files WHERE path = ?1")?
            .query_row(params![doc.path.as_bytes(), doc.hash], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match known {
            None => {
                add(&tx, run, doc)?;
                written.added += 1;
            }
            Some((id, false)) => {
                change(&tx, run, id, doc)?;
                written.changed += 1;
            }
            Some((id, true)) => {
                tx.prepare_cached("UPDATE files SET run = max(run, ?2) WHERE id = ?1")?.execute([id, run])?;
                written.unchanged += 1;
            }
        }
    }
    tx.commit()?;
    Ok(written)
}

fn add(tx: &Connection, run: i64, doc: &Doc) -> rusqlite::Result<()> {
    let file = "INSERT INTO files (path, name, title, lines, words, bytes, hash, run)
                VALUES (:path, :name, :title, :lines, :words, :bytes, :hash, :run)";
    tx.prepare_cached(file)?.execute(named_params! {
        ":path": doc.path.as_bytes(), ":name": doc.path.shown(), ":title": doc.title, ":hash": doc.hash,
        ":lines": doc.lines as i64, ":words": doc.words as i64, ":bytes": doc.text.len() as i64, ":run": run,
    })?;
    let id = tx.last_insert_rowid();
    tx.prepare_cached("INSERT INTO texts (rowid, title, body) VALUES (?1, ?2, ?3)")?
        .execute(params![id, doc.title, doc.text])?;
    Ok(())
}

fn change(tx: &Connection, run: i64, id: i64, doc: &Doc) -> rusqlite::Result<()> {
    let file =
        "UPDATE files SET title = :title, lines = :lines, words = :words, bytes = :bytes, hash = :hash,
                run = max(run, :run) WHERE id = :id";
    tx.prepare_cached(file)?.execute(named_params! {
        ":id": id, ":title": doc.title, ":hash": doc.hash,
        ":lines": doc.lines as i64, ":words": doc.words as i64, ":bytes": doc.text.len() as i64, ":run": run,
    })?;
    tx.prepare_cached("UPDATE texts SET title = ?2, body = ?3 WHERE rowid = ?1")?
        .execute(params![id, doc.title, doc.text])?;
    Ok(())
}

fn remove_older(connection: &mut Connection, run: i64, under: &Under) -> rusqlite::Result<u64> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old = params![under.from, under.to, run];
    tx.execute(
        "DELETE FROM texts WHERE rowid IN
             (SELECT id FROM files WHERE path >= ?1 AND path < ?2 AND run < ?3)",
        old,
    )?;
    let removed = tx.execute("DELETE FROM files WHERE path >= ?1 AND path < ?2 AND run < ?3", old)?;
    tx.commit()?;
    Ok(removed as u64)
}

fn find(connection: &Connection, words: &str) -> rusqlite::Result<Vec<Hit>> {
    let query = "SELECT name, files.title, snippet(texts, 1, '[', ']', '…', 16)
                 FROM texts JOIN files ON files.id = texts.rowid
                 WHERE texts MATCH ?1 ORDER BY bm25(texts, 4.0, 1.0) LIMIT 10";
    connection.prepare(query)?.query_map([literal(words)], hit)?.collect()
}

fn hit(row: &Row<'_>) -> rusqlite::Result<Hit> {
    let one_line = |text: String| printable(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(Hit { path: row.get(0)?, title: one_line(row.get(1)?), snippet: one_line(row.get(2)?) })
}

/// Every word as a quoted string: the query language of FTS5 stays out of reach, whatever people type.
fn literal(words: &str) -> String {
    let quoted: Vec<_> =
        words.split_whitespace().map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
    // An empty query is an error, the empty string merely finds nothing.
    if quoted.is_empty() { "\"\"".into() } else { quoted.join(" ") }
}

/// The paths under a folder, as a range of keys: `folder/` up to, but without, `folder0` (`0` follows `/`).
struct Under {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Under {
    fn new(folder: &Path) -> Self {
        let mut stem = folder.as_os_str().as_bytes().to_vec();
        if stem.ends_with(b"/") {
            stem.pop(); // the root folder
        }
        Under { from: [&stem[..], b"/"].concat(), to: [&stem[..], b"0"].concat() }
    }
}

impl Written {
    pub(crate) fn total(&self) -> u64 {
        self.added + self.changed + self.unchanged
    }
}

impl Add for Written {
    type Output = Written;
    fn add(self, other: Written) -> Written {
        Written {
            added: self.added + other.added,
            changed: self.changed + other.changed,
            unchanged: self.unchanged + other.unchanged,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Missing => write!(f, "{path}: there is no index here yet; index a folder first"),
            Problem::NotOurs => write!(f, "{path}: this database belongs to another program"),
            Problem::OtherVersion(n) => write!(f, "{path}: written by another version of this program ({n})"),
            Problem::Path(error) => write!(f, "{path}: {error}"),
            Problem::Sqlite(error) => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Problem::Sqlite(error)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Path(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use crate::read::Raw;
    use crate::scratch::TempDir;
    use std::ffi::OsStr;
    use std::fs;

    fn doc(path: impl AsRef<OsStr>, text: &str) -> Doc {
        parse(Raw { path: PathBuf::from(path.as_ref()).into(), bytes: text.into() }).unwrap()
    }

    fn new_store(dir: &TempDir) -> (Store, i64) {
        let store = Store::create(&dir.join("x.db")).unwrap();
        let run = store.begin_run(Path::new("/f")).unwrap();
        (store, run)
    }

    fn names(store: &Store, words: &str) -> Vec<String> {
        let mut names: Vec<_> = store.find(words).unwrap().into_iter().map(|hit| hit.path).collect();
        names.sort();
        names
    }

    /// FTS5 compares its index with its content.
    fn check_index(store: &Store) {
        store
            .connection
            .execute("INSERT INTO texts (texts, rank) VALUES ('integrity-check', 1)", [])
            .unwrap();
    }

    #[test]
    fn a_second_run_updates() {
        let dir = TempDir::new("update");
        let (mut store, run) = new_store(&dir);
        let first = store.insert(run, &[doc("/f/a", "apple"), doc("/f/b", "banana")]).unwrap();
        assert_eq!(first, Written { added: 2, ..Written::default() });

        let run = store.begin_run(Path::new("/f")).unwrap();
        let batch = [doc("/f/a", "apple"), doc("/f/b", "cherry"), doc("/f/c", "date")];
        let second = store.insert(run, &batch).unwrap();
        assert_eq!(second, Written { added: 1, changed: 1, unchanged: 1 });
        let again = store.insert(run, &batch).unwrap();
        assert_eq!(again, Written { unchanged: 3, ..Written::default() }, "a batch may be tried twice");

        assert_eq!(store.rows_since(run, Path::new("/f")).unwrap(), 3);
        assert_eq!(names(&store, "banana"), [""; 0]);
        assert_eq!(names(&store, "cherry"), ["/f/b"]);
        check_index(&store);
    }

    #[test]
    fn only_what_vanished_from_this_folder_is_removed() {
        let dir = TempDir::new("remove");
        let (mut store, run) = new_store(&dir);
        let all =
            ["/f/gone", "/f/stays", "/f0/other", "/f", "/g/other", "/f.x/other"].map(|p| doc(p, "word"));
        store.insert(run, &all).unwrap();
        let run = store.begin_run(Path::new("/f")).unwrap();
        store.insert(run, &[doc("/f/stays", "word")]).unwrap();

        assert_eq!(store.remove_older(run, Path::new("/f")).unwrap(), 1);
        assert_eq!(names(&store, "word"), ["/f", "/f.x/other", "/f/stays", "/f0/other", "/g/other"]);
        assert_eq!(store.rows_since(run, Path::new("/f")).unwrap(), 1);
        assert_eq!(store.remove_older(run, Path::new("/")).unwrap(), 4);
        assert_eq!(names(&store, "word"), ["/f/stays"]);
        check_index(&store);
    }

    #[test]
    fn names_that_are_not_text_stay_apart() {
        let dir = TempDir::new("names");
        let (mut store, run) = new_store(&dir);
        let twins = [b"/f/\xfe", b"/f/\xff"].map(|name| doc(OsStr::from_bytes(name), "twin"));
        assert_eq!(store.insert(run, &twins).unwrap().added, 2);
        assert_eq!(names(&store, "twin"), ["/f/\u{fffd}"; 2]);
    }

    #[test]
    fn any_words_can_be_looked_for() {
        let dir = TempDir::new("words");
        let (mut store, run) = new_store(&dir);
        let text = "# Title\nthe quick \"brown\" fox, can't AND won't; C++ \u{1b} red foo_bar";
        store.insert(run, &[doc("/f/a", text), doc("/f/b", "brown")]).unwrap();
        for words in [
            "quick fox",
            "\"brown\" FOX",
            "can't",
            "AND won't",
            "C++",
            "fox*",
            "fox *",
            "title quick",
            "foo_bar",
        ] {
            assert_eq!(names(&store, words), ["/f/a"], "{words}");
        }
        for words in ["", " ", "\"", "quick NOT fox)", "NEAR(", "body:fox", "*", "^", "a OR b", "--"] {
            store.find(words).unwrap_or_else(|e| panic!("{words:?}: {e}"));
        }
        assert_eq!(names(&store, &"quick ".repeat(5000)), ["/f/a"]);
        assert_eq!(names(&store, "quick AND fox OR zebra"), [""; 0], "AND and OR are words like others");
        let hits = store.find("red").unwrap();
        assert!(hits[0].snippet.contains("\\u{1b} [red]"), "{hits:?}");
        assert!(!hits[0].snippet.contains('\u{1b}'));
    }

    #[test]
    fn the_title_weighs_more() {
        let dir = TempDir::new("rank");
        let (mut store, run) = new_store(&dir);
        let docs =
            (0..20).map(|n| doc(format!("/f/{n}"), if n == 7 { "needle\nx" } else { "x y z\nneedle" }));
        store.insert(run, &docs.collect::<Vec<_>>()).unwrap();
        let hits = store.find("needle").unwrap();
        assert_eq!((hits.len(), hits[0].path.as_str()), (10, "/f/7"));
    }

    #[test]
    fn what_is_no_index_is_refused_and_left_alone() {
        let dir = TempDir::new("refused");
        let error = |path: &Path| {
            let open = Store::open(path).err().expect("open").to_string();
            let create = Store::create(path).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(open.contains(&*path.to_string_lossy()), "{open}");
            (open, create)
        };
        let text = dir.join("text");
        fs::write(&text, "not a database, but long enough to be looked at: ".repeat(20)).unwrap();
        assert!(error(&text).0.contains("not a database"));
        assert!(error(&text).1.contains("not a database"));

        let foreign = dir.join("foreign.db");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let before = fs::read(&foreign).unwrap();
        assert!(error(&foreign).0.contains("another program"));
        assert!(error(&foreign).1.contains("another program"));
        assert_eq!(fs::read(&foreign).unwrap(), before);

        assert!(error(&dir.join("none/x.db")).1.contains("none/x.db"));
        assert!(error(&dir.join("missing.db")).0.contains("no index here"));
        assert!(Store::create(&dir).is_err());
        assert!(Store::create(Path::new("")).is_err());
    }

    #[test]
    fn an_unfinished_transaction_leaves_nothing() {
        let dir = TempDir::new("unfinished");
        let (mut store, run) = new_store(&dir);
        let other = Connection::open(store.path()).unwrap();
        let third_fails = "CREATE TRIGGER full BEFORE INSERT ON files WHEN NEW.name = '/f/c'
                           BEGIN SELECT RAISE(ABORT, 'full'); END";
        other.execute_batch(third_fails).unwrap();
        let error = store.insert(run, &["/f/a", "/f/b", "/f/c"].map(|p| doc(p, "word"))).unwrap_err();
        assert!(error.to_string().contains("x.db: full"), "{error}");
        assert_eq!(names(&store, "word"), [""; 0]);
    }
}
