//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
Keeps a full-text index of a folder in an SQLite file.

Usage: index [FOLDER] [--db FILE] [--processes N] [--find WORDS] [--hud | --quiet]

  FOLDER          the folder to index (default: the current one); hidden files and what
                  .gitignore and .ignore name are left out, symbolic links are not followed
  --db FILE       the index (default: index.db in the current folder); one file may hold
                  several folders, a second run over a folder brings its rows up to date
  --processes N   worker processes that parse (default: one per CPU, at least 2)
  --find WORDS    print the ten best hits that hold all WORDS; without FOLDER nothing is
                  indexed, only searched
  --hud           show a live view of the run (built with `--features hud`)
  --quiet         show no progress while it runs
  -h, --help      print this
";

#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Help,
    Index { folder: PathBuf, db: PathBuf, processes: usize, find: Option<String>, view: View },
    Search { db: PathBuf, words: String },
}

/// What is shown while the run goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum View {
    Progress,
    Hud,
    Nothing,
}

pub(crate) fn from_env() -> Result<Request, lexopt::Error> {
    parse(Parser::from_env())
}

fn parse(mut parser: Parser) -> Result<Request, lexopt::Error> {
    let mut folder = None;
    let mut db = PathBuf::from("index.db");
    let mut processes = None;
    let mut find = None;
    let mut view = View::Progress;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Request::Help),
            Arg::Long("db") => db = parser.value()?.into(),
            Arg::Long("processes") => processes = Some(parser.value()?.parse::<NonZeroUsize>()?),
            Arg::Long("hud") if cfg!(feature = "hud") => view = View::Hud,
            Arg::Long("hud") => return Err("--hud: this was built without the feature `hud`".into()),
            Arg::Long("quiet") => view = View::Nothing,
            Arg::Long("find") => find = Some(parser.value()?.string()?),
            Arg::Value(value) if folder.is_none() => folder = Some(PathBuf::from(value)),
            other => return Err(other.unexpected()),
        }
    }
    Ok(match (folder, find) {
        (None, Some(words)) => Request::Search { db, words },
        (folder, find) => Request::Index {
            folder: folder.unwrap_or_else(|| ".".into()),
            db,
            processes: processes.map_or_else(default_processes, NonZeroUsize::get),
            find,
            view,
        },
    })
}

fn default_processes() -> usize {
    thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, lexopt::Error> {
        parse(Parser::from_args(line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()))
    }

    fn accepted(line: &str) -> Request {
        request(line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    fn refusal(line: &str) -> String {
        request(line).expect_err(line).to_string()
    }

    fn index(folder: &str, db: &str, processes: usize, find: Option<&str>) -> Request {
        let find = find.map(str::to_owned);
        Request::Index { folder: folder.into(), db: db.into(), processes, find, view: View::Progress }
    }

    #[test]
    fn defaults() {
        assert_eq!(accepted(""), index(".", "index.db", default_processes(), None));
        assert!(default_processes() >= 2);
        assert_eq!(accepted("--db x --help"), Request::Help);
        assert!(matches!(accepted("--quiet"), Request::Index { view: View::Nothing, .. }));
    }

    #[test]
    fn find_alone_only_searches() {
        let search = Request::Search { db: "x.db".into(), words: "word".into() };
        assert_eq!(accepted("--find word --db x.db"), search);
        assert_eq!(accepted("--find word . --processes 2"), index(".", "index.db", 2, Some("word")));
    }

    #[test]
    fn values() {
        assert_eq!(accepted("docs --db=x.db --processes 3"), index("docs", "x.db", 3, None));
        assert_eq!(accepted("--processes=3 -- --db"), index("--db", "index.db", 3, None));
    }

    #[test]
    fn the_live_view_is_there_if_it_was_built_in() {
        match request("--hud") {
            Ok(Request::Index { view, .. }) => assert!(view == View::Hud && cfg!(feature = "hud")),
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(!cfg!(feature = "hud") && error.to_string().contains("feature")),
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(refusal("--dbs x").contains("--dbs"));
        assert!(refusal("-x").contains("-x"));
        assert!(refusal("one two").contains("two"));
        assert!(refusal("--processes 0").contains('0'));
        assert!(refusal("--processes many").contains("many"));
        assert!(refusal("--db").contains("--db"));
    }
}
