//! Items that cannot be written, read or carried unaltered: an error that names them under `stop`, set aside
//! alone under `skip`.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use crash_kit::Scene;
use minigun::{Block, Dynamic, Error, Executor, FailureKind, Format, Pipeline};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Every 100th cannot be written.
#[derive(Clone, Debug)]
struct Unwritable(u64);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0 % 100 == 57 { Err(S::Error::custom("a pen without ink")) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(Unwritable)
    }
}

/// Every 100th cannot be read.
#[derive(Clone, Debug, Serialize)]
struct Unreadable(u64);

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u64::deserialize(from)? {
            id if id % 100 == 57 => Err(D::Error::custom("glasses left at home")),
            id => Ok(Unreadable(id)),
        }
    }
}

fn places() -> [Block<Dynamic>; 2] {
    ["processes:2", "process_per_batch:2"].map(|place| place.parse::<Executor>().unwrap().place())
}

#[track_caller]
fn assert_names_it(error: Option<Error>, stage: &str, is_bad: impl Fn(u64) -> bool, said: &str) {
    match error {
        Some(Error::Stage { stage: at, item: number, cause, kind, .. }) => {
            assert_eq!((at.as_str(), kind), (stage, FailureKind::Codec), "{cause}");
            // Of several bad ones, any may be met first: there are two workers.
            assert!(is_bad(number), "item {number}: {cause}");
            assert!(cause.contains(said), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_all_but_the_bad(mut ids: Vec<u64>) {
    ids.sort_unstable();
    assert!(ids.into_iter().eq((0..500).filter(|id| id % 100 != 57)));
}

#[test]
fn an_item_that_cannot_be_written_is_named_or_skipped() {
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("write");
        p.source("items", (0..500).map(Unwritable)).on(place, |s| s.map("work", |item| item.0)).discard();
        assert_names_it(p.run().err(), "work", |item| item % 100 == 57, "a pen without ink");
        scene.nothing_is_left();
    }
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("write");
        let ids = p
            .source("items", (0..500).map(Unwritable))
            .on(place.skip(), |s| s.map("work", |item| item.0))
            .collect("ids");
        let mut report = p.run().unwrap();
        assert_eq!(report.stage("work").unwrap().figures.skipped, 5);
        assert!(report.stage("work").unwrap().failures.iter().all(|f| f.error.contains("a pen without ink")));
        assert_all_but_the_bad(report.take(ids));
        scene.nothing_is_left();
    }
}

#[test]
fn an_item_that_cannot_be_read_is_named_or_skipped() {
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("read");
        p.source("items", (0..500).map(Unreadable)).on(place, |s| s.map("work", |item| item.0)).discard();
        assert_names_it(p.run().err(), "work", |item| item % 100 == 57, "glasses left at home");
        scene.nothing_is_left();
    }
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("read");
        let ids = p
            .source("items", (0..500).map(Unreadable))
            .on(place.skip(), |s| s.map("work", |item| item.0))
            .collect("ids");
        let mut report = p.run().unwrap();
        assert_eq!(report.stage("work").unwrap().figures.skipped, 5);
        assert_all_but_the_bad(report.take(ids));
        scene.nothing_is_left();
    }
}

#[test]
fn a_result_that_cannot_be_written_is_named_or_skipped_with_all_it_counted() {
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("write back");
        p.source("items", 0..500).on(place, |s| s.map("work", Unwritable)).discard();
        assert_names_it(p.run().err(), "work", |item| item % 100 == 57, "a pen without ink");
        scene.nothing_is_left();
    }
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("write back");
        let count = p.counter("count");
        let ids = p
            .source("items", 0..500)
            .on(place.skip(), |s| {
                s.map("work", move |id| {
                    count.add(1);
                    Unwritable(id)
                })
            })
            .map("id", |item| item.0)
            .collect("ids");
        let mut report = p.run().unwrap();
        assert_eq!(report.stage("work").unwrap().figures.skipped, 5);
        assert_eq!(report.count(&count), 495, "what a skipped item counted does not count");
        assert_all_but_the_bad(report.take(ids));
        scene.nothing_is_left();
    }
}

#[test]
fn a_result_that_cannot_be_read_ends_the_run_and_is_named() {
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("read back");
        p.source("items", 0..500).on(place, |s| s.map("work", Unreadable)).discard();
        let Some(Error::Stage { stage, item, cause, kind, .. }) = p.run().err() else { panic!() };
        assert_eq!((stage.as_str(), item % 100, kind), ("work", 57, FailureKind::Codec));
        assert!(cause.contains("glasses left at home"), "{cause}");
        scene.nothing_is_left();
    }
}

#[test]
fn a_collected_value_that_cannot_be_written_fails_its_item() {
    let scene = Scene::new();
    let p = Pipeline::new("collect");
    let values = p.collector::<Unwritable>("values");
    let ids = p
        .source("items", 0..500)
        .on(minigun::processes(2).skip(), |s| s.inspect("work", move |id| values.push(Unwritable(*id))))
        .collect("ids");
    let mut report = p.run().unwrap();
    assert_all_but_the_bad(report.take(ids));
    assert_all_but_the_bad(report.take(values).into_iter().map(|value| value.0).collect());
    scene.nothing_is_left();
}

/// The compact codec would bring this back as something else.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[test]
fn a_type_that_the_chosen_codec_cannot_carry_is_refused_and_the_other_codec_named() {
    let items =
        || (0..500).map(|id| if id % 2 == 0 { Untagged::Number(id) } else { Untagged::Text("x".into()) });
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("compact");
        p.source("items", items()).on(place.codec(Format::Compact), |s| s.map("work", |item| item)).discard();
        assert_names_it(p.run().err(), "work", |_| true, "tagged");
        scene.nothing_is_left();
    }
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("tagged");
        let all = p.source("items", items()).on(place, |s| s.map("work", |item| item)).collect("all");
        let all = p.run().unwrap().take(all);
        assert_eq!(all.iter().filter(|item| matches!(item, Untagged::Number(_))).count(), 250);
        scene.nothing_is_left();
    }
}

#[test]
fn a_result_that_the_chosen_codec_cannot_carry_is_refused_in_the_worker() {
    let scene = Scene::new();
    let p = Pipeline::new("compact");
    p.source("items", 0..500u64)
        .on(minigun::processes(2).codec(Format::Compact), |s| s.map("work", Untagged::Number))
        .discard();
    assert_names_it(p.run().err(), "work", |_| true, "tagged");
    scene.nothing_is_left();
}
