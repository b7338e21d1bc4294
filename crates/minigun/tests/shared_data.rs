//! A shared data set is what was written, in every worker, without a copy; nothing of it is left on the disk.

mod common;

use std::io::Write;
use std::thread;

use common::everywhere;
use minigun::{Error, Pipeline, Shared, SharedBytes, SharedError};
use minigun_os::procfs;

/// More than one block of what is written at once, and no multiple of it.
const ROWS: usize = 700_001;

fn row(n: usize) -> u64 {
    (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[test]
fn every_worker_reads_what_was_written() {
    let table = Shared::collect((0..ROWS).map(row)).unwrap();
    let inside = table.clone();
    everywhere(move |executor| {
        let p = Pipeline::new("look up");
        let inside = inside.clone();
        let sum = p
            .source("places", (0..ROWS).step_by(1009))
            .on(executor, move |s| s.map("look up", move |n: usize| inside[n] ^ inside.len() as u64))
            .fold("sum", 0_u64, u64::wrapping_add);
        let due = (0..ROWS).step_by(1009).fold(0_u64, |sum, n| sum.wrapping_add(row(n) ^ ROWS as u64));
        assert_eq!(p.run().unwrap().take(sum), due);
    });
    assert_eq!(table.len(), ROWS);
    assert!(table.iter().enumerate().all(|(n, found)| *found == row(n)));
}

#[test]
fn a_worker_that_reads_it_all_has_no_memory_of_its_own_for_it() {
    const SIZE: usize = 64 << 20;
    let bytes = SharedBytes::collect(std::iter::repeat_n(7, SIZE)).unwrap();
    let p = Pipeline::new("read");
    let grown = p
        .source("once", [()])
        .processes(1, move |s| {
            s.try_map("read", move |()| {
                let before = procfs::private_memory()?;
                let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
                Ok((sum, procfs::private_memory()?.saturating_sub(before)))
            })
        })
        .collect("grown");
    let [(sum, grown)] = p.run().unwrap().take(grown)[..] else { panic!("one item") };
    assert_eq!(sum, 7 * SIZE as u64);
    assert!(grown < SIZE as u64 / 8, "{grown} bytes of its own");
}

#[test]
fn bytes_are_written_as_to_a_file_and_rows_one_by_one_or_together() {
    let mut writer = SharedBytes::writer().unwrap();
    for n in 0..ROWS {
        write!(writer, "{n},").unwrap();
    }
    writer.flush().unwrap();
    let text = (0..ROWS).map(|n| format!("{n},")).collect::<String>();
    assert!(*writer.finish().unwrap() == *text.as_bytes());

    let rows: Vec<[u32; 3]> = (0..ROWS as u32).map(|n| [n, n + 1, n + 2]).collect();
    let mut writer = Shared::writer().unwrap();
    let (first, rest) = rows.split_first().unwrap();
    writer.push(*first).unwrap();
    writer.extend_from_slice(rest).unwrap();
    assert!(*writer.finish().unwrap() == *rows);
    assert!(*Shared::copied(&rows).unwrap() == *rows);
    assert!(Shared::<[u64]>::copied(&[]).unwrap().is_empty());
}

#[test]
fn a_clone_is_the_same_data_and_outlives_the_first() {
    let first = Shared::copied(&[1_u8, 2, 3]).unwrap();
    let second = first.clone();
    assert_eq!(first.as_ptr(), second.as_ptr());
    drop(first);
    thread::spawn(move || assert_eq!(*second, [1, 2, 3])).join().unwrap();
}

#[test]
fn nothing_is_left_in_the_folder_not_even_while_it_is_used() {
    let folder = std::env::temp_dir().join(format!("minigun-shared-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let entries = || std::fs::read_dir(&folder).unwrap().count();
    let mut writer = SharedBytes::writer_in(&folder).unwrap();
    writer.extend_from_slice(&vec![5; 9 << 20]).unwrap();
    assert_eq!(entries(), 0);
    let bytes = writer.finish().unwrap();
    assert_eq!(entries(), 0);
    std::fs::remove_dir(&folder).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 5));
}

#[test]
fn a_folder_that_cannot_hold_it_is_an_error_that_names_it_and_the_remedy() {
    let refused = SharedBytes::writer_in("/there/is/no/such/folder").unwrap_err();
    assert!(matches!(refused, SharedError::Create { .. }));
    let said = Error::from(refused).to_string();
    assert!(said.contains("`/there/is/no/such/folder`") && said.contains("TMPDIR"), "{said}");
}
