//! What may be chosen when the program runs: a `Config` from text, and above it the environment.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

use super::{Executor, Settings};
use crate::failure::Policy;
use crate::graph::Mistake;
use crate::limits::Limits;

/// What a pipeline is not told by its code: from a configuration file in any format serde reads, or filled in by hand.
/// For [`Pipeline::configured`](crate::Pipeline::configured).
///
/// What counts, from the weakest to the strongest: the [defaults](crate::defaults), this, the environment, what the
/// code itself says on a block's head or about the pipeline. An unknown name, here as in the environment, is an error.
///
/// | field | variable | example |
/// |---|---|---|
/// | `executors` | `MINIGUN_EXECUTORS` | `parse=processes:4,write=threads:2` |
/// | `queue` | `MINIGUN_QUEUE` | `1024` |
/// | `max_threads` | `MINIGUN_MAX_THREADS` | `8` |
/// | `max_processes` | `MINIGUN_MAX_PROCESSES` | `4` |
/// | `attempts` | `MINIGUN_ATTEMPTS` | `3` |
/// | `crash_attempts` | `MINIGUN_CRASH_ATTEMPTS` | `3` |
/// | `max_restarts` | `MINIGUN_MAX_RESTARTS` | `100` |
/// | `timeout_seconds` | `MINIGUN_TIMEOUT_SECONDS` | `60` |
/// | `grace_seconds` | `MINIGUN_GRACE_SECONDS` | `2.5` |
///
/// ```
/// use minigun::{Config, Executor, Pipeline};
///
/// let config: Config = serde_json::from_str(r#"{ "executors": { "parse": "processes:2" }, "max_processes": 4 }"#)?;
/// let p = Pipeline::configured("from a file", config);
/// let parsed = p
///     .source("lines", ["1", "2"].map(String::from))
///     .on(p.executor("parse", Executor::Threads(4)), |s| s.try_map("parse", |line| Ok(line.parse::<u64>()?)))
///     .collect("parsed");
/// let mut report = p.run()?;
/// assert_eq!(report.stage("parse").map(|stage| stage.place.as_str()), Some("processes:2"));
/// assert_eq!(report.take(parsed).len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where the blocks run whose place the program leaves open ([`Pipeline::executor`](crate::Pipeline::executor)), by
    /// their names; as text: `threads:4`. A name for which the program does not ask is an error.
    #[serde(with = "executors")]
    pub executors: BTreeMap<String, Executor>,
    /// Items that the queue before a block ([`Block::queue`](crate::Block::queue)), or before a stage with a thread of its own, holds.
    pub queue: Option<NonZeroUsize>,
    /// The most threads of one block ([`Pipeline::max_threads`](crate::Pipeline::max_threads)).
    pub max_threads: Option<NonZeroUsize>,
    /// The most worker processes of one block ([`Pipeline::max_processes`](crate::Pipeline::max_processes)).
    pub max_processes: Option<NonZeroUsize>,
    /// Attempts at an item of a block in worker processes, with the default backoff
    /// ([`Block::retry`](crate::Block::retry)). On threads that is the code's to say, for items must be `Clone` there.
    pub attempts: Option<NonZeroU32>,
    /// Deaths charged to one item of a process block ([`Block::crash_attempts`](crate::Block::crash_attempts)).
    pub crash_attempts: Option<NonZeroU32>,
    /// Worker deaths of a process block within 10 s beyond which the run ends
    /// ([`Block::max_restarts`](crate::Block::max_restarts)).
    pub max_restarts: Option<u32>,
    /// How long an item may run in a worker process ([`Block::timeout`](crate::Block::timeout)). As text in seconds.
    #[serde(rename = "timeout_seconds", with = "seconds")]
    pub timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL after that ([`Block::grace`](crate::Block::grace)). As text in seconds.
    #[serde(rename = "grace_seconds", with = "seconds")]
    pub grace: Option<Duration>,
}

/// What the head of a block said itself, which no configuration changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    pub(crate) queue: bool,
    pub(crate) attempts: bool,
    pub(crate) crash_attempts: bool,
    pub(crate) max_restarts: bool,
    pub(crate) timeout: bool,
    pub(crate) grace: bool,
}

const PREFIX: &str = "MINIGUN_";

/// The variables of the configuration, without their prefix.
const VARIABLES: [&str; 9] = [
    "EXECUTORS",
    "QUEUE",
    "MAX_THREADS",
    "MAX_PROCESSES",
    "ATTEMPTS",
    "CRASH_ATTEMPTS",
    "MAX_RESTARTS",
    "TIMEOUT_SECONDS",
    "GRACE_SECONDS",
];

/// Variables that mean something elsewhere: to the library's workers, and to its tests, as those with `TEST_` do.
const OTHERS: &[&str] =
    &["DEBUG_WORKER", "PROGRESS", "SEED", "KILLS", "GONE_MS", "HAMMER", "PROOF", "OS_SCENE", "ZYGOTE_SCENE"];

impl Config {
    /// With what the environment says, which is stronger; and what is wrong with that.
    pub(crate) fn with_environment(self) -> (Self, Vec<Mistake>) {
        self.with(env::vars_os())
    }

