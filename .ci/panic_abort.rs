//! Built with `panic = "abort"`: a panic in a worker process is a death, charged to its item; the report warns that
//! one in the program would end it.

use minigun::{FailureKind, Pipeline, Warning, processes};

fn main() -> Result<(), minigun::Error> {
    let p = Pipeline::new("aborts");
    let kinds = p.collector::<String>("kinds");
    p.on_failure(move |failed| {
        assert!(failed.kind == FailureKind::Death && failed.item == 5, "{failed:?}");
        kinds.push(format!("{:?}", failed.kind));
    });
    let out = p
        .source("in", 0..20)
        .on(processes(2).crash_attempts(2).skip(), |s| s.inspect("panics", |n| assert!(*n != 5, "five")))
        .collect("out");
    let mut report = p.run()?;
    let mut all = report.take(out);
    all.sort_unstable();
    assert_eq!(all, (0..20).filter(|n| *n != 5).collect::<Vec<_>>());
    assert_eq!(report.take(kinds), ["Death"]);
    assert_eq!(report.stage("panics").map(|stage| stage.figures.deaths), Some(2));
    assert_eq!(report.warnings(), [Warning::PanicAborts]);
    println!("{report}a panic in a worker was a death of its item");
    Ok(())
}
