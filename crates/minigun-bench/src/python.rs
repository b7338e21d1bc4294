//! The peers that are Python's: a script beside the sources does their work, checks its sums and says how long it
//! took.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::contest::{BoxError, Contestant, Kind, Load, Turn, rate};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/peers.py");

#[derive(Deserialize)]
struct Said {
    seconds: f64,
}

/// The script's function `work`, with its arguments `how`, in `per` items a second, for one in `share` items.
pub(crate) fn contestant(
    name: &'static str,
    work: &'static str,
    how: &'static [&'static str],
    per: f64,
    share: u64,
) -> Contestant {
    let run = move |load: &Load| -> Result<Turn, BoxError> {
        if let Some(why) = missing() {
            return Ok(Turn::Skipped(why));
        }
        let output = Command::new("python3")
            .args([SCRIPT, work, &load.items.to_string()])
            .args(how)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("python3 ended with {}", output.status).into());
        }
        let said: Said = serde_json::from_slice(&output.stdout)?;
        Ok(Turn::of(rate(load.items, Duration::from_secs_f64(said.seconds), per)))
    };
    Contestant::new(name, Kind::Peer, run).share(share)
}

/// Why Python cannot take part.
fn missing() -> Option<String> {
    let found = Command::new("python3").arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("python3 --version ended with {status}")),
        Err(error) => Some(format!("there is no python3: {error}")),
    }
}
