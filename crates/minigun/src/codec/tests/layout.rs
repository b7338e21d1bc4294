//! The tagged layout byte by byte, and what it does not spend.

use serde::Serialize;

use super::carry::encoded;
use crate::codec::{Format, UnknownFormat};

#[derive(Serialize, Clone)]
struct Record {
    id: u64,
    a: u32,
    b: f32,
    name: u64,
}

fn tagged<T: Serialize + ?Sized>(item: &T) -> Vec<u8> {
    encoded(Format::Tagged, item)
}

#[test]
fn values_are_laid_out_as_documented() {
    assert_eq!(tagged(&()), [0x00]);
    assert_eq!(tagged(&Some(None::<u8>)), [0x04, 0x03]);
    assert_eq!(tagged(&'ä'), [0x05, 0xe4, 0x01]);
    assert_eq!(tagged(&1.0f32), [0x06, 0, 0, 0x80, 0x3f]);
    assert_eq!(tagged(&(0u64, 255u64, 256u64)), [0x63, 0x30, 0x31, 0xff, 0x32, 0x00, 0x01]);
    assert_eq!(tagged(&(0i32, -1i32, 64i32)), [0x63, 0x28, 0x29, 0x01, 0x29, 0x80]);
    assert_eq!(tagged("ab"), [0x82, b'a', b'b']);
    assert_eq!(tagged(&vec![(); 16])[..3], [0x0e, 16, 0x00]);
    assert_eq!(tagged(&std::collections::BTreeMap::from([(1u8, true)])), [0x71, 0x08, 0x01, 0x02]);
    assert_eq!(tagged(&Err::<(), u8>(9)), [0x12, 0x83, b'E', b'r', b'r', 0x08, 9]);
}

#[test]
fn a_sequence_of_numbers_of_one_width_has_one_tag() {
    assert_eq!(tagged(&[7u8; 16]), [[0x13, 0x08, 16].as_slice(), &[7; 16]].concat());
    assert_eq!(tagged(&vec![256u64; 1000]).len(), 1 + 1 + 2 + 2 * 1000);
    assert_eq!(tagged(&vec![1.0f32; 1000]).len(), 1 + 1 + 2 + 4 * 1000);
}

#[test]
fn names_are_written_once_an_item() {
    let record = Record { id: 1, a: 2, b: 3.0, name: 4 };
    let one = tagged(&record);
    assert_eq!(one.len(), 1 + "id a b name".len() + 1 + 2 + 2 + 5 + 2);
    let names = one.len() - (1 + 4 + 2 + 2 + 5 + 2);
    assert_eq!(tagged(&vec![record; 1000]).len(), 3 + 1000 * (one.len() - names) + names);
}

#[test]
fn a_codec_is_known_by_its_name() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let unknown: UnknownFormat = "json".parse::<Format>().unwrap_err();
    assert_eq!(unknown.to_string(), "unknown codec `json`, known are: tagged, compact");
}
