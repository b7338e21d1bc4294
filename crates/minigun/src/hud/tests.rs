//! The view as it is drawn: small, wide and deep graphs; running, stopping, finished and failed; on screens of
//! several sizes. `INSTA_UPDATE=always` writes the pictures anew.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::draw;
use super::model::{FailureView, ProgressView, QueueView, RunState, StageView, Status, View, WorkerView};
use super::ui::{Over, Pane, Ui};

fn picture(view: &View, ui: &Ui, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut ui = ui.clone();
    terminal.draw(|frame| draw(frame, view, &mut ui)).unwrap();
    let text = terminal.backend().to_string();
    // The backend puts every line into quotes, and notes behind them.
    let line = |line: &str| {
        line.get(1..line.rfind('"')?).and_then(|line| line.split('"').next().map(str::to_string))
    };
    text.lines().filter_map(line).map(|line| format!("{}\n", line.trim_end())).collect()
}

fn stage(name: &str, kind: &'static str, place: &str, items: u64, rate: f64) -> StageView {
    StageView {
        name: name.to_string(),
        kind,
        place: place.to_string(),
        status: if rate > 0.0 { Status::Working } else { Status::Idle },
        items_in: if kind == "source" { 0 } else { items },
        items_out: items,
        rate,
        history: (0..20).map(|at| rate * f64::from(at % 7 + 1)).collect(),
        p50: Some(Duration::from_micros(120)),
        p99: Some(Duration::from_micros(4300)),
        queue: (kind != "source").then_some(QueueView { depth: items % 1024, limit: 1024 }),
        ..StageView::default()
    }
}

/// Read, parse, store.
fn small() -> View {
    let mut parse = stage("parse", "try_map", "processes:2", 12_345, 431.0);
    (parse.skipped, parse.failed, parse.deaths) = (3, 4, 1);
    View {
        pipeline: "import".to_string(),
        elapsed: Duration::from_millis(42_500),
        stages: vec![
            stage("read", "source", "", 12_900, 440.0),
            parse,
            stage("store", "consumer", "threads:4", 12_340, 430.0),
        ],
        edges: vec![(0, 1), (1, 2)],
        workers: vec![
            WorkerView {
                pid: Some(4711),
                stage: "parse".to_string(),
                state: "busy".to_string(),
                items: 6172,
                memory: Some(23 << 20),
                restarts: 1,
            },
            WorkerView {
                stage: "store".to_string(),
                state: "waits".to_string(),
                items: 12_340,
                ..WorkerView::default()
            },
        ],
        failures: vec![FailureView {
            stage: "parse".to_string(),
            item: 811,
            attempts: 2,
            fate: "skipped".to_string(),
            error: "invalid digit found in string".to_string(),
        }],
        ..View::default()
    }
}

/// One router, six ways, and all of them come together.
fn wide() -> View {
    let mut stages = vec![stage("route", "source", "", 60_000, 6000.0)];
    let ways = ["jpeg", "png", "a long name that is cut", "gif", "文字列の段", "raw"];
    stages.extend(ways.map(|name| stage(name, "map", "threads:2", 10_000, 1000.0)));
    stages.push(stage("write", "consumer", "", 60_000, 6000.0));
    let edges = (1..=6).flat_map(|way| [(0, way), (way, 7)]).collect();
    View { pipeline: "pictures".to_string(), stages, edges, ..View::default() }
}

/// Twelve stages, one below the other, and a loop.
fn deep() -> View {
    let mut stages = vec![stage("seeds", "source", "", 10, 0.0)];
    stages.extend((1..12).map(|n| stage(&format!("step {n}"), "map", "inline", 1_000_000 >> n, 25.0)));
    let mut edges: Vec<_> = (0..11).map(|at| (at, at + 1)).collect();
    edges.push((6, 2));
    edges.push((1, 5));
    View { pipeline: "crawl".to_string(), stages, edges, ..View::default() }
}

#[test]
fn a_small_graph_running() {
    insta::assert_snapshot!(picture(&small(), &Ui::default(), (100, 30)));
}

#[test]
fn a_small_graph_on_the_smallest_screen() {
    insta::assert_snapshot!(picture(&small(), &Ui::default(), (60, 10)));
}

