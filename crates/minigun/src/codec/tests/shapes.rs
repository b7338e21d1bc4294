//! The types of the matrix: one for each thing that users derive.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! shapes {
    ($($(#[$attribute:meta])* $kind:ident $name:ident $body:tt)*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])*
        pub(super) $kind $name $body
    )*};
}

shapes! {
    enum Kinds { Unit, Newtype(u32), Tuple(u8, String), Struct { a: Option<u8>, b: String } }
    #[serde(tag = "type")]
    enum Internal { Unit, Newtype(Box<Plain>), Struct { a: Option<u8> } }
    #[serde(tag = "t", content = "c")]
    enum Adjacent { Unit, Newtype(u32), Tuple(u8, u8), Struct { a: Option<u8> } }
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
        Text(String),
        Pair(u8, Kinds),
        Struct { a: Option<Option<u8>>, k: Vec<Kinds> }
    }
    #[serde(untagged)]
    enum Big { Wide(u128), Text(String) }
    struct Plain { id: u64, a: u32, b: f32, name: String }
    struct Flat { id: u64, #[serde(flatten)] plain: Inner, #[serde(flatten)] rest: BTreeMap<String, Kinds> }
    struct Inner { nested: Option<Kinds>, unit: (), deep: Vec<Option<()>> }
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none", default)] a: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none", default)] b: Option<u8>,
        c: u8,
    }
    struct SparseTuple { inside: SparseInside }
    struct Forgetful { id: u32, #[serde(skip)] cache: Option<u64> }
    struct OneWay { id: u32, #[serde(skip_deserializing)] lost: u32 }
    #[serde(rename_all = "SCREAMING-KEBAB-CASE")]
    enum Renamed {
        FirstOne,
        #[serde(rename = "2nd")] SecondOne { #[serde(rename = "the field", alias = "f")] field: u8 }
    }
    #[serde(transparent)]
    struct Transparent { inner: Vec<Option<u8>> }
    #[serde(into = "String", try_from = "String")]
    struct Via { number: u32 }
    struct With { #[serde(with = "hex")] code: u64 }
    enum Tree { Leaf(i64), Node(Vec<Tree>), Pair { left: Box<Tree>, right: Box<Tree> } }
    struct Chain { next: Option<Box<Chain>> }
    struct Lent { text: Cow<'static, str>, list: Cow<'static, [u16]> }
    struct Blob {
        #[serde(with = "serde_bytes")] data: Vec<u8>,
        #[serde(with = "serde_bytes")] maybe: Option<Vec<u8>>
    }
    #[serde(deny_unknown_fields)]
    struct Strict { a: u8, b: Option<Option<()>> }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Generic<T> {
    value: T,
    list: Vec<T>,
}

/// Skips inside a tuple, of which serde tells nothing but the length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SparseInside(
    u8,
    #[serde(skip_serializing_if = "Option::is_none", default)] Option<u8>,
    #[serde(default)] u8,
);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct UnitStruct;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Newtype<T>(pub(super) T);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Key {
    Unit,
    Struct { a: u8 },
}

/// Floats by their bits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Floats(pub(super) f32, pub(super) f64);

impl PartialEq for Floats {
    fn eq(&self, other: &Self) -> bool {
        (self.0.to_bits(), self.1.to_bits()) == (other.0.to_bits(), other.1.to_bits())
    }
}

/// A list that does not know its length beforehand.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Unsized(pub(super) Vec<u32>);

impl Serialize for Unsized {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter(|_| true))
    }
}

/// Writes a string and reads whatever comes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Lenient(pub(super) String);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Lenient(text)),
            other => Ok(Lenient(other.to_string())),
        }
    }
}

impl From<Via> for String {
    fn from(via: Via) -> String {
        via.number.to_string()
    }
}

