//! Tests of the way from one side of a slab to the other.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use minigun_os::Slab;
use serde_bytes::ByteBuf;

use super::{Extent, Lent, Place, Shelf, Store, split, whole};
use crate::codec::Format;
use crate::defaults::APART_BYTES;

type Item = (u8, ByteBuf, String, ByteBuf);

fn item() -> Item {
    let long = |n: usize| (0..APART_BYTES + n).map(|at| (at * n) as u8).collect::<Vec<u8>>();
    (7, ByteBuf::from(long(3)), "t".repeat(APART_BYTES), ByteBuf::from(long(5)))
}

fn slab(size: usize) -> Slab {
    Slab::make(1, size).unwrap().pop().unwrap()
}

fn encoded(store: &Arc<Store>, item: &Item) -> (Vec<u8>, Vec<Extent>) {
    let mut out = b"before".to_vec();
    let extents = Format::Tagged.encode_apart(item, &mut out, Place::Store(store)).unwrap();
    (out.split_off(6), extents)
}

/// Both sides are in one process here: the memory is moved from the store to a shelf.
fn shelf(store: &Store) -> Shelf {
    Shelf::new(Some(store.swap(slab(1))))
}

#[test]
fn an_item_is_the_same_with_its_runs_apart() {
    let store = Store::new(slab(1 << 20));
    let (bytes, extents) = encoded(&store, &item());
    assert!(bytes.len() < 100 && extents.len() == 3);
    let mut plain = Vec::new();
    Format::Tagged.encode(&item(), &mut plain).unwrap();
    assert_eq!(whole(&bytes, &extents).unwrap(), plain);
    assert_eq!(Format::Tagged.decode_own::<Item>(&bytes, &extents).unwrap(), item());
    assert!(Format::Tagged.decode::<Item>(&bytes).is_err(), "not without them");
    let mut shelf = shelf(&store);
    assert_eq!(Format::Tagged.decode_apart::<Item>(&bytes, &mut shelf).unwrap(), item());
    assert_eq!(shelf.read(), 3);
}

#[test]
fn what_does_not_fit_stays_in_the_item() {
    let store = Store::new(slab(2 * APART_BYTES));
    let (bytes, extents) = encoded(&store, &item());
    assert_eq!(extents.len(), 1, "the second needs more than is left");
    assert_eq!(Format::Tagged.decode_own::<Item>(&bytes, &extents).unwrap(), item());
    let mut shelf = shelf(&store);
    assert_eq!(Format::Tagged.decode_apart::<Item>(&bytes, &mut shelf).unwrap(), item());
}

#[test]
fn a_list_that_lies_is_an_error_and_no_more() {
    let store = Store::new(slab(1 << 20));
    let (bytes, _kept) = encoded(&store, &item());
    let mut shelf = shelf(&store);
    let (inside, _) = split(&bytes).unwrap();
    // The list begins behind the mark and the bytes; every number of it is made wrong.
    for at in 1 + inside.len()..bytes.len() {
        for change in [1, 0x80] {
            let mut wrong = bytes.clone();
            wrong[at] ^= change;
            let read = Format::Tagged.decode_apart::<Item>(&wrong, &mut shelf);
            // A run may lie elsewhere: that cannot be told from here. Everything else can.
            let moved = (at - 1 - inside.len()) % 12 / 4 == 1 && at < bytes.len() - 4;
            assert!(moved || read.is_err(), "byte {at}");
        }
    }
    for length in 0..bytes.len() {
        assert!(Format::Tagged.decode_apart::<Item>(&bytes[..length], &mut shelf).is_err());
    }
    assert!(Format::Tagged.decode_apart::<Item>(&bytes, &mut Shelf::default()).is_err());
}

#[test]
fn room_is_used_again_when_the_other_side_has_read_it_and_never_before() {
    let size = 4 * APART_BYTES;
    let read = Rc::new(Cell::new(Some(5)));
    let told = Rc::clone(&read);
    let mut lent = Lent::new(slab(size), move || told.get());
    let put = |lent: &mut Lent| {
        let mut out = Vec::new();
        let item = ByteBuf::from(vec![1; APART_BYTES]);
        let extents = Format::Tagged.encode_apart(&item, &mut out, Place::Lent(lent)).unwrap();
        let apart = extents.len() == 1;
        lent.send(extents);
        apart
    };
    assert!((0..4).all(|_| put(&mut lent)), "what others before it had read is nothing to it");
    assert!(!put(&mut lent), "nothing of its own was read");
    read.set(Some(7));
    assert!(put(&mut lent) && put(&mut lent) && !put(&mut lent));
    read.set(None);
    assert!(!put(&mut lent), "closed");
}
