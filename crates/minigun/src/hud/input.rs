//! What a key asks for.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What the user asks of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Asks whether to stop the run.
    Quit,
    /// The answer that stops it.
    Yes,
    /// The answer that lets it go on.
    No,
    /// Closes what lies over the view.
    Back,
    Pause,
    /// The pane in focus gets the whole screen, or gives it back.
    Zoom,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    NextPane,
    PreviousPane,
    Details,
    Progress,
    Help,
    /// Draws every cell anew, over what else was printed.
    Redraw,
}

/// What each key does, as the help shows it.
pub(super) const KEYS: [(&str, &str); 10] = [
    ("q", "quit: asks whether to stop the run"),
    ("space", "pause the view; the run goes on"),
    ("arrows, wasd", "scroll; in the graph: pan"),
    ("page up, down", "scroll by ten"),
    ("tab", "the next pane"),
    ("z", "zoom: the pane alone, and back"),
    ("enter", "details of the stage chosen"),
    ("p", "progress"),
    ("ctrl-l", "draw everything anew"),
    ("?", "this help"),
];

/// The action of a key.
pub(super) fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('y') => Action::Yes,
        KeyCode::Char('n') => Action::No,
        KeyCode::Esc => Action::Back,
        KeyCode::Char(' ') => Action::Pause,
        KeyCode::Up | KeyCode::Char('w') => Action::Up,
        KeyCode::Down | KeyCode::Char('s') => Action::Down,
        KeyCode::Left | KeyCode::Char('a') => Action::Left,
        KeyCode::Right | KeyCode::Char('d') => Action::Right,
        KeyCode::Char('z') => Action::Zoom,
        KeyCode::PageUp => Action::PageUp,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::Tab => Action::NextPane,
        KeyCode::BackTab => Action::PreviousPane,
        KeyCode::Enter => Action::Details,
        KeyCode::Char('p') => Action::Progress,
        KeyCode::Char('?') => Action::Help,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(code: KeyCode, modifiers: KeyModifiers) -> Option<Action> {
        action(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn every_key_has_its_action_and_other_keys_have_none() {
        for (code, expected) in [
            (KeyCode::Char('q'), Action::Quit),
            (KeyCode::Char(' '), Action::Pause),
            (KeyCode::Char('w'), Action::Up),
            (KeyCode::Up, Action::Up),
            (KeyCode::Char('d'), Action::Right),
            (KeyCode::Tab, Action::NextPane),
            (KeyCode::BackTab, Action::PreviousPane),
            (KeyCode::Char('z'), Action::Zoom),
            (KeyCode::Char('a'), Action::Left),
            (KeyCode::Char('s'), Action::Down),
            (KeyCode::Left, Action::Left),
            (KeyCode::Right, Action::Right),
            (KeyCode::Down, Action::Down),
            (KeyCode::PageUp, Action::PageUp),
            (KeyCode::PageDown, Action::PageDown),
            (KeyCode::Esc, Action::Back),
            (KeyCode::Char('y'), Action::Yes),
            (KeyCode::Char('n'), Action::No),
            (KeyCode::Enter, Action::Details),
            (KeyCode::Char('p'), Action::Progress),
            (KeyCode::Char('?'), Action::Help),
        ] {
            assert_eq!(pressed(code, KeyModifiers::NONE), Some(expected));
        }
        assert_eq!(pressed(KeyCode::Char('?'), KeyModifiers::SHIFT), Some(Action::Help));
        assert_eq!(pressed(KeyCode::Char('x'), KeyModifiers::NONE), None);
        assert_eq!(pressed(KeyCode::F(1), KeyModifiers::NONE), None);
    }

    #[test]
    fn in_raw_mode_the_terminals_interrupt_is_a_key_and_asks_as_q_does() {
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(pressed(KeyCode::Char('q'), KeyModifiers::CONTROL), None);
    }
}
