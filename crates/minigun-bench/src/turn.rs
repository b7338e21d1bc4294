//! One turn of one contestant, in a process of its own.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::contest::{BoxError, Load, Turn};
use crate::workloads::WORKLOADS;

/// The first argument of the process that takes a turn.
pub(crate) const TURN: &str = "take-turn";

/// A turn that takes longer has hung.
const BOUND: Duration = Duration::from_secs(300);

/// Runs this program again for one turn, and reads what it reached.
pub(crate) fn elsewhere(
    workload: &str,
    case: usize,
    (name, env): (&str, &[(&str, &str)]),
    load: &Load,
) -> Result<Turn, BoxError> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([TURN, workload, &case.to_string(), name])
        .args([load.items.to_string(), load.steps_per_us.to_string()])
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdout = child.stdout.take().ok_or("no standard output")?;
    let (said, hears) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        // Nobody listens any more once the bound has passed.
        let _ = said.send(stdout.read_to_string(&mut text).map(|_| text));
    });
    let Ok(text) = hears.recv_timeout(BOUND) else {
        child.kill()?;
        child.wait()?;
        return Err(format!("not done after {BOUND:?}").into());
    };
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("its process ended with {status}").into());
    }
    Ok(serde_json::from_str(text?.lines().last().unwrap_or_default())?)
}

/// The other side: takes the turn that the arguments behind [`TURN`] name, and prints what it reached.
pub(crate) fn take(arguments: &[String]) -> Result<(), BoxError> {
    let [workload, case, name, items, steps] = arguments else {
        return Err("a turn is named by workload, case, contestant, items and steps".into());
    };
    let load = Load { items: items.parse()?, steps_per_us: steps.parse()? };
    let workload = WORKLOADS.iter().find(|found| found.name == workload).ok_or("no such workload")?;
    let cases = (workload.cases)();
    let case = cases.get(case.parse::<usize>()?).ok_or("no such case")?;
    let contestant = case.contestants.iter().find(|found| found.name == *name).ok_or("no such contestant")?;
    println!("{}", serde_json::to_string(&contestant.take_turn(&load)?)?);
    Ok(())
}
