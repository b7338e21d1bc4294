//! One pipeline, drawn three ways: boxes and arrows for a terminal, Mermaid for Markdown, DOT for Graphviz.
//!
//! ```text
//! cargo run --example drawings
//! cargo run --example drawings | sed -n '/^digraph/,/^}/p' | dot -Tsvg > pipeline.svg
//! ```
//!
//! A drawing is made of a pipeline before it runs, or of a run by its handle.

use minigun::{Dead, Pipeline, process_per_batch, threads};

fn main() -> Result<(), minigun::Error> {
    let p = Pipeline::new("newsletter");
    let (dead, letters) = p.inlet::<Dead<Vec<u32>>>("undeliverable");
    let (bounced, bounces) = p.inlet::<u32>("bounces");

    let readers = p.source("readers", 0..1000u32).merge(p.source("staff", 1000..1010u32));
    let (mails, statistics) =
        readers.threads(8, |s| s.filter("active", |id| id % 10 != 0).map("render", |id| id)).tee();
    mails.batch(100).on(process_per_batch(4).dead_letter(&dead), |s| {
        s.unbatch().on(threads(10), |s| {
            s.router("deliver", &bounced, |id, bounced| {
                if id % 7 == 0 {
                    bounced.emit(id)
                }
            })
        })
    });
    let lost =
        letters.flat_map("their readers", |letter| letter.item).merge(bounces).fold("lost", 0, |n, _| n + 1);
    let sent = statistics.fold("sent", 0, |n, _| n + 1);

    let drawing = p.drawing();
    println!("{drawing}");
    println!("{}", drawing.to_mermaid());
    println!("{}", drawing.to_dot());

    assert!(drawing.to_string().contains("router·process_per_batch:4/threads:10"));
    assert!(drawing.to_mermaid().contains("-->|\"bounces\"|"));
    assert!(drawing.to_dot().contains("[label=\"undeliverable\"]"));
    let mut report = p.run()?;
    let (sent, lost) = (report.take(sent), report.take(lost));
    assert_eq!((sent, lost), (909, 130));
    println!("{} stages drawn three ways; {sent} sent, {lost} of them bounced", report.stages().len());
    Ok(())
}
