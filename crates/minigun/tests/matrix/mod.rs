//! The matrix of crashes: {how a worker fails} × {when} × {what is to follow} × {where}.
//!
//! | file | what |
//! |---|---|
//! | `table` | the rows and columns, and what must happen in each cell |
//! | `fate` | what makes a worker fail, how and when the cell says |
//! | `cell` | one cell: a run, and whether it ended as the table says |
//! | `idle` | the cells in which workers have nothing to do when they die |
//!
//! A row is one way to fail. Its cells run one after the other in a process of their own, so that everything
//! which that process has (children, threads, descriptors) is theirs.

mod cell;
mod fate;
mod idle;
mod table;

use minigun_os::procfs;

use crate::crash_kit::{Program, role, until};
pub(crate) use table::Way;

/// The rows as tests. Attributes go to each of them.
macro_rules! rows {
    ([$($attribute:tt)*] $name:ident $way:expr) => {
        #[test]
        $($attribute)*
        fn $name() {
            $crate::matrix::row(stringify!($name), $way);
        }
    };
    ($($attribute:tt)*) => {
        use $crate::matrix::{Way, rows};
        // Without failures: they could hide that something waits for ever.
        rows!([$($attribute)*] workers_left_in_peace None);
        rows!([$($attribute)*] workers_that_exit Some(Way::Exit));
        rows!([$($attribute)*] workers_that_abort Some(Way::Abort));
        rows!([$($attribute)*] workers_that_segfault Some(Way::Segfault));
        rows!([$($attribute)*] workers_that_are_killed Some(Way::Kill));
        rows!([$($attribute)*] workers_that_reach_their_memory_limit Some(Way::Memory));
        rows!([$($attribute)*] workers_that_hang Some(Way::Hang));
        rows!([$($attribute)*] workers_that_panic Some(Way::Panic));
        rows!([$($attribute)*] workers_that_return_an_error Some(Way::Error));
    };
}
pub(crate) use rows;

/// Runs the cells of a row; `test` is the name of the test that asks for it.
pub(crate) fn row(test: &str, way: Option<Way>) {
    let cells = table::cells(way);
    let all = format!("{} cells hold", cells.len());
    if role().is_none() {
        let ended = Program::start(test, "row").finish();
        assert!(ended.success && ended.text.contains(&all), "{}", ended.text);
        assert!(ended.left.is_empty(), "processes are left: {:?}", ended.left);
        return;
    }
    let threads = procfs::threads().unwrap();
    for cell in cells {
        // The last one that is printed is the one that failed.
        println!("{cell}");
        cell.run();
    }
    // A thread that was joined may take a moment to leave the list.
    until(|| procfs::threads().unwrap() <= threads);
    println!("{all}");
}
