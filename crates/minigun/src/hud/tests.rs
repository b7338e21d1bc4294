//! The view as it is drawn: small, wide and deep graphs; running, stopping, finished and failed; on screens of
//! several sizes. `INSTA_UPDATE=always` writes the pictures anew.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::draw;
use super::input::{KEYS, action};
use super::model::{FailureView, ProgressView, QueueView, RunState, StageView, Status, View, WorkerView};
use super::sample::Sampler;
use super::ui::{Effect, Over, Pane, Ui};
use crate::{Pipeline, merge, processes, threads};

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

/// The view of a run of this pipeline that is over, without what differs from run to run.
fn of_a_run(p: Pipeline) -> View {
    let running = p.start().unwrap();
    let mut sampler = Sampler::new(running.handle());
    drop(running.join().unwrap());
    let mut view = sampler.view().clone();
    view.elapsed = Duration::ZERO;
    view.stages.iter_mut().for_each(|stage| {
        (stage.p50, stage.p99, stage.busy) = (None, None, Duration::ZERO);
        stage.history.clear();
    });
    view.workers.clear();
    view
}

/// A run that is over, as it ended.
fn over(mut view: View, state: RunState) -> View {
    view.state = state;
    view.stages.iter_mut().for_each(|stage| {
        (stage.status, stage.rate, stage.queue) = (Status::Ended, 0.0, None);
    });
    view
}

fn broken() -> RunState {
    RunState::Failed("stage `parse` failed on item 811 (attempt 2): no digit\n  more".to_string())
}

#[test]
fn a_loop_as_a_pipeline_makes_it() {
    let p = Pipeline::new("crawl");
    let _pages = p
        .source("seeds", [20u64])
        .feedback("frontier", |pages, again| {
            pages.on(threads(2), |s| s.map("fetch", |page| page)).on(processes(1), |s| {
                s.processor_to("links", &again, |page: u64, out, again| {
                    (page > 0).then(|| again.emit(page / 2));
                    out.emit(page);
                })
            })
        })
        .collect("pages");
    insta::assert_snapshot!(picture(&of_a_run(p), &Ui::default(), (90, 40)));
}

#[test]
fn splits_and_keys_as_a_pipeline_makes_them() {
    let p = Pipeline::new("splits");
    let [x, y, z] = p.source("ten", 0..12u64).round_robin();
    let (even, odd) = x.partition("even?", |n| n % 2 == 0);
    let by_key = y.on(threads(3).by_key(|n: &u64| n % 3), |s| s.map("keyed", |n| n));
    let _all = merge([by_key, z, even]).collect("all");
    odd.discard();
    insta::assert_snapshot!(picture(&of_a_run(p), &Ui::default(), (110, 36)));
}

#[test]
fn a_diamond_as_a_pipeline_makes_it() {
    let p = Pipeline::new("diamond");
    let start = p.source("start", [1]);
    let a = start.clone().threads(2, |s| s.map("a", |n| n + 1));
    let b = start.processes(1, |s| s.map("b", |n| n + 2));
    let d = a.clone().map("d", |n| n + 20);
    let _end = merge([a, b]).map("c", |n| n + 10).merge(d).collect("end");
    insta::assert_snapshot!(picture(&of_a_run(p), &Ui::default(), (90, 36)));
}

#[test]
fn a_wide_graph_that_has_finished_and_one_that_has_failed() {
    for (name, state) in [("finished", RunState::Finished), ("failed", broken())] {
        let picture = picture(&over(wide(), state), &Ui::default(), (140, 24));
        insta::assert_snapshot!(format!("wide_{name}"), picture);
    }
}

#[test]
fn a_deep_graph_that_has_finished_and_one_that_has_failed() {
    for (name, state) in [("finished", RunState::Finished), ("failed", broken())] {
        let picture = picture(&over(deep(), state), &Ui::default(), (80, 24));
        insta::assert_snapshot!(format!("deep_{name}"), picture);
    }
}

#[test]
fn wide_and_deep_graphs_on_the_smallest_screen() {
    for (name, view) in [("wide", wide()), ("deep", deep())] {
        insta::assert_snapshot!(format!("smallest_{name}"), picture(&view, &Ui::default(), (60, 10)));
    }
}

/// As a terminal sends them.
fn press(ui: &mut Ui, view: &View, code: KeyCode) -> Effect {
    let action = action(KeyEvent::new(code, KeyModifiers::NONE));
    ui.act(action.expect("a key of the help"), view)
}