    fn with(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> (Self, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        for (name, text) in variables {
            let name = name.to_string_lossy();
            let Some(short) = name.strip_prefix(PREFIX) else { continue };
            if OTHERS.contains(&short) || short.starts_with("TEST_") {
                continue;
            }
            if let Err(why) = self.set(short, &text.to_string_lossy()) {
                mistakes.push(Mistake::Variable { name: name.to_string(), why });
            }
        }
        // The environment has no order of its own.
        mistakes.sort_by_key(Mistake::to_string);
        (self, mistakes)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "EXECUTORS" => {
                for entry in text.split(',').filter(|entry| !entry.trim().is_empty()) {
                    let Some((name, executor)) = entry.split_once('=') else {
                        return Err(format!(
                            "`{entry}` is not a name and an executor as in `parse=threads:4`"
                        ));
                    };
                    let executor = executor.parse::<Executor>().map_err(|error| error.to_string())?;
                    self.executors.insert(name.trim().to_string(), executor);
                }
            }
            "QUEUE" => self.queue = number(text)?,
            "MAX_THREADS" => self.max_threads = number(text)?,
            "MAX_PROCESSES" => self.max_processes = number(text)?,
            "ATTEMPTS" => self.attempts = number(text)?,
            "CRASH_ATTEMPTS" => self.crash_attempts = number(text)?,
            "MAX_RESTARTS" => self.max_restarts = number(text)?,
            "TIMEOUT_SECONDS" => self.timeout = duration(text)?,
            "GRACE_SECONDS" => self.grace = duration(text)?,
            _ => {
                let known = VARIABLES.map(|name| format!("`{PREFIX}{name}`")).join(", ");
                return Err(format!("it is not known; known are {known}"));
            }
        }
        Ok(())
    }

    /// The pipeline's limits.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            threads: self.max_threads.map(NonZeroUsize::get),
            processes: self.max_processes.map(NonZeroUsize::get),
        }
    }

    /// Sets what the block's head did not say itself.
    pub(crate) fn fill(&self, executor: Executor, settings: &mut Settings, policy: &mut Policy) {
        let said = settings.said;
        let set = |said: bool, value: Option<u32>, into: &mut u32| {
            if let Some(value) = value.filter(|_| !said) {
                *into = value;
            }
        };
        if let Some(queue) = self.queue.filter(|_| !said.queue) {
            settings.queue = Some(queue.get());
        }
        if !executor.is_process() {
            return;
        }
        set(said.crash_attempts, self.crash_attempts.map(NonZeroU32::get), &mut settings.crash_attempts);
        set(said.max_restarts, self.max_restarts, &mut settings.max_restarts);
        // Where threads may stand in, nothing is kept of an item that the code did not ask to keep.
        set(said.attempts || settings.or_threads, self.attempts.map(NonZeroU32::get), &mut policy.attempts);
        if !said.timeout {
            settings.timeout = self.timeout.or(settings.timeout);
        }
        if let Some(grace) = self.grace.filter(|_| !said.grace) {
            settings.grace = grace;
        }
    }
}

fn number<N: FromStr<Err: Display>>(text: &str) -> Result<Option<N>, String> {
    text.trim().parse().map(Some).map_err(|error| format!("`{text}` is no such number: {error}"))
}

fn duration(text: &str) -> Result<Option<Duration>, String> {
    let seconds = text.trim().parse::<f64>().map_err(|error| format!("`{text}` is no number: {error}"))?;
    seconds::duration(seconds).map(Some)
}

/// Durations as seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn duration(seconds: f64) -> Result<Duration, String> {
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if !duration.is_zero() => Ok(duration),
            _ => Err(format!("`{seconds:?}` is not a time in seconds (above 0)")),
        }
    }

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?.map(duration).transpose().map_err(D::Error::custom)
    }
}

/// Executors as text.
mod executors {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::plan::Executor;

