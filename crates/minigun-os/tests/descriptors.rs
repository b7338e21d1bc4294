//! The table of engine descriptors over a fork. One test, so that no other thread opens any.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]

use std::fs::File;
use std::time::Duration;

use minigun_os::{
    Control, Descriptor, Ending, Event, ForkGuard, Socket, close_engine_fds_except, fork, procfs, reap,
};

#[test]
fn a_child_keeps_what_it_names_and_nothing_else() {
    let before = procfs::open_fds().unwrap();
    let (ours, theirs) = Socket::pair(Some(1 << 20)).unwrap();
    let (other, other_end) = Socket::pair(None).unwrap();
    let (for_life, _other_life) = Socket::pair(None).unwrap();
    let event = Event::new().unwrap();
    let control = Control::pair().unwrap();
    let strangers = File::open("/dev/null").unwrap();
    let expected = before.len() + 2; // the kept one and the stranger's

    let pid = fork(ForkGuard::take(Duration::from_millis(100)).unwrap(), |alone| {
        let life_number = for_life.engine_fd().number();
        for_life.keep_for_life();
        close_engine_fds_except(&alone, &[&theirs]);
        let open = procfs::open_fds().unwrap();
        for kept in [life_number, theirs.engine_fd().number()] {
            assert!(open.iter().any(|(number, _)| *number == kept), "{kept} of {open:?}");
        }
        assert_eq!(open.len(), expected + 1, "{open:?}");
        // Values of closed descriptors are dead, and stay so when their numbers are used again.
        assert!(ours.write(b"x").is_err() && event.set().is_err() && control.0.try_send(b"x", None).is_err());
        let (new, new_end) = Socket::pair(None).unwrap();
        assert!(
            [&ours, &other, &other_end].iter().any(|s| s.engine_fd().number() == new.engine_fd().number())
        );
        drop((ours, other, other_end, event, control));
        assert_eq!(new.write(b"alive").unwrap(), 5);
        assert_eq!(new_end.read(&mut [0; 8]).unwrap(), 5);
        0
    })
    .unwrap();
    assert_eq!(reap(pid, true).unwrap().unwrap().ending, Ending::Code(0));
    drop(strangers);
    assert_eq!(procfs::open_fds().unwrap().len(), before.len() + 2, "the two ends that no closure took");
}
