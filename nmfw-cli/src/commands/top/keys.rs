//! [`Keys`]: the effects of keys.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Moves the selection by rows; negative numbers move up.
    Move(isize),
    First,
    Last,
    /// Opens the selected service.
    Open,
    /// Closes what is open: help, filter, service.
    Back,
    /// Changes between the methods and instances of a service.
    Switch,
    Sort,
    Reverse,
    Pause,
    Help,
    /// Begins to type a filter.
    Filter,
    Type(char),
    Erase,
    /// Ends typing, and keeps the filter.
    Keep,
    /// Draws anew, for a terminal of another size.
    Redraw,
}

/// The keys, as the help lists them.
pub(super) const HELP: [(&str, &str); 11] = [
    ("Up, Down, j, k", "select a row"),
    ("PgUp, PgDn, g, G", "select a row further away"),
    ("Enter", "open the service"),
    ("Tab", "change between its methods and instances"),
    ("Esc", "go back, or remove the filter"),
    ("/", "filter by name"),
    ("s", "sort by the next column"),
    ("r", "reverse the order"),
    ("p, Space", "pause, and go on"),
    ("?", "show this help"),
    ("q, Ctrl-C", "quit"),
];

/// The rows of a page.
const PAGE: isize = 10;

/// The keyboard.
#[derive(Debug)]
pub(super) struct Keys;

impl Keys {
    /// Returns what an event does, if anything. While a filter is typed, most keys are text.
    pub(super) fn action(event: &Event, is_typing: bool) -> Option<Action> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => Self::key(key, is_typing),
            Event::Resize(..) => Some(Action::Redraw),
            _ => None,
        }
    }

    fn key(key: &KeyEvent, is_typing: bool) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Action::Quit);
        }
        if is_typing {
            return match key.code {
                KeyCode::Char(c) => Some(Action::Type(c)),
                KeyCode::Backspace => Some(Action::Erase),
                KeyCode::Enter => Some(Action::Keep),
                KeyCode::Esc => Some(Action::Back),
                _ => None,
            };
        }
        Some(match key.code {
            KeyCode::Char('q') => Action::Quit,
            KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
            KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
            KeyCode::PageUp => Action::Move(-PAGE),
            KeyCode::PageDown => Action::Move(PAGE),
            KeyCode::Home | KeyCode::Char('g') => Action::First,
            KeyCode::End | KeyCode::Char('G') => Action::Last,
            KeyCode::Enter | KeyCode::Right => Action::Open,
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Action::Back,
            KeyCode::Tab => Action::Switch,
            KeyCode::Char('s') => Action::Sort,
            KeyCode::Char('r') => Action::Reverse,
            KeyCode::Char('p' | ' ') => Action::Pause,
            KeyCode::Char('?' | 'h') => Action::Help,
            KeyCode::Char('/') => Action::Filter,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text_while_a_filter_is_typed() {
        let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        let q = key(KeyCode::Char('q'));
        assert_eq!(Keys::action(&q, false), Some(Action::Quit));
        assert_eq!(Keys::action(&q, true), Some(Action::Type('q')));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(
            Keys::action(&Event::Key(interrupt), true),
            Some(Action::Quit)
        );
        assert_eq!(Keys::action(&key(KeyCode::F(1)), false), None);
    }
}
