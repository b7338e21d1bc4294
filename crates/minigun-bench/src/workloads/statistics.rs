//! Statistics: what it costs to count and measure every item, beside a build that does not.
//!
//! The other build is this program again, with `--cfg minigun_no_statistics`, at the path that `BENCH_WITHOUT_STATISTICS`
//! names. The page says how to make it; without it there is nothing to compare with.

use std::env;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{ROLE, Workload, hop};
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled, Turn, check};

pub(crate) const STATISTICS: Workload = Workload {
    name: "statistics",
    about: "u64 through bare hops, with all figures and in a build without them",
    rounds: Scaled { full: 25, quick: 3 },
    cases: || {
        let of = |way: Way| {
            let with = Contestant::new("minigun", Kind::Ours, move |load: &Load| way.measured(load));
            let without =
                Contestant::new("without statistics", Kind::Limit, move |load: &Load| way.bare(load));
            vec![with.settings("as it comes"), without.settings("built with `--cfg minigun_no_statistics`")]
        };
        let case = |name, full, way| Case {
            name,
            unit: "ns/item",
            better: Better::Less,
            items: Scaled { full, quick: full / 10 },
            contestants: of(way),
        };
        vec![case("3 threads", 30_000_000, Way::Threads), case("1 thread", 60_000_000, Way::Inline)]
    },
};

/// What plays this role is the other build.
pub(crate) const BARE: &str = "statistics-bare";

/// The path of the other build.
const OTHER: &str = "BENCH_WITHOUT_STATISTICS";

/// The pipelines of the workload `hop`.
#[derive(Clone, Copy)]
enum Way {
    Threads,
    Inline,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Threads => "threads",
            Way::Inline => "inline",
        }
    }

    fn of(name: &str) -> Result<Self, BoxError> {
        let all = [Way::Threads, Way::Inline];
        all.into_iter().find(|way| way.name() == name).ok_or_else(|| format!("there is no way {name}").into())
    }

    /// What an item takes of the processor's time, on all threads together, and by the clock.
    fn measured(self, load: &Load) -> Result<Turn, BoxError> {
        let run = match self {
            Way::Threads => hop::ours,
            Way::Inline => hop::ours_inline,
        };
        let (begun, before) = (Instant::now(), processor());
        let sum = run(load.items)?;
        let (clock, processor) = (begun.elapsed(), processor() - before);
        check(sum, hop::due(load))?;
        let each = |time: Duration| time.as_nanos() as f64 / load.items as f64;
        Ok(Turn::Reached(vec![("processor".into(), each(processor)), ("clock".into(), each(clock))]))
    }

    /// The same, by the other build.
    fn bare(self, load: &Load) -> Result<Turn, BoxError> {
        let Some(program) = env::var_os(OTHER) else {
            return Ok(Turn::Skipped(format!("{OTHER} names no build without them")));
        };
        let load = [load.items.to_string(), load.steps_per_us.to_string()];
        let mut other = Command::new(program);
        other.args([ROLE, BARE, self.name()]).args(load).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = other.output()?;
        if !output.status.success() {
            return Err(format!("the build without statistics ended with {}", output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The other side of [`Way::bare`].
pub(super) fn play(way: &str, items: &str, steps: &str) -> Result<(), BoxError> {
    if !cfg!(minigun_no_statistics) {
        return Err(format!("{OTHER} names a build with statistics").into());
    }
    let load = Load { items: items.parse()?, steps_per_us: steps.parse()? };
    println!("{}", serde_json::to_string(&Way::of(way)?.measured(&load)?)?);
    Ok(())
}

/// The processor's time that this process has used until now.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
