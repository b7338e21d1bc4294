//! What can be wrong with the wiring, each with the words in which it is told.

use std::fmt;

/// One mistake in the wiring, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mistake {
    /// A flow that nothing consumes.
    Unconsumed {
        /// The stages whose items would be lost.
        stages: Vec<String>,
    },
    /// A port to which no router sends.
    UnusedPort {
        /// The inlet's name.
        port: String,
    },
    /// A `feedback` to whose port nothing is sent.
    NothingGoesRound {
        /// The loop's name.
        feedback: String,
    },
    /// Two stages of one block share a name.
    DuplicateName {
        /// The shared name.
        name: String,
    },
    /// A block without workers.
    NoWorkers {
        /// The block's steps.
        block: String,
    },
    /// A flow or port of another pipeline was used.
    OtherPipeline {
        /// Where it was used.
        stage: String,
    },
    /// The flow that a block's closure returned was not made in that block.
    NotOfThisBlock {
        /// The block's steps.
        block: String,
    },
    /// A batch of no items.
    EmptyBatch {
        /// The batch stage.
        stage: String,
    },
    /// Stages that send to each other in a circle, past any `feedback`: it would never end.
    Circle {
        /// The stages in it.
        stages: Vec<String>,
    },
    /// A split into no branches.
    NoBranches {
        /// The stage that splits.
        stage: String,
    },
    /// A setting that only worker processes can enforce, on a block that has none.
    NeedsProcess {
        /// The block's steps.
        block: String,
        /// The setting.
        setting: &'static str,
    },
    /// `by_key` on a block whose workers serve one item each.
    FreshWorkers {
        /// The block's steps.
        block: String,
    },
    /// `by_key` and `ordered` on one block.
    OrderedByKey {
        /// The block's steps.
        block: String,
    },
    /// `skip_on_failure` does not stand right behind a source.
    NoSource {
        /// The stages, or the inlet, behind which it stands.
        behind: Vec<String>,
    },
    /// A variable of the environment that cannot be understood.
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A place is configured for a block that the program does not have.
    UnknownPlace {
        /// The name in the configuration.
        name: String,
        /// The names for which the program asks.
        known: Vec<String>,
    },
    /// A rate at which nothing could ever pass.
    Rate {
        /// The stage, or the block's steps.
        stage: String,
    },
    /// An error rate of `dedup_by_approx` that is none.
    ErrorRate {
        /// The stage.
        stage: String,
        /// What was given.
        error: String,
    },
    /// `before` or `after` does not stand right behind a stage.
    NoStage {
        /// Which of the two.
        hook: &'static str,
        /// The stages, or the inlet, behind which it stands.
        behind: Vec<String>,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Unconsumed { stages } => write!(
                f,
                "nothing consumes what comes out of {}: end the flow with `consumer`, `collect`, `fold`, \
                 `router` or `discard`",
                quoted(stages).join(" and ")
            ),
            Mistake::UnusedPort { port } => write!(
                f,
                "no router or policy sends to the port `{port}`: name it in a `router`, `processor_to` or \
                 `send_to`, or remove the inlet"
            ),
            Mistake::NothingGoesRound { feedback } => write!(
                f,
                "nothing is sent back into the loop `{feedback}`: send to its port in a `router`, `processor_to` or \
                 `send_to`, or remove the `feedback`"
            ),
            Mistake::DuplicateName { name } => {
                write!(f, "two stages are called `{name}`: give each its own name")
            }
            Mistake::NoWorkers { block } => {
                write!(f, "the block of `{block}` has 0 workers: give it at least 1")
            }
            Mistake::OtherPipeline { stage } => write!(
                f,
                "`{stage}` is joined to a flow or port of another pipeline: make both from one `Pipeline`"
            ),
            Mistake::NotOfThisBlock { block } => write!(
                f,
                "the closure of the block of `{block}` returns a flow that was made elsewhere: return the last \
                 flow made from its argument"
            ),
            Mistake::EmptyBatch { stage } => {
                write!(f, "`{stage}` makes batches of 0 items: give it at least 1")
            }
            Mistake::Circle { stages } => write!(
                f,
                "{} would never end, for what {} sent comes back: make the loop with `feedback`, and send to its port",
                quoted(stages).join(" and "),
                if stages.len() == 1 { "it" } else { "they" }
            ),
            Mistake::NoBranches { stage } => {
                write!(f, "`{stage}` splits its flow into 0 branches: give it at least 1")
            }
            Mistake::NeedsProcess { block, setting } => write!(
                f,
                "`{setting}` on the block of `{block}` needs worker processes: place it in `processes:n` or \
                 `process_per_batch:n`, or remove the setting"
            ),
            Mistake::FreshWorkers { block } => write!(
                f,
                "`by_key` on the block of `{block}`: each of its workers serves one item only, whatever its key; place \
                 it in `threads:n` or `processes:n`, or remove `by_key`"
            ),
            Mistake::OrderedByKey { block } => write!(
                f,
                "`by_key` and `ordered` on the block of `{block}`: each of its workers has a queue of its own, between which \
                 there is no order; remove one of them (by key alone, each worker takes its items in order)"
            ),
            Mistake::NoSource { behind } => write!(
                f,
                "`skip_on_failure` stands behind {}, not right behind a source: write it after `producer`, `source` or \
                 `lines`; for a block put `skip` on its head",
                quoted(behind).join(" and ")
            ),
            Mistake::Variable { name, why } => write!(f, "the environment variable `{name}`: {why}"),
            Mistake::UnknownPlace { name, known } => {
                write!(f, "a place is configured for `{name}`, for which the program does not ask: ")?;
                match known.is_empty() {
                    true => f.write_str(
                        "it asks for none; call `Pipeline::executor` where a block's place is open",
                    ),
                    false => write!(f, "known are {}", quoted(known).join(", ")),
                }
            }
            Mistake::Rate { stage } => write!(
                f,
                "`{stage}` has a rate at which nothing could pass: give it more than 0 items a second, and a burst of \
                 at least 1"
            ),
            Mistake::ErrorRate { stage, error } => write!(
                f,
                "`{stage}` (`dedup_by_approx`) has an error rate of {error}: give it one above 0 and below 1, or use `dedup_by`"
            ),
            Mistake::NoStage { hook, behind } => write!(
                f,
                "`{hook}` stands behind {} and not right behind a step: write it after the step it is for",
                quoted(behind).join(" and ")
            ),
        }
    }
}

fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("`{name}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of mistake, and the whole of what is told. A new kind does not compile before it is here.
    fn told() -> Vec<(Mistake, &'static str)> {
        let name = |text: &str| text.to_string();
        let names = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        vec![
            (
                Mistake::Unconsumed { stages: names(&["parse", "clean"]) },
                "nothing consumes what comes out of `parse` and `clean`: end the flow with `consumer`, `collect`, \
                 `fold`, `router` or `discard`",
            ),
            (
                Mistake::UnusedPort { port: name("dead") },
                "no router or policy sends to the port `dead`: name it in a `router`, `processor_to` or `send_to`, or \
                 remove the inlet",
            ),
            (
                Mistake::NothingGoesRound { feedback: name("crawl") },
                "nothing is sent back into the loop `crawl`: send to its port in a `router`, `processor_to` or \
                 `send_to`, or remove the `feedback`",
            ),
            (
                Mistake::DuplicateName { name: name("parse") },
                "two stages are called `parse`: give each its own name",
            ),
            (
                Mistake::NoWorkers { block: name("parse + clean") },
                "the block of `parse + clean` has 0 workers: give it at least 1",
            ),
            (
                Mistake::OtherPipeline { stage: name("join") },
                "`join` is joined to a flow or port of another pipeline: make both from one `Pipeline`",
            ),
            (
                Mistake::NotOfThisBlock { block: name("parse") },
                "the closure of the block of `parse` returns a flow that was made elsewhere: return the last flow made \
                 from its argument",
            ),
            (
                Mistake::EmptyBatch { stage: name("batch 2") },
                "`batch 2` makes batches of 0 items: give it at least 1",
            ),
            (
                Mistake::Circle { stages: names(&["parse", "again"]) },
                "`parse` and `again` would never end, for what they sent comes back: make the loop with `feedback`, and \
                 send to its port",
            ),
            (
                Mistake::NoBranches { stage: name("round_robin") },
                "`round_robin` splits its flow into 0 branches: give it at least 1",
            ),
            (
                Mistake::NeedsProcess { block: name("parse"), setting: "timeout" },
                "`timeout` on the block of `parse` needs worker processes: place it in `processes:n` or \
                 `process_per_batch:n`, or remove the setting",
            ),
            (
                Mistake::FreshWorkers { block: name("parse") },
                "`by_key` on the block of `parse`: each of its workers serves one item only, whatever its key; place it \
                 in `threads:n` or `processes:n`, or remove `by_key`",
            ),
            (
                Mistake::OrderedByKey { block: name("parse") },
                "`by_key` and `ordered` on the block of `parse`: each of its workers has a queue of its own, between \
                 which there is no order; remove one of them (by key alone, each worker takes its items in order)",
            ),
            (
                Mistake::NoSource { behind: names(&["parse"]) },
                "`skip_on_failure` stands behind `parse`, not right behind a source: write it after `producer`, \
                 `source` or `lines`; for a block put `skip` on its head",
            ),
            (
                Mistake::Variable { name: name("MINIGUN_QUEUE"), why: name("`many` is no such number") },
                "the environment variable `MINIGUN_QUEUE`: `many` is no such number",
            ),
            (
                Mistake::UnknownPlace { name: name("pasre"), known: names(&["parse", "write"]) },
                "a place is configured for `pasre`, for which the program does not ask: known are `parse`, `write`",
            ),
            (
                Mistake::UnknownPlace { name: name("pasre"), known: vec![] },
                "a place is configured for `pasre`, for which the program does not ask: it asks for none; call \
                 `Pipeline::executor` where a block's place is open",
            ),
            (
                Mistake::Rate { stage: name("fetch") },
                "`fetch` has a rate at which nothing could pass: give it more than 0 items a second, and a burst of at \
                 least 1",
            ),
            (
                Mistake::ErrorRate { stage: name("dedup_by 2"), error: name("1.5") },
                "`dedup_by 2` (`dedup_by_approx`) has an error rate of 1.5: give it one above 0 and below 1, or use \
                 `dedup_by`",
            ),
            (
                Mistake::NoStage { hook: "before", behind: names(&["dead"]) },
                "`before` stands behind `dead` and not right behind a step: write it after the step it is for",
            ),
        ]
    }

    /// What a message names; the match says when there is a new kind.
    fn subjects(mistake: &Mistake) -> Vec<&String> {
        match mistake {
            Mistake::Unconsumed { stages } | Mistake::Circle { stages } => stages.iter().collect(),
            Mistake::UnusedPort { port: name }
            | Mistake::NothingGoesRound { feedback: name }
            | Mistake::DuplicateName { name }
            | Mistake::NoWorkers { block: name }
            | Mistake::OtherPipeline { stage: name }
            | Mistake::NotOfThisBlock { block: name }
            | Mistake::EmptyBatch { stage: name }
            | Mistake::NoBranches { stage: name }
            | Mistake::NeedsProcess { block: name, .. }
            | Mistake::FreshWorkers { block: name }
            | Mistake::OrderedByKey { block: name }
            | Mistake::Variable { name, .. }
            | Mistake::Rate { stage: name }
            | Mistake::ErrorRate { stage: name, .. } => vec![name],
            Mistake::UnknownPlace { name, known } => std::iter::once(name).chain(known).collect(),
            Mistake::NoSource { behind } | Mistake::NoStage { behind, .. } => behind.iter().collect(),
        }
    }

    #[test]
    fn every_message_names_what_it_is_about_and_the_remedy() {
        let mut kinds = std::collections::HashSet::new();
        for (mistake, text) in told() {
            assert_eq!(mistake.to_string(), text);
            for subject in subjects(&mistake) {
                assert!(text.contains(&format!("`{subject}`")), "{text}");
            }
            assert!(
                text.lines().count() == 1 && text.contains(':'),
                "one line, and after a colon what to do: {text}"
            );
            kinds.insert(std::mem::discriminant(&mistake));
        }
        assert_eq!(kinds.len(), 19, "every kind is told once at least");
    }
}
