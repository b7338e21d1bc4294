//! What the user has chosen to see: which pane, which stage, how far scrolled, and what lies over it.

use super::input::Action;
use super::model::View;

/// The state of the view's controls. Drawing brings back the graph that was moved out of sight, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ui {
    pub(super) focus: Pane,
    pub(super) over: Option<Over>,
    pub(super) paused: bool,
    /// The pane in focus has the whole screen.
    pub(super) zoomed: bool,
    /// The stage chosen, by its place.
    pub(super) selected: usize,
    /// How far the graph is moved, in columns and rows.
    pub(super) pan: (i32, i32),
    /// By hand: until another stage is chosen, it is not moved to show the one that is.
    pub(super) panned: bool,
    pub(super) workers: usize,
    /// The first failure shown, and its first column.
    pub(super) failures: (usize, usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    Graph,
    #[default]
    Stages,
    Workers,
    Failures,
}

/// What lies over the panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Help,
    /// Whether to stop the run.
    Quit,
    Details,
    Progress,
}

/// What an action asks beyond the view itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Redraw,
    /// The view closes, the run goes on.
    Close,
    /// The run is stopped, and the view closes.
    StopAndClose,
}

/// Columns of a sideways step; rows of a page.
const STEP: i32 = 4;
const PAGE: i32 = 10;

impl Ui {
    /// Takes an action; `view` is what is shown.
    pub(super) fn act(&mut self, action: Action, view: &View) -> Effect {
        if self.over == Some(Over::Quit) {
            return self.answer(action);
        }
        match action {
            Action::Quit if view.state.is_over() => return Effect::Close,
            Action::Quit => self.over = Some(Over::Quit),
            Action::Redraw => return Effect::Redraw,
            Action::Back => self.over = None,
            Action::Help => self.turn(Over::Help),
            Action::Details => self.turn(Over::Details),
            Action::Progress => self.turn(Over::Progress),
            Action::Pause => self.paused = !self.paused,
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::NextPane => self.focus = self.focus.next(1),
            Action::PreviousPane => self.focus = self.focus.next(3),
            Action::Up => self.scroll((0, -1), view),
            Action::Down => self.scroll((0, 1), view),
            Action::Left => self.scroll((-STEP, 0), view),
            Action::Right => self.scroll((STEP, 0), view),
            Action::PageUp => self.scroll((0, -PAGE), view),
            Action::PageDown => self.scroll((0, PAGE), view),
            Action::Yes | Action::No => {}
        }
        Effect::None
    }

    /// The question is open: nothing but its answer is taken.
    fn answer(&mut self, action: Action) -> Effect {
        match action {
            Action::Yes => Effect::StopAndClose,
            Action::No => Effect::Close,
            Action::Back | Action::Quit => {
                self.over = None;
                Effect::None
            }
            _ => Effect::None,
        }
    }

    fn turn(&mut self, over: Over) {
        self.over = (self.over != Some(over)).then_some(over);
    }

    fn scroll(&mut self, (x, y): (i32, i32), view: &View) {
        let within =
            |at: usize, by: i32, len: usize| at.saturating_add_signed(by as isize).min(len.saturating_sub(1));
        match self.focus {
            Pane::Graph => (self.pan, self.panned) = ((self.pan.0 + x, self.pan.1 + y), true),
            Pane::Stages => {
                (self.selected, self.panned) = (within(self.selected, y, view.stages.len()), false);
            }
            Pane::Workers => self.workers = within(self.workers, y, view.workers.len()),
            Pane::Failures => {
                self.failures.0 = within(self.failures.0, y, view.failures.len());
                let longest = view.failures.iter().map(|failure| failure.error.len()).max().unwrap_or(0);
                self.failures.1 = within(self.failures.1, x, longest);
            }
        }
    }
}

impl Pane {
    fn next(self, by: usize) -> Pane {
        const PANES: [Pane; 4] = [Pane::Graph, Pane::Stages, Pane::Workers, Pane::Failures];
        let at = PANES.iter().position(|pane| *pane == self).unwrap_or(0);
        PANES[(at + by) % PANES.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{RunState, StageView};
    use super::*;

    fn view(stages: usize) -> View {
        View { stages: vec![StageView::default(); stages], ..View::default() }
    }

    #[test]
    fn quitting_asks_and_only_an_answer_is_taken() {
        let (mut ui, view) = (Ui::default(), view(2));
        assert_eq!(ui.act(Action::Quit, &view), Effect::None);
        assert_eq!(ui.act(Action::Pause, &view), Effect::None);
        assert!(!ui.paused, "the question is open");
        assert_eq!(ui.act(Action::Back, &view), Effect::None);
        assert_eq!(ui.over, None);
        ui.act(Action::Quit, &view);
        assert_eq!(ui.clone().act(Action::No, &view), Effect::Close);
        assert_eq!(ui.act(Action::Yes, &view), Effect::StopAndClose);
    }

    #[test]
    fn a_run_that_is_over_is_left_without_a_question() {
        let mut view = view(1);
        view.state = RunState::Finished;
        assert_eq!(Ui::default().act(Action::Quit, &view), Effect::Close);
    }

    #[test]
    fn scrolling_ends_at_the_ends_and_goes_to_the_pane_in_focus() {
        let (mut ui, view) = (Ui::default(), view(3));
        for action in [Action::Up, Action::Down, Action::PageDown] {
            ui.act(action, &view);
        }
        assert_eq!((ui.selected, ui.pan), (2, (0, 0)));
        ui.act(Action::PreviousPane, &view);
        assert_eq!(ui.focus, Pane::Graph);
        ui.act(Action::Right, &view);
        ui.act(Action::Down, &view);
        assert_eq!((ui.selected, ui.pan), (2, (STEP, 1)));
        for _ in 0..4 {
            ui.act(Action::NextPane, &view);
        }
        assert_eq!(ui.focus, Pane::Graph);
    }

    #[test]
    fn what_lies_over_the_view_is_closed_by_its_own_key_or_escape() {
        let (mut ui, view) = (Ui::default(), view(1));
        ui.act(Action::Help, &view);
        ui.act(Action::Progress, &view);
        assert_eq!(ui.over, Some(Over::Progress));
        ui.act(Action::Progress, &view);
        assert_eq!(ui.over, None);
        ui.act(Action::Details, &view);
        ui.act(Action::Back, &view);
        assert_eq!(ui.over, None);
    }
}
