//! Drawings: what was built is what is drawn, on a terminal, as Mermaid and as DOT.

mod common;

use common::within;
use minigun::{Dead, Pipeline, merge, process_per_batch, processes, threads};

fn lines(drawing: &str) -> Vec<&str> {
    drawing.lines().collect()
}

#[track_caller]
fn assert_drawn(p: &Pipeline, expected: &str) {
    let drawn = p.drawing().to_string();
    assert_eq!(lines(&drawn), lines(expected.trim_start_matches('\n')), "it is drawn:\n{drawn}");
}

fn diamond() -> Pipeline {
    let p = Pipeline::new("diamond");
    let (a, b) = p.source("start", [1]).tee();
    let (a, b) = (a.threads(2, |s| s.map("left", |n| n + 1)), b.processes(3, |s| s.map("right", |n| n * 2)));
    a.merge(b).processor("end", |n, out| out.emit(n)).consumer("print", drop::<i32>);
    p
}

#[test]
fn fan_out_and_fan_in_as_text() {
    assert_drawn(
        &diamond(),
        "
diamond
               ┌─────────┐
               │  start  │
               │ source  │
               └─────┬───┘
       ┌─────────────┴─────┐
       ▼                   ▼
┌───────────────┐  ┌─────────────────┐
│     left      │  │      right      │
│ map·threads:2 │  │ map·processes:3 │
└────────┬──────┘  └─────────┬───────┘
         └─────┬─────────────┘
               ▼
          ┌───────────┐
          │    end    │
          │ processor │
          └─────┬─────┘
                ▼
          ┌───────────┐
          │   print   │
          │ consumer  │
          └───────────┘
",
    );
}

#[test]
fn arrows_that_cross_and_arrows_that_skip_stages() {
    let p = Pipeline::new("crossing");
    let ((a, a2), (b, b2)) = (p.source("a", [1]).tee(), p.source("b", [2]).tee());
    let x = a.merge(b.map("c", |n| n)).processor("x", |n, out| out.emit(n));
    merge([x, a2, b2]).consumer("y", drop);
    assert_drawn(
        &p,
        "
crossing
                   ┌─────────┐
                   │    b    │
                   │ source  │
                   └─────┬───┘
                   ┌─────┴──┐
                   ▼        │
   ┌─────────┐   ┌─────┐    │
   │    a    │   │  c  │    │
   │ source  │   │ map │    │
   └─────┬───┘   └───┬─┘    │
    ┌────┴─────┐     │      │
    │          ├─────┘      │
    │          ▼            │
    │     ┌───────────┐     │
    │     │     x     │     │
    │     │ processor │     │
    │     └──────┬────┘     │
    └──────────┬─┴──────────┘
               ▼
          ┌───────────┐
          │     y     │
          │ consumer  │
          └───────────┘
",
    );
}

