//! Damaged and hostile bytes: an error, without a panic and without more memory than the bytes could stand
//! for.

use std::collections::HashMap;

use proptest::prelude::*;
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, SeqAccess, Visitor},
};

use super::carry::{encoded, round_trip};
use super::shapes::*;
use crate::codec::Format;

/// Cuts the bytes of `item` at every place, and changes every byte.
fn damage<T: serde::Serialize + DeserializeOwned>(format: Format, item: &T) {
    let mut bytes = encoded(format, item);
    for len in 0..bytes.len() {
        assert!(
            format.decode::<T>(&bytes[..len]).is_err(),
            "{format}: decoded {len} of {} bytes",
            bytes.len()
        );
    }
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            let _ = format.decode::<T>(&bytes);
            bytes[at] ^= flip;
        }
    }
    bytes.push(0);
    assert!(format.decode::<T>(&bytes).is_err(), "{format}: took a byte too many");
}

#[test]
fn damaged_items_are_errors() {
    for format in Format::ALL {
        damage(format, &kinds());
        damage(format, &vec![plain(); 3]);
        damage(format, &tree(5));
        damage(format, &counts());
        damage(format, &vec![0.5f32; 20]);
        damage(format, &strict());
        damage(format, &chain(10));
    }
    damage(Format::Tagged, &json());
    damage(Format::Tagged, &flat());
    damage(Format::Tagged, &untagged());
    damage(Format::Tagged, &internal());
    damage(Format::Tagged, &adjacent());
    damage(Format::Tagged, &sparse_list());
}

#[test]
fn nesting_without_end_is_an_error() {
    for opening in [vec![0x04], vec![0x61], vec![0x71, 0x00], vec![0x12, 0x81, b'a'], vec![0x51, 0x81, b'a']]
    {
        let bytes = opening.repeat(100_000);
        assert!(Format::Tagged.decode::<serde_json::Value>(&bytes).is_err());
        assert!(Format::Tagged.decode::<Untagged>(&bytes).is_err());
        assert!(Format::Tagged.decode::<Tree>(&bytes).is_err());
        assert!(Format::Tagged.decode::<serde::de::IgnoredAny>(&bytes).is_err());
    }
    assert!(
        Format::Tagged.decode::<Chain>(&[0x51, 0x84, b'n', b'e', b'x', b't', 0x04].repeat(1000)).is_err()
    );
}

#[test]
fn compact_bytes_that_promise_endless_nesting_or_parts_are_refused() {
    #[derive(Debug, Deserialize)]
    struct Next(#[allow(dead_code)] Option<Box<Next>>);
    #[derive(Debug, Deserialize)]
    struct Many(#[allow(dead_code)] Vec<Many>);
    let error = Format::Compact.decode::<Next>(&[1; 1 << 20]).unwrap_err().to_string();
    assert!(error.contains("levels deep"), "{error}");
    assert!(Format::Compact.decode::<Many>(&[1; 1 << 20]).is_err());
    let endless = [vec![0xff; 8], vec![0x7f]].concat();
    assert!(Format::Compact.decode::<Vec<()>>(&endless).is_err());
    assert!(Format::Compact.decode::<HashMap<(), ()>>(&endless).is_err());
    assert_eq!(Format::Compact.decode::<Vec<()>>(&[0x7f]).unwrap().len(), 127);
}

#[test]
fn the_deepest_values_fit_a_small_stack() {
    // A thread's default stack is twice this.
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        let document =
            (0..256).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]));
        let bytes = encoded(Format::Tagged, &document);
        assert!(Format::Tagged.decode::<serde_json::Value>(&bytes).unwrap() == document);
        assert!(Format::Tagged.decode::<Untagged>(&bytes).is_err());
        for format in Format::ALL {
            let chain = chain(127);
            let bytes = encoded(format, &chain);
            assert!(format.decode::<Chain>(&bytes).unwrap() == chain);
            round_trip(format, &chain, &bytes).unwrap();
        }
    });
    thread.unwrap().join().unwrap();
}

