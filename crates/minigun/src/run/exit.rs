//! What a program's exit code says of its run.

use std::process::ExitCode;

use crate::error::Error;
use crate::failure::StopCause;
use crate::report::Report;

/// The exit code for the outcome of a run, as shells and service managers read it.
///
/// | outcome | code |
/// |---|---|
/// | the run ended, or the program stopped it by its handle | 0 |
/// | the run was stopped or killed by signal n ([`handle_signals`](crate::Pipeline::handle_signals)) | 128 + n: SIGINT 130, SIGTERM 143 |
/// | any other error | 1 |
///
/// ```no_run
/// # use minigun::Pipeline;
/// fn main() -> std::process::ExitCode {
///     let p = Pipeline::new("import");
///     p.handle_signals();
///     p.source("numbers", 0..10).consumer("print", |n| println!("{n}"));
///     let outcome = p.run();
///     match &outcome {
///         Ok(report) => println!("{report}"),
///         Err(error) => eprintln!("{error}"),
///     }
///     minigun::exit_code(&outcome)
/// }
/// ```
pub fn exit_code(outcome: &Result<Report, Error>) -> ExitCode {
    ExitCode::from(match outcome {
        Ok(report) => signal_of(report.stopped()).map_or(0, code),
        Err(error) => killer(error).map_or(1, code),
    })
}

/// The signal that killed the run.
pub(super) fn killer(error: &Error) -> Option<i32> {
    match error {
        Error::Killed { by } => signal_of(Some(*by)),
        Error::Stuck { because, .. } => because.as_deref().and_then(killer),
        _ => None,
    }
}

fn signal_of(cause: Option<StopCause>) -> Option<i32> {
    match cause {
        Some(StopCause::Signal(number)) => Some(number),
        Some(StopCause::Handle) | None => None,
    }
}

/// As a shell shows that a program ended by a signal.
pub(super) fn code(signal: i32) -> u8 {
    128 | (signal & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_killed_is_told_through_what_was_stuck() {
        let killed = |by| Error::Killed { by };
        let stuck = |because| Error::Stuck { stages: Vec::new(), because };
        assert_eq!(killer(&killed(StopCause::Signal(15))), Some(15));
        assert_eq!(killer(&stuck(Some(Box::new(killed(StopCause::Signal(2)))))), Some(2));
        assert_eq!(killer(&killed(StopCause::Handle)), None);
        assert_eq!(killer(&stuck(None)), None);
        assert_eq!((code(2), code(15)), (130, 143));
    }
}
