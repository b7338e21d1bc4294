//! Values made at random: each comes back as it was, through every codec that carries its shape.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    carry::{Outcome, carry, encoded, round_trip},
    shapes::Key,
};
use crate::codec::Format;

/// Anything serde can be told, all the way down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Anything {
    Unit,
    Bool(bool),
    Small(u8, i8, u16, i16),
    Large(u32, i32, u64, i64),
    Huge(i128, u128),
    Floats { single: u32, double: u64, as_floats: (Bits32, Bits64) },
    Char(char),
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Octets(Vec<u8>),
    Numbers(Vec<u64>),
    Option(Option<Option<Box<Anything>>>),
    List(Vec<Anything>),
    Map(BTreeMap<String, Anything>),
    Keyed(Vec<(i16, Key, Anything)>),
    Nested { left: Box<Anything>, right: Box<Anything> },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Bits32(f32);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Bits64(f64);

impl PartialEq for Bits32 {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl PartialEq for Bits64 {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

fn anything() -> impl Strategy<Value = Anything> {
    let leaf = prop_oneof![
        Just(Anything::Unit),
        any::<bool>().prop_map(Anything::Bool),
        any::<(u8, i8, u16, i16)>().prop_map(|(a, b, c, d)| Anything::Small(a, b, c, d)),
        any::<(u32, i32, u64, i64, u8)>().prop_map(|(a, b, c, d, shift)| {
            let shift = shift % 32;
            Anything::Large(a >> shift, b >> shift, c >> shift, d >> shift)
        }),
        any::<(i128, u128)>().prop_map(|(a, b)| Anything::Huge(a, b)),
        any::<(u32, u64)>().prop_map(|(single, double)| {
            let as_floats = (Bits32(f32::from_bits(single)), Bits64(f64::from_bits(double)));
            Anything::Floats { single, double, as_floats }
        }),
        any::<char>().prop_map(Anything::Char),
        any::<String>().prop_map(Anything::Text),
        any::<Vec<u8>>().prop_map(Anything::Bytes),
        any::<Vec<u8>>().prop_map(Anything::Octets),
        (any::<Vec<u64>>(), 0u32..64)
            .prop_map(|(list, shift)| Anything::Numbers(list.into_iter().map(|n| n >> shift).collect())),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        let key = prop_oneof![Just(Key::Unit), any::<u8>().prop_map(|a| Key::Struct { a })];
        prop_oneof![
            proptest::option::of(proptest::option::of(inner.clone().prop_map(Box::new)))
                .prop_map(Anything::Option),
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Anything::List),
            proptest::collection::btree_map(any::<String>(), inner.clone(), 0..20).prop_map(Anything::Map),
            proptest::collection::vec((any::<i16>(), key, inner.clone()), 0..20).prop_map(Anything::Keyed),
            (inner.clone(), inner)
                .prop_map(|(left, right)| Anything::Nested { left: Box::new(left), right: Box::new(right) }),
        ]
    })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back(item in anything()) {
        for format in Format::ALL {
            let outcome = carry(format, &item);
            prop_assert!(matches!(outcome, Outcome::Carried), "{}: {:?}", format, outcome);
        }
    }

    #[test]
    fn the_compact_format_is_that_of_postcard(item in anything()) {
        prop_assert_eq!(encoded(Format::Compact, &item), postcard::to_stdvec(&item).unwrap());
    }

    #[test]
    fn every_document_comes_back(item in json()) {
        let outcome = carry(Format::Tagged, &item);
        prop_assert!(matches!(outcome, Outcome::Carried), "{:?}", outcome);
    }

    /// The check that proves a codec fit must itself be able to tell items apart.
    #[test]
    fn the_check_tells_different_items_apart(one in anything(), other in anything()) {
        let passes = round_trip(Format::Tagged, &one, &encoded(Format::Tagged, &other)).is_ok();
        prop_assert!(!passes || one == other || reordered(&one, &other));
    }
}

#[test]
fn numbers_of_every_length_are_written_as_postcard_does() {
    for bit in 0..u64::BITS {
        for number in [(1 << bit) - 1, 1 << bit, u64::MAX >> bit] {
            let numbers =
                (number, number as u32, number as u16, number as i64, -(number as i128), number as i32);
            assert_eq!(encoded(Format::Compact, &numbers), postcard::to_stdvec(&numbers).unwrap());
        }
    }
}

/// The check takes the elements of a list in any order, since a set may come in another.
fn reordered(one: &Anything, other: &Anything) -> bool {
    let sorted = |item: &Anything| {
        let mut bytes = encoded(Format::Compact, item);
        bytes.sort_unstable();
        bytes
    };
    sorted(one) == sorted(other)
}