/// What a decoder promises of a sequence's length.
struct Promised(usize);

impl<'de> Deserialize<'de> for Promised {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Promised;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Promised, A::Error> {
                let promised = seq.size_hint().unwrap_or(0);
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Promised(promised))
            }
        }
        deserializer.deserialize_seq(Look)
    }
}

#[test]
fn lengths_beyond_the_input_are_errors_before_anything_is_made() {
    for head in [&[0x0e_u8][..], &[0x13, 0x08], &[0x13, 0x38], &[0x0c], &[0x0d], &[0x0f], &[0x10]] {
        for len in [
            &[0x05_u8][..],
            &[0xff; 9],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            let bytes = [head, len, &[0, 0]].concat();
            assert!(Format::Tagged.decode::<Promised>(&bytes).is_err(), "{bytes:x?}");
            assert!(Format::Tagged.decode::<String>(&bytes).is_err(), "{bytes:x?}");
            assert!(Format::Tagged.decode::<serde_json::Value>(&bytes).is_err(), "{bytes:x?}");
        }
    }
}

#[test]
fn nested_lists_cannot_each_announce_all_that_is_left() {
    let mut bytes = [0x0e, 0xff, 0x01].repeat(100);
    let error = Format::Tagged.decode::<Vec<Vec<Vec<u8>>>>(&bytes).unwrap_err();
    assert!(error.to_string().contains("255 more are announced"), "{error}");
    // One list may: it is the second that cannot.
    bytes.splice(3.., [0x00; 255]);
    assert_eq!(Format::Tagged.decode::<Vec<()>>(&bytes).unwrap().len(), 255);
}

#[test]
fn a_few_bytes_cannot_name_a_long_name_often() {
    // A list of structs, whose one field has a long name where it first occurs, and then a number.
    let long = [&[0xc0, 0xff, 0x07][..], &[b'n'; 1023], &[0x00]].concat();
    let mut bytes = vec![0x62, 0x51];
    bytes.extend(&long);
    bytes.extend([0x51, 0x00, 0x00]);
    assert!(Format::Tagged.decode::<Vec<HashMap<String, ()>>>(&bytes).is_err(), "long names take no number");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in Format::ALL {
            let _ = format.decode::<Plain>(&bytes);
            let _ = format.decode::<Vec<Kinds>>(&bytes);
            let _ = format.decode::<Vec<Adjacent>>(&bytes);
            let _ = format.decode::<Tree>(&bytes);
            let _ = format.decode::<Untagged>(&bytes);
            let _ = format.decode::<Internal>(&bytes);
            let _ = format.decode::<Flat>(&bytes);
            let _ = format.decode::<Blob>(&bytes);
            let _ = format.decode::<serde_json::Value>(&bytes);
            let _ = format.decode::<HashMap<String, Option<Option<u8>>>>(&bytes);
            let _ = format.decode::<(u8, i16, u32, i64, u128, f32, char, String)>(&bytes);
            let _ = format.decode::<std::time::SystemTime>(&bytes);
        }
        let _ = Format::Tagged.decode::<serde::de::IgnoredAny>(&bytes);
        if let Ok(Promised(promised)) = Format::Tagged.decode(&bytes) {
            prop_assert!(promised <= bytes.len());
        }
    }

    /// Bytes that look like values, so that a decoder gets further than the first tag.
    #[test]
    fn arbitrary_tags_never_panic(bytes in proptest::collection::vec(prop_oneof![
        0x00u8..0x14, 0x18u8..0x49, 0x50u8..0x54, 0x60u8..0x64, 0x70u8..0x74, 0x80u8..0x84, Just(b'a')
    ], 0..200)) {
        let _ = Format::Tagged.decode::<serde_json::Value>(&bytes);
        let _ = Format::Tagged.decode::<serde::de::IgnoredAny>(&bytes);
        let _ = Format::Tagged.decode::<Untagged>(&bytes);
        let _ = Format::Tagged.decode::<Tree>(&bytes);
        let _ = Format::Tagged.decode::<Vec<Option<u64>>>(&bytes);
    }
}
