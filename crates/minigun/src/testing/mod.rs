//! A kit for tests of pipelines: run a part of one on given inputs, run a whole one on every executor and compare,
//! and let workers die, items fail and closures dawdle by chance that a seed repeats.
//!
//! **A segment on given inputs.** What comes out, what failed and what became of it:
//!
//! ```
//! use minigun::testing;
//! let ran = testing::segment(["1", "x", "3"].map(String::from), |s| {
//!     s.try_map("parse", |text| Ok(text.parse::<u32>()?))
//! })?;
//! assert_eq!(ran.outputs, [1, 3]);
//! assert_eq!((ran.dead[0].item.as_str(), ran.dead[0].stage.as_str()), ("x", "parse"));
//! # Ok::<(), testing::Fault>(())
//! ```
//!
//! **The same on another executor**, with a policy, as [`on`] says.
//!
//! ```
//! # use minigun::{testing, Backoff};
//! let ran = testing::on("processes:2".parse()?).retry(3, Backoff::none())
//!     .segment(0..100, |s| s.map("square", |n| n * n))?;
//! assert_eq!(ran.sorted(), (0..100).map(|n| n * n).collect::<Vec<_>>());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **A part of a program**, with blocks, batches and dead letters of its own, is a function over flows; it is
//! run by [`flow`]:
//!
//! ```
//! # use minigun::{testing, Flow};
//! fn sums(numbers: Flow<u64>) -> Flow<u64> {
//!     numbers.batch(10).threads(2, |s| s.map("sum", |batch: Vec<u64>| batch.iter().sum()))
//! }
//! assert_eq!(testing::flow(0..15, sums)?.sorted(), [45, 60]);
//! # Ok::<(), testing::Fault>(())
//! ```
//!
//! **A whole pipeline on every executor**, and the same result from each:
//!
//! ```
//! # use minigun::testing;
//! let squares = testing::same_everywhere(|p, executor| {
//!     p.source("in", 0..100).on(executor, |s| s.map("square", |n: i32| n * n)).collect("out")
//! })?;
//! assert_eq!(squares.len(), 100);
//! # Ok::<(), testing::Fault>(())
//! ```
//!
//! **Chance**, the same for the same seed, wherever it runs:
//!
//! ```
//! # use minigun::testing::{self, Chaos};
//! # let executor = "processes:2".parse()?;
//! let chaos = Chaos::seeded(7).kill(0.1);
//! let ran = testing::on(executor).chaos(&chaos).segment(0..100, |s| s.map("add", |n| n + 1))?;
//! assert_eq!(ran.outputs.len(), 100); // whatever was killed
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Time** that a test has in its hands: batches by age, waits between attempts, rates. A [`Clock`] stands still until
//! it is moved, or skips every wait:
//!
//! ```
//! # use std::time::Duration;
//! # use minigun::{Batches, Pipeline, testing::Clock};
//! # let p = Pipeline::new("letters");
//! let clock = Clock::paused();
//! let (post, letters) = p.timed_by(&clock).channel("post", 10);
//! let mut sacks = letters.batch_by(Batches::of(1000).within(Duration::from_secs(3600))).receiver("sacks", 10);
//! let running = p.start()?;
//! post.send("a letter")?;
//! assert_eq!(clock.advance_to_next(), Some(Duration::from_secs(3600))); // once the letter is in its sack
//! assert_eq!(sacks.next(), Some(vec!["a letter"]));
//! # drop(post);
//! # running.join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ```
//! # use std::time::Duration;
//! # use minigun::{Backoff, testing::{self, Chaos, Clock}};
//! let (clock, hour) = (Clock::skipping(), Duration::from_secs(3600));
//! let patient = Backoff::exponential(hour, 24 * hour);
//! let ran = testing::on("threads:2".parse()?).timed_by(&clock).chaos(&Chaos::seeded(7).fail(0.5))
//!     .retry(20, patient).segment(0..100, |s| s.map("add", |n| n + 1))?;
//! assert_eq!(ran.outputs.len(), 100);
//! assert!(clock.elapsed() > hour / 2, "so long it would have taken");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every run of the kit is ended after [`TRIAL_BOUND`](crate::defaults::TRIAL_BOUND), so that a pipeline that
//! hangs fails its test. Process blocks fork: `cargo test` with its threads is fine, see the crate's page on
//! what a fork shares.

mod chaos;
mod clock;
mod everywhere;
mod segment;
mod trial;

pub use chaos::Chaos;
pub use clock::Clock;
pub use everywhere::{Compared, EXECUTORS, same_everywhere, same_under};
pub use segment::{Ran, Trial, flow, on, segment};
pub use trial::Fault;