    pub(super) fn serialize<S: Serializer>(
        executors: &BTreeMap<String, Executor>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let texts: BTreeMap<_, _> = executors.iter().map(|(name, place)| (name, place.to_string())).collect();
        texts.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, Executor>, D::Error> {
        let texts = BTreeMap::<String, String>::deserialize(from)?;
        let read = texts.into_iter().map(|(name, text)| match text.parse() {
            Ok(executor) => Ok((name, executor)),
            Err(error) => Err(D::Error::custom(format!("the place of `{name}`: {error}"))),
        });
        read.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(config: Config, variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        let (config, mistakes) = config.with(variables.iter().map(|(name, text)| (name.into(), text.into())));
        (config, mistakes.iter().map(Mistake::to_string).collect())
    }

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_field_can_be_read_from_text_and_set_by_a_variable() {
        let text = r#"{"executors": {"parse": "processes:4", "write": "inline"}, "queue": 5, "max_threads": 6,
            "max_processes": 7, "attempts": 2, "crash_attempts": 8, "max_restarts": 0, "timeout_seconds": 1.5,
            "grace_seconds": 2.0}"#;
        let variables = [
            ("MINIGUN_EXECUTORS", "parse=processes:4, write = inline,"),
            ("MINIGUN_QUEUE", "5"),
            ("MINIGUN_MAX_THREADS", "6"),
            ("MINIGUN_MAX_PROCESSES", "7"),
            ("MINIGUN_ATTEMPTS", "2"),
            ("MINIGUN_CRASH_ATTEMPTS", "8"),
            ("MINIGUN_MAX_RESTARTS", "0"),
            ("MINIGUN_TIMEOUT_SECONDS", "1.5"),
            ("MINIGUN_GRACE_SECONDS", "2"),
        ];
        let (by_variables, mistakes) = with(Config::default(), &variables);
        assert_eq!((config(text), vec![]), (by_variables.clone(), mistakes));
        assert!(variables.iter().map(|(name, _)| &name[PREFIX.len()..]).eq(VARIABLES));
        // And written out again.
        assert_eq!(config(&serde_json::to_string(&by_variables).unwrap()), by_variables);
        assert_eq!(config("{}"), Config::default());
    }

    #[test]
    fn the_environment_is_stronger_and_leaves_what_it_does_not_name() {
        let weaker =
            config(r#"{"executors": {"a": "threads:1", "b": "threads:1"}, "queue": 5, "max_threads": 6}"#);
        let variables =
            [("MINIGUN_QUEUE", "9"), ("MINIGUN_EXECUTORS", "b=inline,c=processes:2"), ("OTHER", "x")];
        let (config, mistakes) = with(weaker, &variables);
        assert_eq!(mistakes, [""; 0]);
        assert_eq!((config.queue.unwrap().get(), config.max_threads.unwrap().get()), (9, 6));
        let executors: Vec<_> = config.executors.into_iter().collect();
        let place = |name: &str, executor| (name.to_string(), executor);
        assert_eq!(
            executors,
            [
                place("a", Executor::Threads(1)),
                place("b", Executor::Inline),
                place("c", Executor::Processes(2))
            ]
        );
    }

    #[test]
    fn what_cannot_be_understood_is_told_with_what_could_be() {
        let told = |name: &str, text: &str| {
            let (_, mistakes) = with(Config::default(), &[(name, text)]);
            assert_eq!(mistakes.len(), 1, "{name}={text}");
            mistakes.concat()
        };
        assert_eq!(
            told("MINIGUN_QUEUE", "0"),
            "the environment variable `MINIGUN_QUEUE`: `0` is no such number: number would be zero for non-zero type"
        );
        assert!(told("MINIGUN_MAX_PROCESES", "2").contains("`MINIGUN_MAX_PROCESSES`"));
        assert!(told("MINIGUN_EXECUTORS", "parse").contains("`parse` is not a name and an executor"));
        assert!(told("MINIGUN_EXECUTORS", "parse=proceses:2").contains("known are `inline`"));
        for time in ["0", "-1", "NaN", "1e300", "soon"] {
            assert!(told("MINIGUN_TIMEOUT_SECONDS", time).contains(time), "{time}");
        }
        for other in ["MINIGUN_DEBUG_WORKER", "MINIGUN_TEST_ANYTHING", "MINIGUNS"] {
            assert_eq!(with(Config::default(), &[(other, "x")]), (Config::default(), vec![]));
        }
        for text in [
            r#"{"queues": 5}"#,
            r#"{"queue": 0}"#,
            r#"{"executors": {"parse": "proceses:4"}}"#,
            r#"{"timeout_seconds": -1}"#,
        ] {
            assert!(serde_json::from_str::<Config>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_head_said_is_left_alone() {
        let config = config(
            r#"{"queue": 5, "attempts": 2, "crash_attempts": 8, "max_restarts": 9, "timeout_seconds": 1, "grace_seconds": 2}"#,
        );
        let second = Duration::from_secs(1);
        let (mut settings, mut policy) = (Settings::default(), Policy { attempts: 1, ..Policy::default() });
        config.fill(Executor::Processes(1), &mut settings, &mut policy);
        assert_eq!(
            (settings.queue, settings.crash_attempts, settings.max_restarts, policy.attempts),
            (Some(5), 8, 9, 2)
        );
        assert_eq!((settings.timeout, settings.grace), (Some(second), 2 * second));
        let said = Said {
            queue: true,
            attempts: true,
            crash_attempts: true,
            max_restarts: true,
            timeout: true,
            grace: true,
        };
        let (mut settings, mut policy) = (Settings { said, ..Settings::default() }, Policy::default());
        config.fill(Executor::Processes(1), &mut settings, &mut policy);
        let default = Settings::default();
        assert_eq!((settings.queue, settings.crash_attempts), (default.queue, default.crash_attempts));
        assert_eq!((settings.max_restarts, policy), (default.max_restarts, Policy::default()));
        assert_eq!((settings.timeout, settings.grace), (None, default.grace));
        // Nothing that a thread could not keep.
        let (mut settings, mut policy) = (Settings::default(), Policy::default());
        config.fill(Executor::Threads(1), &mut settings, &mut policy);
        assert_eq!((settings.queue, settings.timeout, policy), (Some(5), None, Policy::default()));
    }
}
