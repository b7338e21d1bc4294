//! Streams, messages that carry descriptors, wake-ups, waiting, shared memory.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]

use std::io::{ErrorKind, IoSlice};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use minigun_os::{
    Board, Control, Ending, Event, ForkGuard, Interest, Pid, Process, Signal, Socket, Watch, fork, kill,
    poll, reap, supported,
};

#[test]
fn this_system_is_supported() {
    supported().unwrap();
    supported().unwrap();
}

#[test]
fn a_stream_carries_bytes_and_its_end() {
    let (a, b) = Socket::pair(Some(1 << 20)).unwrap();
    assert_eq!(b.try_read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
    a.write_vectored(&[IoSlice::new(b"he"), IoSlice::new(b"llo")], true).unwrap();
    a.shutdown_write().unwrap();
    let mut into = [0; 16];
    assert_eq!(b.read(&mut into).unwrap(), 5);
    assert_eq!(&into[..5], b"hello");
    assert_eq!(b.read(&mut into).unwrap(), 0);
    b.write_all(b"back").unwrap();
    assert_eq!(a.read(&mut into).unwrap(), 4);
    drop(b);
    assert_eq!(a.try_write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_full_stream_says_so_instead_of_blocking() {
    let (a, _b) = Socket::pair(None).unwrap();
    let chunk = [0; 4096];
    let error = loop {
        if let Err(error) = a.try_write(&chunk) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_message_carries_a_descriptor() {
    let (a, b) = Control::pair().unwrap();
    let (near, far) = Socket::pair(None).unwrap();
    assert_eq!(b.try_recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(a.try_send(b"", None).unwrap_err().kind(), ErrorKind::InvalidInput);
    a.try_send(b"with", Some(&far)).unwrap();
    a.try_send(b"without", None).unwrap();
    drop(far);
    let mut into = [0; 8];
    let (length, carried) = b.try_recv(&mut into).unwrap();
    assert_eq!(&into[..length], b"with");
    Socket::from(carried.unwrap()).write_all(b"through").unwrap();
    assert_eq!(near.read(&mut [0; 16]).unwrap(), 7);
    let (length, carried) = b.try_recv(&mut into).unwrap();
    assert_eq!((&into[..length], carried.is_none()), (&b"without"[..], true));
    a.try_send(b"longer than eight", None).unwrap();
    assert_eq!(b.try_recv(&mut into).unwrap_err().kind(), ErrorKind::InvalidData);
    drop(a);
    assert_eq!(b.try_recv(&mut into).unwrap().0, 0);
}

#[test]
fn polling_finds_what_is_ready_and_keeps_its_bound() {
    let event = Event::new().unwrap();
    let (a, b) = Socket::pair(None).unwrap();
    let mut watches = [Watch::new(&event, Interest::Read), Watch::new(&a, Interest::Death)];
    let start = Instant::now();
    assert_eq!(poll(&mut watches, Some(Duration::from_millis(20))).unwrap(), 0);
    assert!(start.elapsed() >= Duration::from_millis(20));
    event.set().unwrap();
    event.set().unwrap();
    assert_eq!(poll(&mut watches, None).unwrap(), 1);
    assert!(watches[0].readable() && !watches[1].is_ready());
    assert!(event.clear().unwrap() && !event.clear().unwrap());
    drop(b);
    assert_eq!(poll(&mut watches, None).unwrap(), 1);
    assert!(watches[1].hung_up());
}

#[test]
fn a_board_is_one_memory_for_parent_and_child() {
    let board = Board::new(2, 1).unwrap();
    let pid = fork(ForkGuard::take(Duration::from_millis(100)).unwrap(), |_| {
        board.words()[1].store(77, Ordering::Relaxed);
        board.bytes()[0].store(7, Ordering::Relaxed);
        kill(Pid::current(), Signal::KILL).unwrap();
        0
    });
    reap(pid.unwrap(), true).unwrap();
    assert_eq!(board.words()[1].load(Ordering::Relaxed), 77);
    assert_eq!(board.bytes()[0].load(Ordering::Relaxed), 7);
}

#[test]
fn a_process_handle_is_readable_once_it_has_ended() {
    let (ours, theirs) = Socket::pair(None).unwrap();
    let pid = fork(ForkGuard::take(Duration::from_millis(100)).unwrap(), |_| {
        i32::from(theirs.read(&mut [0]).unwrap() != 1)
    })
    .unwrap();
    let process = Process::open(pid).unwrap();
    let mut watch = [Watch::new(&process, Interest::Read)];
    assert_eq!(poll(&mut watch, Some(Duration::ZERO)).unwrap(), 0);
    ours.write_all(b"x").unwrap();
    assert_eq!(poll(&mut watch, None).unwrap(), 1);
    assert_eq!(process.wait(None).unwrap(), Some(Ending::Code(0)));
}