#[test]
fn on_the_smallest_screen_the_pane_in_focus_is_shown() {
    for (pane, shown) in [(Pane::Workers, "4711"), (Pane::Failures, "invalid digit"), (Pane::Stages, "items")]
    {
        let picture = picture(&small(), &Ui { focus: pane, ..Ui::default() }, (60, 10));
        assert!(picture.contains(shown), "{pane:?}:\n{picture}");
    }
}

#[test]
fn a_wide_graph() {
    insta::assert_snapshot!(picture(&wide(), &Ui::default(), (200, 30)));
}

#[test]
fn a_wide_graph_is_panned() {
    let ui = Ui { focus: Pane::Graph, pan: (20, 0), ..Ui::default() };
    insta::assert_snapshot!(picture(&wide(), &ui, (80, 24)));
}

#[test]
fn a_deep_graph_with_a_loop() {
    insta::assert_snapshot!(picture(&deep(), &Ui::default(), (110, 60)));
}

#[test]
fn a_deep_graph_is_scrolled_to_its_end_and_no_further() {
    let ui = Ui { focus: Pane::Graph, pan: (0, 1000), selected: 11, ..Ui::default() };
    insta::assert_snapshot!(picture(&deep(), &ui, (80, 24)));
}

#[test]
fn a_run_that_has_finished() {
    let mut view = small();
    view.state = RunState::Finished;
    view.stages.iter_mut().for_each(|stage| {
        (stage.status, stage.rate, stage.queue) = (Status::Ended, 0.0, None);
    });
    insta::assert_snapshot!(picture(&view, &Ui::default(), (100, 24)));
}

#[test]
fn a_run_that_has_failed() {
    let mut view = small();
    view.state =
        RunState::Failed("stage `parse` failed on item 811 (attempt 2): no digit\n  more".to_string());
    insta::assert_snapshot!(picture(&view, &Ui::default(), (100, 24)));
}

#[test]
fn what_lies_over_the_view() {
    let mut view = small();
    view.state = RunState::Stopping;
    let row =
        |name: &str, done, of, text: &str| ProgressView { name: name.into(), done, of, text: text.into() };
    view.progress = vec![
        row("read", 12_900, Some(20_000), "12,900 of 20,000, 440/s"),
        row("parse", 12_345, Some(20_000), "12,345 of 20,000, 431/s"),
        row("store", 12_340, None, "12,340, 430/s"),
    ];
    view.summary = "61 %, 0:17 left".to_string();
    for over in [Over::Help, Over::Quit, Over::Details, Over::Progress] {
        let ui = Ui { over: Some(over), selected: 1, paused: true, ..Ui::default() };
        insta::assert_snapshot!(format!("over_{over:?}").to_lowercase(), picture(&view, &ui, (90, 24)));
    }
}

#[test]
fn dots_move_along_the_lines_while_items_flow_and_stand_when_none_do() {
    let mut view = small();
    let dots = |view: &View| picture(view, &Ui::default(), (100, 30)).matches('•').count();
    let mut seen = std::collections::BTreeSet::new();
    for ms in (0..2000).step_by(66) {
        view.elapsed = Duration::from_millis(ms);
        seen.insert(dots(&view));
    }
    assert!(seen.len() > 1, "{seen:?}");
    view.stages.iter_mut().for_each(|stage| stage.rate = 0.0);
    assert_eq!(dots(&view), 0);
}

#[test]
fn any_screen_is_drawn_on_without_a_panic() {
    for view in [View::default(), small(), wide(), deep()] {
        for (width, height) in [(1, 1), (2, 3), (3, 40), (200, 2), (20, 5), (59, 9), (61, 18), (300, 100)] {
            for over in [None, Some(Over::Help), Some(Over::Details), Some(Over::Progress), Some(Over::Quit)]
            {
                for focus in [Pane::Graph, Pane::Stages, Pane::Workers, Pane::Failures] {
                    let ui = Ui { over, focus, selected: 7, failures: (3, 2), workers: 9, ..Ui::default() };
                    picture(&view, &ui, (width, height));
                }
            }
        }
    }
}