#[test]
fn the_stage_chosen_is_in_sight_in_the_graph_unless_it_was_moved_by_hand() {
    let (view, size) = (wide(), (80, 20));
    let name_in_graph = |ui: &Ui, name: &str| {
        let picture = picture(&view, ui, size);
        picture.lines().any(|line| line.split('┃').next().unwrap_or("").contains(&format!("─ {name} ─")))
    };
    for (selected, name) in [(0, "route"), (1, "jpeg"), (6, "raw"), (7, "write")] {
        let mut ui = Ui { selected, ..Ui::default() };
        assert!(name_in_graph(&ui, name), "{name}");
        (ui.focus, ui.pan) = (Pane::Graph, (0, 0));
        ui.act(super::input::Action::Right, &view);
        assert!(!name_in_graph(&ui, name), "{name} is not brought back");
    }
}

#[test]
fn each_pane_may_have_the_screen_alone() {
    let mut ui = Ui { zoomed: true, ..Ui::default() };
    for (pane, title) in [
        (Pane::Graph, "┏ graph ━"),
        (Pane::Stages, "┏ stages ━"),
        (Pane::Workers, "┏ workers 2 ━"),
        (Pane::Failures, "┏ last failures ━"),
    ] {
        ui.focus = pane;
        let picture = picture(&small(), &ui, (60, 10));
        assert!(picture.starts_with(title) && picture.matches('┏').count() == 1, "{picture}");
        assert!(!picture.contains('┌') && picture.contains("RUNNING"), "{picture}");
    }
}

#[test]
fn every_key_of_the_help_changes_what_is_shown_as_it_says() {
    let (view, size) = (deep(), (90, 24));
    let mut ui = Ui::default();
    let shows = |ui: &Ui| picture(&view, ui, size);
    let mut changed = |codes: &[KeyCode], text: &str| {
        for code in codes {
            let before = shows(&ui);
            assert_eq!(press(&mut ui, &view, *code), Effect::None);
            let after = shows(&ui);
            assert_ne!(before, after, "{code:?} changes something");
            assert!(after.contains(text), "{code:?}: nothing like `{text}` in\n{after}");
            ui.over = None;
        }
    };
    changed(&[KeyCode::Char('?')], KEYS[0].1);
    changed(&[KeyCode::Char('q')], "Stop the run of `crawl`?");
    changed(&[KeyCode::Char(' ')], "VIEW PAUSED");
    changed(&[KeyCode::Enter], "from");
    changed(&[KeyCode::Char('p')], "under way");
    changed(&[KeyCode::Char('z')], "┏ stages ━");
    changed(&[KeyCode::Char('z')], "┌ graph ─");
    changed(&[KeyCode::Tab], "┏ workers");
    changed(&[KeyCode::BackTab], "┏ stages");
    let selected = |ui: &mut Ui, code| {
        press(ui, &view, code);
        ui.selected
    };
    let all = [
        (KeyCode::Down, 1),
        (KeyCode::Char('s'), 2),
        (KeyCode::Up, 1),
        (KeyCode::Char('w'), 0),
        (KeyCode::PageDown, 10),
        (KeyCode::PageUp, 0),
    ];
    all.into_iter().for_each(|(code, stage)| assert_eq!(selected(&mut ui, code), stage, "{code:?}"));
    // The graph is panned, and no further than to its ends.
    let (view, size) = (wide(), (90, 24));
    let mut ui = Ui { focus: Pane::Graph, panned: true, ..Ui::default() };
    let first = |ui: &mut Ui, code| {
        press(ui, &view, code);
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| draw(frame, &view, ui)).unwrap();
        ui.pan
    };
    assert_eq!(first(&mut ui, KeyCode::Char('d')), (4, 0));
    assert_eq!(first(&mut ui, KeyCode::Right), (8, 0));
    assert_eq!(first(&mut ui, KeyCode::Char('a')), (4, 0));
    assert_eq!(first(&mut ui, KeyCode::Left), (0, 0));
    assert_eq!(first(&mut ui, KeyCode::Left), (0, 0));
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
    let ui = Ui { focus: Pane::Graph, pan: (20, 0), panned: true, ..Ui::default() };
    insta::assert_snapshot!(picture(&wide(), &ui, (80, 24)));
}

#[test]
fn a_deep_graph_with_a_loop() {
    insta::assert_snapshot!(picture(&deep(), &Ui::default(), (110, 60)));
}

#[test]
fn a_deep_graph_is_scrolled_to_its_end_and_no_further() {
    let ui = Ui { focus: Pane::Graph, pan: (0, 1000), panned: true, selected: 11, ..Ui::default() };
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
    view.state = broken();
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
