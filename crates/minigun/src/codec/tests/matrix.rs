//! The matrix of shapes: what each codec does with each, as a test and as the table in `MATRIX.md`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZero,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde_bytes::ByteBuf;

use super::{
    carry::{Outcome, carry},
    shapes::*,
};
use crate::codec::Format;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Carries,
    Refuses,
}
use Verdict::{Carries, Refuses};

struct Row {
    shape: &'static str,
    /// In the order of [`Format::ALL`].
    verdicts: [Verdict; 2],
    carry: fn(Format) -> Outcome,
}

macro_rules! rows {
    ($($shape:literal: $tagged:ident $compact:ident $(, $item:expr)+;)*) => {
        [$($(Row { shape: $shape, verdicts: [$tagged, $compact], carry: |format| carry(format, &$item) },)+)*]
    };
}

// A shape with several items is one line of the table.
static ROWS: &[Row] = &rows! {
    "`bool`, `char`": Carries Carries, (true, false), ('a', '\u{10ffff}', '\0');
    "integers from `i8` to `u64`, `usize`": Carries Carries,
        (i8::MIN, i16::MIN, i32::MIN, i64::MIN, isize::MIN),
        (u8::MAX, u16::MAX, u32::MAX, u64::MAX, usize::MAX),
        vec![0u64, 1, 127, 128, 255, 256, 65_535, 65_536, u64::MAX >> 8, u64::MAX],
        vec![0i32, -1, 1, -128, 128];
    "`i128`, `u128`": Carries Carries, (i128::MIN, i128::MAX, u128::MAX), (5i128, 5u128), vec![u128::MAX; 20];
    "`f32`, `f64`: NaN with its bits, -0.0, infinities": Carries Carries,
        Floats(f32::NAN, f64::NAN), Floats(-0.0, -0.0), Floats(f32::INFINITY, f64::NEG_INFINITY),
        Floats(f32::from_bits(0xffc0_1234), f64::from_bits(0x7ff8_0000_0000_0001)),
        vec![Floats(0.1, 1e-310); 20];
    "`String`, `Box<str>`": Carries Carries,
        String::new(), "x".repeat(63), "x".repeat(64), "ü".repeat(5_000), Box::<str>::from("boxed");
    "`Vec`, `VecDeque`, nested, empty": Carries Carries,
        Vec::<u8>::new(), vec![Vec::<String>::new(), vec!["a".into()]], vec![300u16; 15], vec![300u16; 16],
        vec![1u8; 100_000], (0..1000u32).collect::<Vec<_>>(),
        (0..20i64).rev().collect::<std::collections::VecDeque<_>>();
    "arrays, tuples of up to 12": Carries Carries,
        [0u8; 32], [[1u16; 3]; 2], (1u8, 2u16, 3u32, 4u64, 5i8, 6i16, 7i32, 8i64, 9f32, '0', true, ());
    "`Option<T>`, `Option<Option<T>>`, `Option<()>`": Carries Carries,
        None::<u8>, Some(0u8), Some(None::<u8>), Some(Some(1u8)), None::<Option<u8>>, Some(()), None::<()>,
        vec![None, Some(Some(()))];
    "`()`, unit structs, `PhantomData`": Carries Carries,
        (), UnitStruct, vec![(); 3], std::marker::PhantomData::<u8>;
    "structs, generic structs": Carries Carries,
        plain(), vec![plain(); 300], generic(3u8), generic(Some(())), generic(plain());
    "newtypes, `#[serde(transparent)]`": Carries Carries,
        Newtype(Newtype(5u64)), Newtype(Some(Newtype(()))), transparent();
    "enums (externally tagged, serde's default)": Carries Carries,
        kinds(), Some(kinds()), Ok::<u8, String>(1), tree(12);
    "internally tagged enums (`tag`)": Carries Refuses, internal(), Some(internal().remove(1));
    "adjacently tagged enums (`tag`, `content`)": Carries Refuses,
        adjacent(), adjacent().remove(0), adjacent().remove(1), adjacent().remove(2), adjacent().remove(3);
    "untagged enums": Carries Refuses, untagged(), untagged().remove(3);
    "`flatten`": Carries Refuses, flat(), vec![flat(); 3];
    "`skip_serializing_if`, when it skips a field": Carries Refuses,
        sparse(None, None), sparse(None, Some(2)), sparse_list();
    "`skip_serializing_if`, when it skips nothing": Carries Carries, sparse(Some(1), Some(2));
    "`skip`, `default`": Carries Carries, forgetful();
    "`rename`, `alias`, `deny_unknown_fields`": Carries Carries, renamed(), strict();
    "`into`, `try_from`, `with`": Carries Carries, via(), with();
    "maps and sets with string keys": Carries Carries,
        HashMap::from([("a".to_owned(), 1u8), ("b".to_owned(), 2)]),
        HashSet::from(["a".to_owned(), "b".to_owned()]), BTreeMap::<String, ()>::new();
    "maps and sets with any keys": Carries Carries,
        counts(), BTreeMap::from([((1u8, 'a'), 1u8), ((2, 'b'), 2)]),
        HashMap::from([(Key::Unit, 1u8), (Key::Struct { a: 1 }, 2)]),
        BTreeMap::from([(Newtype(Some(1u8)), ()), (Newtype(None), ())]), (0..100u64).collect::<HashSet<_>>(),
        BTreeSet::from([vec![1u8], vec![]]);
    "`serde_json::Value`": Carries Refuses,
        json(), serde_json::Value::Null, Some(json()), vec![json(); 3],
        serde_json::Map::from_iter([("a".to_owned(), json())]);
    "`serde_bytes`": Carries Carries, ByteBuf::from(vec![0u8; 200_000]), ByteBuf::new(), blob();
    "`Box`, `Cow`, recursive types": Carries Carries, Box::new(tree(3)), lent(), chain(100);
    "`Duration`, `SystemTime`, `Range`, `NonZero`": Carries Carries,
        Duration::new(u64::MAX, 999_999_999),
        SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123), 1u8..5, NonZero::<u32>::MIN;
    "`IpAddr`, `SocketAddr`": Carries Carries,
        IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST),
        SocketAddr::from(([1, 2, 3, 4], 80));
    "`PathBuf` in UTF-8, `OsString`": Carries Carries,
        PathBuf::from("/tmp/ä"), OsString::from_vec(vec![0xff, 0x2f]);
    "`PathBuf` not in UTF-8": Refuses Refuses, PathBuf::from(OsString::from_vec(vec![0xff, 0x2f]));
    "lists whose length serde is not told": Carries Refuses,
        Unsized(vec![1, 2, 300]), Unsized((0..1000).collect());
    "a `Deserialize` that takes what comes (`deserialize_any`)": Carries Refuses, Lenient("text".into());
    "`i128`, `u128` beyond 64 bits inside untagged or flattened types": Refuses Refuses, wide();
    "values that nest more than 256 levels deep": Refuses Refuses, chain(200), Some(chain(128));
    "a `Deserialize` that does not read what `Serialize` wrote": Refuses Refuses, one_way();
    "`skip_serializing_if` in a tuple struct, when it skips": Refuses Refuses, sparse_tuple();
};