impl TryFrom<String> for Via {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Via { number: text.parse()? })
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(code: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{code:x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

pub(super) fn kinds() -> Vec<Kinds> {
    vec![
        Kinds::Unit,
        Kinds::Newtype(7),
        Kinds::Tuple(1, "one".into()),
        Kinds::Struct { a: None, b: "b".into() },
        Kinds::Struct { a: Some(0), b: String::new() },
    ]
}

pub(super) fn plain() -> Plain {
    Plain { id: u64::MAX, a: 70_000, b: 0.1, name: "plain".into() }
}

pub(super) fn internal() -> Vec<Internal> {
    vec![Internal::Unit, Internal::Newtype(Box::new(plain())), Internal::Struct { a: Some(3) }]
}

pub(super) fn adjacent() -> Vec<Adjacent> {
    vec![Adjacent::Unit, Adjacent::Newtype(9), Adjacent::Tuple(1, 2), Adjacent::Struct { a: None }]
}

pub(super) fn untagged() -> Vec<Untagged> {
    vec![
        Untagged::Number(u64::MAX),
        Untagged::Text("text".into()),
        Untagged::Pair(1, Kinds::Tuple(2, "two".into())),
        Untagged::Struct { a: Some(None), k: kinds() },
    ]
}

pub(super) fn flat() -> Flat {
    let nested = Some(Kinds::Struct { a: Some(1), b: "b".into() });
    let plain = Inner { nested, unit: (), deep: vec![None, Some(())] };
    let rest = kinds().into_iter().enumerate().map(|(index, kind)| (format!("kind {index}"), kind)).collect();
    Flat { id: 1, plain, rest }
}

pub(super) fn sparse(a: Option<u8>, b: Option<u8>) -> Sparse {
    Sparse { a, b, c: 5 }
}

pub(super) fn sparse_tuple() -> SparseTuple {
    SparseTuple { inside: SparseInside(1, None, 3) }
}

pub(super) fn generic<T: Clone>(value: T) -> Generic<T> {
    Generic { list: vec![value.clone(); 2], value }
}

pub(super) fn transparent() -> Transparent {
    Transparent { inner: vec![None, Some(1)] }
}

pub(super) fn forgetful() -> Forgetful {
    Forgetful { id: 1, cache: None }
}

pub(super) fn renamed() -> Vec<Renamed> {
    vec![Renamed::FirstOne, Renamed::SecondOne { field: 1 }]
}

pub(super) fn strict() -> Strict {
    Strict { a: 1, b: Some(None) }
}

pub(super) fn via() -> Via {
    Via { number: 5 }
}

pub(super) fn with() -> With {
    With { code: 0xabc }
}

pub(super) fn lent() -> Lent {
    Lent { text: Cow::Borrowed("text"), list: Cow::Borrowed(&[1, 2, 3]) }
}

pub(super) fn blob() -> Blob {
    Blob { data: vec![0, 255], maybe: Some(Vec::new()) }
}

pub(super) fn wide() -> Vec<Big> {
    vec![Big::Text("text".into()), Big::Wide(u128::MAX)]
}

pub(super) fn one_way() -> OneWay {
    OneWay { id: 1, lost: 1 }
}

pub(super) fn tree(depth: usize) -> Tree {
    match depth {
        0 => Tree::Leaf(-1),
        1 => Tree::Node(vec![Tree::Leaf(i64::MIN), Tree::Node(Vec::new())]),
        _ => Tree::Pair { left: Box::new(tree(depth - 1)), right: Box::new(tree(depth - 2)) },
    }
}

pub(super) fn chain(length: usize) -> Chain {
    (0..length).fold(Chain { next: None }, |chain, _| Chain { next: Some(Box::new(chain)) })
}

pub(super) fn json() -> serde_json::Value {
    serde_json::json!({
        "null": null, "bool": true, "max": u64::MAX, "min": i64::MIN, "float": 0.1, "huge": 1e300,
        "text": "tëxt",
        "list": [1, -1, 1.0, "", [], {}, [null, [null]]], "object": {"": {"a": {"a": null}}}
    })
}

pub(super) fn counts() -> HashMap<u32, i8> {
    (0..50).map(|key| (key * key, key as i8 - 25)).collect()
}

pub(super) fn sparse_list() -> Vec<Sparse> {
    vec![sparse(None, None), sparse(Some(1), None), sparse(None, Some(2)), sparse(Some(1), Some(2))]
}