#[test]
fn as_mermaid_and_as_dot() {
    let p = Pipeline::new("a \"named\" pipeline");
    let (dead, letters) = p.inlet::<Dead<Vec<i32>>>("dead");
    let (odd, odds) = p.inlet::<i32>("odd <ones>");
    p.source("numbers", 0..10).batch(3).on(process_per_batch(4).dead_letter(&dead), |s| {
        s.unbatch().on(threads(2), |s| {
            s.router("sort", &odd, |n, odd| {
                if n % 2 == 1 {
                    odd.emit(n)
                }
            })
        })
    });
    odds.consumer("print #1", drop);
    letters.on(processes(2), |s| s.consumer("report", drop));
    assert_eq!(
        p.drawing().to_mermaid(),
        "\
flowchart TD
  s0[\"numbers<br/>source\"]
  s1[\"batch<br/>batch\"]
  s4[\"print #35;1<br/>consumer\"]
  subgraph b0 [\"process_per_batch:4\"]
    s2[\"unbatch<br/>unbatch\"]
    subgraph b1 [\"threads:2\"]
      s3[\"sort<br/>router\"]
    end
  end
  subgraph b2 [\"processes:2\"]
    s5[\"report<br/>consumer\"]
  end
  s0 --> s1
  s1 --> s2
  s2 --> s3
  s2 -->|\"dead\"| s5
  s3 -->|\"odd #60;ones#62;\"| s4
"
    );
    assert_eq!(
        p.drawing().to_dot(),
        "\
digraph \"a \\\"named\\\" pipeline\" {
  node [shape=box];
  s0 [label=\"numbers\\nsource\"];
  s1 [label=\"batch\\nbatch\"];
  s4 [label=\"print #1\\nconsumer\"];
  subgraph cluster_0 { label=\"process_per_batch:4\";
    s2 [label=\"unbatch\\nunbatch\"];
    subgraph cluster_1 { label=\"threads:2\";
      s3 [label=\"sort\\nrouter\"];
    }
  }
  subgraph cluster_2 { label=\"processes:2\";
    s5 [label=\"report\\nconsumer\"];
  }
  s0 -> s1;
  s1 -> s2;
  s2 -> s3;
  s2 -> s5 [label=\"dead\"];
  s3 -> s4 [label=\"odd <ones>\"];
}
"
    );
}

#[test]
fn a_run_is_drawn_with_the_workers_it_was_given() {
    within("given", || {
        let p = Pipeline::new("given");
        p.max_threads(2);
        p.source("in", 0..3).threads(8, |s| s.map("same", |n| n)).discard();
        assert!(p.drawing().to_string().contains("threads:8"));
        let running = p.start().unwrap();
        assert!(running.handle().drawing().to_string().contains("threads:2"));
        running.join().unwrap();
    });
}

#[test]
fn a_pipeline_without_stages_is_only_its_name() {
    assert_drawn(&Pipeline::new("nothing"), "nothing\n");
    assert_eq!(Pipeline::new("nothing").drawing().to_mermaid(), "flowchart TD\n");
}

/// The way back is told below, and each branch of a split is an arrow of its own.
#[test]
fn splits_ports_and_a_loop_as_text() {
    let p = Pipeline::new("crawl");
    let (dead, letters) = p.inlet::<u32>("dead");
    let [one, two] = p
        .source("seeds", 0..3u32)
        .feedback("frontier", |flow, again| {
            flow.dedup_by(|n| *n).threads(2, |s| {
                s.processor_to("fetch", (&again, &dead), |n, out, (again, dead)| match n {
                    0 => dead.emit(n),
                    n if n % 2 == 0 => again.emit(n / 2),
                    n => out.emit(n),
                })
            })
        })
        .round_robin();
    let _ = (one.merge(two.map("two", |n| n)).collect("out"), letters.collect("lost"));
    assert_drawn(
        &p,
        "
crawl
           ┌─────────┐
           │  seeds  │
           │ source  │
           └────┬────┘
                ▼
          ┌───────────┐
          │ frontier  │
          │ feedback  │
          └─────┬─────┘
                ▼
          ┌───────────┐
          │ dedup_by  │
          │ dedup_by  │
          └─────┬─────┘
                ▼
     ┌─────────────────────┐
     │        fetch        │
     │ processor·threads:2 │
     └───────────┬─────────┘
       ┌─────────┴─────┐
       ▼               ▼
 ┌─────────────┐   ┌─────────┐
 │ round_robin │   │  lost   │
 │ round_robin │   │ collect │
 └───────┬─────┘   └─────────┘
   ┌─────┴──┐
   ▼        │
 ┌─────┐    │
 │ two │    │
 │ map │    │
 └───┬─┘    │
     └─┬────┘
       ▼
   ┌─────────┐
   │   out   │
   │ collect │
   └─────────┘
↺ from `fetch` back to `frontier`
",
    );
    let mermaid = p.drawing().to_mermaid();
    for arrow in ["s3 -->|\"frontier\"| s1", "s3 -->|\"dead\"| s7", "s4 --> s5", "s4 --> s6", "s5 --> s6"] {
        assert!(mermaid.lines().any(|line| line.trim() == arrow), "{arrow}: {mermaid}");
    }
}
