//! Runs a pipeline under load while its worker processes are killed, and checks past the engine that every
//! item is accounted for.
//!
//! ```sh
//! cargo run --release --example chaos -- --seconds 10 --kill-every-ms 20 --seed 1
//! ```
//!
//! Threads, a pool of worker processes and a process per batch work on numbered items. Some items panic at their
//! first attempt, some are skipped, some fail whatever is done, two kill their worker each time. Meanwhile random
//! workers get SIGKILL or SIGSEGV, or are stopped until their deadline; once the fork server itself is killed.
//! The same load runs undisturbed first. One line of JSON tells the outcome; the exit code is 0 only if no item
//! was lost or delivered twice, the dead letters are exactly those that must be, and nothing is left behind.

mod killer;
mod load;

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use killer::Killer;
use load::{Load, Outcome};

struct Args {
    seconds: u64,
    kill_every: Duration,
    seed: u64,
    /// Only the load, undisturbed: prints its items per second.
    undisturbed: bool,
}

fn args() -> Result<Args, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { seconds: 10, kill_every: Duration::from_millis(20), seed: 1, undisturbed: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("seconds") => args.seconds = parser.value()?.parse::<u64>()?.max(1),
            Long("kill-every-ms") => {
                args.kill_every = Duration::from_millis(parser.value()?.parse::<u64>()?.max(1));
            }
            Long("seed") => args.seed = parser.value()?.parse()?,
            Long("undisturbed") => args.undisturbed = true,
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("chaos: {error}\nusage: chaos [--seconds N] [--kill-every-ms N] [--seed N]");
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos (seed {}): {error}", args.seed);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let fds = killer::open_fds()?;
    let load = Load { time: Duration::from_secs(args.seconds), seed: args.seed };
    if args.undisturbed {
        let calm = load.run(|| ())?;
        println!("{}", calm.per_second());
        return Ok(good(&calm));
    }
    // In a process of its own: a fork costs more, the more memory the program had when its run began.
    eprintln!("chaos: {} s undisturbed …", args.seconds);
    let calm = Command::new(std::env::current_exe()?)
        .args(["--undisturbed", "--seconds", &args.seconds.to_string(), "--seed", &args.seed.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    let calm_per_second: f64 = String::from_utf8_lossy(&calm.stdout).trim().parse()?;
    eprintln!("chaos: {} s with a kill every {:?}, seed {} …", args.seconds, args.kill_every, args.seed);
    let (killed, sent) = {
        let mut killer = None;
        let killed = load.run(|| killer = Some(Killer::start(args.seed, args.kill_every, load.time)))?;
        (killed, killer.map(Killer::end).unwrap_or_default())
    };
    let left = killer::left_behind(&fds)?;
    let ratio = killed.per_second() / calm_per_second;
    let line = serde_json::json!({
        "seed": args.seed,
        "in": killed.items,
        "delivered": killed.delivered,
        "filtered": killed.filtered,
        "skipped": killed.skipped,
        "dead": killed.dead.len(),
        "lost": killed.lost,
        "duplicated": killed.duplicated,
        "signals": sent,
        "deaths": killed.deaths,
        "items_per_second": killed.per_second().round(),
        "items_per_second_undisturbed": calm_per_second.round(),
        "ratio": (ratio * 1000.0).round() / 1000.0,
        "left_behind": left,
    });
    println!("{line}");
    Ok(good(&killed) && calm.status.success() && left.is_empty())
}

fn good(outcome: &Outcome) -> bool {
    (outcome.lost, outcome.duplicated) == (0, 0) && outcome.dead == outcome.must_be_dead
}
