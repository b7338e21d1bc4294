//! A function with its own error type goes in with `?`.
use minigun::Pipeline;

fn store(_: u64) -> Result<(), std::io::Error> {
    Ok(())
}

fn main() {
    let p = Pipeline::new("error");
    p.source("numbers", 0..2u64).consumer("store", |n| store(n));
}