#[test]
fn each_codec_carries_or_refuses_as_the_matrix_says() {
    for row in ROWS {
        for (format, expected) in Format::ALL.into_iter().zip(row.verdicts) {
            let outcome = (row.carry)(format);
            let fits =
                matches!((&outcome, expected), (Outcome::Carried, Carries) | (Outcome::Refused(_), Refuses));
            assert!(fits, "{format}, {}: {outcome:?} where it {expected:?}", row.shape);
        }
    }
}

#[test]
fn a_refusal_names_the_codec_the_type_and_the_remedy() {
    for row in ROWS {
        for format in Format::ALL {
            if let Outcome::Refused(error) = (row.carry)(format) {
                let text = error.to_string();
                assert!(text.contains(format.name()) && text.contains(error.type_name()), "{text}");
                assert!(text.split_once("; ").is_some_and(|(_, remedy)| !remedy.is_empty()), "{text}");
            }
        }
    }
}

#[test]
fn the_documented_table_is_this_one() {
    let mut table = String::from("| what the type is or derives | `tagged` | `compact` |\n|---|---|---|\n");
    let mut last = "";
    for row in ROWS.iter().filter(|row| std::mem::replace(&mut last, row.shape) != row.shape) {
        let [tagged, compact] =
            row.verdicts.map(|verdict| if verdict == Carries { "carries" } else { "refuses" });
        table += &format!("| {} | {tagged} | {compact} |\n", row.shape);
    }
    assert!(include_str!("../MATRIX.md").contains(&table), "MATRIX.md should hold this table:\n\n{table}");
}
