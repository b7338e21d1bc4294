//! Heavy work in batches, run in several places: only a word in the configuration says where.
//!
//! ```text
//! cargo run --release --example heavy_work
//! cargo run --release --example heavy_work -- threads:8 processes:8   # compare your own
//! ```
//!
//! The work is the Mandelbrot set, some rows to a batch. All places must draw the same picture.

use std::env;
use std::time::{Duration, Instant};

use minigun::{Error, Executor, Pipeline};

const WIDTH: usize = 1200;
const HEIGHT: usize = 800;
const ROWS_PER_BATCH: usize = 20;
const LIMIT: u32 = 1000;

/// Iterations per point, row by row.
type Picture = Vec<Vec<u32>>;

fn main() -> Result<(), Error> {
    let mut places: Vec<String> = env::args().skip(1).collect();
    if places.is_empty() {
        places = ["inline", "threads:2", "processes:2", "process_per_batch:2"].map(String::from).into();
    }
    // All names are read before any work is done.
    let executors = places.iter().map(|place| place.parse()).collect::<Result<Vec<Executor>, Error>>()?;

    let begun = Instant::now();
    let expected: Picture = (0..HEIGHT).map(row).collect();
    let alone = begun.elapsed();
    show(&expected);
    println!("{:<20} {:>8.1?}", "no pipeline", alone);

    for (place, executor) in places.iter().zip(executors) {
        let (picture, took) = draw(executor)?;
        assert!(picture == expected, "{place} drew another picture");
        println!("{place:<20} {took:>8.1?}   {:.2} times as fast", alone.as_secs_f64() / took.as_secs_f64());
    }
    println!("all pictures are the same");
    Ok(())
}

fn draw(executor: Executor) -> Result<(Picture, Duration), Error> {
    let begun = Instant::now();
    let p = Pipeline::new("mandelbrot");
    let rows = p
        .source("rows", 0..HEIGHT)
        .batch(ROWS_PER_BATCH)
        .on(executor, |s| {
            s.map("iterate", |batch: Vec<usize>| batch.into_iter().map(|y| (y, row(y))).collect::<Vec<_>>())
        })
        .unbatch()
        .collect("image");
    let mut rows = p.run()?.take(rows);
    rows.sort_unstable_by_key(|&(y, _)| y); // blocks do not keep the order unless they are `ordered()`
    Ok((rows.into_iter().map(|(_, row)| row).collect(), begun.elapsed()))
}

/// One row of points: how many steps until they escape.
fn row(y: usize) -> Vec<u32> {
    let ci = (y as f64 / HEIGHT as f64 - 0.5) * 2.4;
    let escape = |x: usize| {
        let cr = (x as f64 / WIDTH as f64) * 3.4 - 2.4;
        let (mut r, mut i) = (0.0, 0.0);
        (0..LIMIT).find(|_| {
            (r, i) = (r * r - i * i + cr, 2.0 * r * i + ci);
            r * r + i * i > 4.0
        })
    };
    (0..WIDTH).map(|x| escape(x).unwrap_or(LIMIT)).collect()
}

fn show(picture: &Picture) {
    for row in picture.iter().step_by(HEIGHT / 20) {
        let shade = |&steps: &u32| match steps {
            0..4 => ' ',
            4..8 => '.',
            8..LIMIT => '+',
            _ => '#',
        };
        println!("{}", row.iter().step_by(WIDTH / 60).map(shade).collect::<String>());
    }
}
