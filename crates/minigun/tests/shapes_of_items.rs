//! What an item is stays one item everywhere: lists, unit, `None`, nested, empty and untyped values.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;

use common::{everywhere, told, under};
use minigun::{Executor, FailureKind, Pipeline, Wire};
use serde::{Deserialize, Serialize};

/// Sends the items through a block that passes them on, and compares them and their number.
fn pass<T: Wire + Clone + PartialEq + Debug>(executor: Executor, items: &[T]) {
    let p = Pipeline::new("pass");
    let out = p.source("in", items.to_vec()).on(executor, |s| s.map("same", |item| item)).collect("out");
    let found = p.run().unwrap().take(out);
    assert_eq!(found.len(), items.len(), "under {executor}");
    for item in items {
        let count = |all: &[T]| all.iter().filter(|other| *other == item).count();
        assert_eq!(count(&found), count(items), "{item:?} under {executor}");
    }
}

#[test]
fn a_list_is_one_item_and_is_never_spread() {
    everywhere(|executor| {
        pass(executor, &[vec![1, 2, 3], vec![], vec![4], vec![1, 2, 3]]);
        pass(executor, &[vec![vec![0u8; 3], vec![]], vec![]]);
        pass(executor, &[[1u8, 2], [3, 4]]);
        pass(executor, &[("a".to_string(), vec![Some(1), None]), (String::new(), vec![])]);
    });
}

#[test]
fn unit_and_none_are_items_like_others() {
    everywhere(|executor| {
        pass(executor, &[(), (), ()]);
        pass(executor, &[None, Some(5), None]);
        pass(executor, &[Some(None), None, Some(Some(()))]);
        pass(executor, &[Vec::<()>::new(), vec![(); 3]]);
        pass(executor, &[Ok::<(), String>(()), Err("an error is an item too".to_string())]);
    });
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    name: String,
    tags: BTreeMap<u16, Vec<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    Empty,
    Number { value: i64 },
    Text { value: String },
}

#[test]
fn nested_and_empty_values_arrive_as_they_were() {
    everywhere(|executor| {
        let record = |name: &str, note: Option<&str>, kind| Record {
            name: name.to_string(),
            tags: BTreeMap::from([(1, vec![]), (2, vec![None, Some(0.5), Some(f64::MAX)])]),
            note: note.map(str::to_string),
            kind,
        };
        pass(
            executor,
            &[
                record("", None, Kind::Empty),
                record("number", Some(""), Kind::Number { value: i64::MIN }),
                record("tëxt\0\n", Some("note"), Kind::Text { value: "🦀".to_string() }),
            ],
        );
        pass(
            executor,
            &[
                serde_json::json!(null),
                serde_json::json!({"a": [1, 2.5, null, {"b": []}], "": {}}),
                serde_json::json!(["text", false, -7, 18446744073709551615u64]),
            ],
        );
    });
}

/// Cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Stubborn(u32);

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            3 => Err(serde::ser::Error::custom("three is not for sale")),
            n => n.serialize(serializer),
        }
    }
}

const PROCESSES: [&str; 3] = ["processes:1", "processes:3", "process_per_batch:2"];

#[test]
fn an_item_that_cannot_be_encoded_fails_alone_and_says_why() {
    under(&PROCESSES, |executor| {
        for on_the_way_back in [false, true] {
            let build = |place| {
                let p = Pipeline::new("stubborn");
                let out = p
                    .source("in", 0..6)
                    .map("there", move |n| if on_the_way_back { Stubborn(n + 100) } else { Stubborn(n) })
                    .on(place, |s| {
                        s.map("back", move |s| if on_the_way_back { Stubborn(s.0 - 100) } else { s })
                    })
                    .collect("out");
                (p, out)
            };
            let (p, _out) = build(executor.place());
            let (_, item, attempts, cause, kind) = told(common::error_of(p));
            assert_eq!((item, attempts, kind), (3, 1, FailureKind::Codec), "{cause}");
            assert!(cause.contains("three is not for sale"), "{cause}");
            let (p, out) = build(executor.place().skip());
            let mut report = p.run().unwrap();
            let found = common::sorted(report.take(out).into_iter().map(|s| s.0));
            assert_eq!(found, [0, 1, 2, 4, 5], "under {executor}");
            let stage = report.stage("back").unwrap();
            assert_eq!((stage.figures.skipped, stage.failures[0].item), (1, 3));
        }
    });
}

#[test]
fn a_collected_value_that_cannot_be_encoded_fails_its_item() {
    under(&PROCESSES, |executor| {
        let p = Pipeline::new("collected");
        let values = p.collector::<Stubborn>("values");
        let out = p
            .source("in", 0..6)
            .on(executor.place().skip(), |s| s.inspect("push", move |n| values.push(Stubborn(*n))))
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(common::sorted(report.take(out)), [0, 1, 2, 4, 5]);
        assert_eq!(common::sorted(report.take(values)), [0, 1, 2, 4, 5].map(Stubborn));
        assert!(report.stage("push").unwrap().failures[0].error.contains("three is not for sale"));
    });
}
