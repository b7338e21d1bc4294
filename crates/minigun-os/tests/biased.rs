//! A biased lock keeps its sides apart, and neither is lost in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use minigun_os::biased;

#[test]
fn the_two_sides_are_never_inside_together() {
    // Not atomic: an access of one side amid one of the other would lose an addition.
    let (mut owner, mut guest) = biased((0_u64, 0_u64));
    let over = Arc::new(AtomicBool::new(false));
    let visits = Arc::new(AtomicU64::new(0));
    let (seen, ended) = (Arc::clone(&visits), Arc::clone(&over));
    let visitor = thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            if let Some(mut pair) = guest.try_lock() {
                assert_eq!(pair.0, pair.1, "the owner was in the middle of it");
                pair.0 += 1;
                thread::yield_now();
                pair.1 += 1;
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut own = 0;
    while own < 1_000_000 || visits.load(Ordering::Relaxed) < 100 {
        let mut pair = owner.lock();
        assert_eq!(pair.0, pair.1, "the guest was in the middle of it");
        pair.0 += 1;
        pair.1 = std::hint::black_box(pair.0);
        own += 1;
    }
    over.store(true, Ordering::Relaxed);
    visitor.join().unwrap();
    let expected = own + visits.load(Ordering::Relaxed);
    assert_eq!(*owner.lock(), (expected, expected));
}

#[test]
fn a_guest_goes_away_while_the_owner_is_inside_and_the_owner_waits_for_a_guest() {
    let (mut owner, mut guest) = biased(0);
    let inside = owner.lock();
    assert!(guest.try_lock().is_none());
    drop(inside);
    let mut visit = guest.try_lock().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| *owner.lock());
        *visit = 7;
        drop(visit);
        assert_eq!(waiting.join().unwrap(), 7);
    });
}
