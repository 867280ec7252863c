//! [`View`]: the part of the model that is shown.

use std::cmp::Ordering;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Cell, Clear, Paragraph, Row as Cells, Table, TableState},
};

use super::{
    cells::{SPARKS, cells},
    keys::{Action, HELP},
    model::{Group, Model, Row},
};
use crate::output::text::{count, peer};

/// The columns by which rows are sorted, in the order of their keys.
const SORTS: [&str; 6] = ["NAME", "RATE", "ERRORS", "LATENCY", "RUNNING", "WAITING"];

/// The column by which rows are sorted first: the rate.
const FIRST_SORT: usize = 1;

/// The longest filter, in characters.
const MAX_FILTER: usize = 64;

/// The width from which the version and the history are shown.
const WIDE: u16 = 100;

/// The selection, and how it is shown.
#[derive(Debug)]
pub(super) struct View {
    server: String,
    is_colored: bool,
    /// The service that is open.
    service: Option<String>,
    /// Whether the instances of the service are shown instead of its methods.
    by_instance: bool,
    sort: usize,
    is_reversed: bool,
    filter: String,
    is_typing: bool,
    is_paused: bool,
    has_help: bool,
    failure: Option<String>,
    table: TableState,
}

impl View {
    pub(super) fn new(server: &str, is_colored: bool) -> Self {
        Self {
            server: peer(server),
            is_colored,
            service: None,
            by_instance: false,
            sort: FIRST_SORT,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            has_help: false,
            failure: None,
            table: TableState::default().with_selected(0),
        }
    }

    pub(super) fn is_typing(&self) -> bool {
        self.is_typing
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Shows why the last query failed.
    pub(super) fn failed(&mut self, why: Option<&str>) {
        self.failure = why.map(peer);
    }

    pub(super) fn act(&mut self, action: Action, model: &Model) {
        match action {
            Action::Move(rows) => {
                let last = self.rows(model).len().saturating_sub(1);
                let at = self.table.selected().unwrap_or(0);
                self.table
                    .select(Some(at.saturating_add_signed(rows).min(last)));
            }
            Action::First => self.table.select(Some(0)),
            Action::Last => {
                let last = self.rows(model).len().saturating_sub(1);
                self.table.select(Some(last));
            }
            Action::Open if self.service.is_none() => {
                let rows = self.rows(model);
                let selected = self.table.selected().and_then(|at| rows.get(at));
                let name = selected.map(|(group, _)| group.names().0.to_owned());
                if name.is_some() {
                    self.service = name;
                    self.filter.clear();
                    self.table.select(Some(0));
                }
            }
            Action::Back => self.back(),
            Action::Switch if self.service.is_some() => {
                self.by_instance = !self.by_instance;
                self.table.select(Some(0));
            }
            Action::Sort => self.sort = (self.sort + 1) % SORTS.len(),
            Action::Reverse => self.is_reversed = !self.is_reversed,
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Help => self.has_help = !self.has_help,
            Action::Filter => self.is_typing = true,
            Action::Type(c) => {
                if self.filter.chars().count() < MAX_FILTER {
                    self.filter.push(c);
                    self.table.select(Some(0));
                }
            }
            Action::Erase => _ = self.filter.pop(),
            Action::Keep => self.is_typing = false,
            Action::Open | Action::Switch | Action::Quit | Action::Redraw => {}
        }
    }

    fn back(&mut self) {
        if self.has_help {
            self.has_help = false;
        } else if self.is_typing || !self.filter.is_empty() {
            self.is_typing = false;
            self.filter.clear();
        } else if self.service.take().is_some() {
            self.by_instance = false;
            self.table.select(Some(0));
        }
    }

    /// Returns the rows that are shown, in their order.
    fn rows<'a>(&self, model: &'a Model) -> Vec<(&'a Group, &'a Row)> {
        let filter = self.filter.to_lowercase();
        let is_shown = |group: &Group| {
            let is_level = match (&self.service, group) {
                (None, Group::Service(_)) => true,
                (Some(open), Group::Method(service, _)) => !self.by_instance && open == service,
                (Some(open), Group::Instance(service, _)) => self.by_instance && open == service,
                _ => false,
            };
            is_level && group.names().1.to_lowercase().contains(&filter)
        };
        let mut rows: Vec<_> = model.rows().filter(|(group, _)| is_shown(group)).collect();
        let by = |a: &Row, b: &Row| match SORTS.get(self.sort) {
            Some(&"RATE") => b.rate.total_cmp(&a.rate),
            Some(&"ERRORS") => b.error_rate.total_cmp(&a.error_rate),
            Some(&"LATENCY") => b.latency.cmp(&a.latency),
            Some(&"RUNNING") => b.running.cmp(&a.running),
            Some(&"WAITING") => b.waiting.cmp(&a.waiting),
            _ => Ordering::Equal,
        };
        // The sort is stable, and rows come in the order of their names.
        rows.sort_by(|(_, a), (_, b)| by(a, b));
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, model: &Model) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.head(model), head);
        let rows = self.rows(model);
        // Rows can be gone since the selection was made.
        let last = rows.len().saturating_sub(1);
        self.table
            .select(Some(self.table.selected().unwrap_or(0).min(last)));
        if rows.is_empty() {
            let text = match (model.is_known(), self.filter.is_empty()) {
                (false, _) => "asking ...",
                (true, true) => "no service answers",
                (true, false) => "no name has this filter; Esc removes it",
            };
            frame.render_widget(Paragraph::new(text).dim(), body);
        } else {
            let table = self.table(&rows, body.width);
            frame.render_stateful_widget(table, body, &mut self.table);
        }
        frame.render_widget(self.foot(), foot);
        if self.has_help {
            help(frame, body);
        }
        if !self.is_colored {
            for cell in &mut frame.buffer_mut().content {
                cell.set_fg(Color::Reset).set_bg(Color::Reset);
            }
        }
    }

    fn head(&self, model: &Model) -> Line<'static> {
        let services = model
            .rows()
            .filter(|(group, _)| matches!(group, Group::Service(_)))
            .count();
        let mut spans = vec![
            Span::from("nmfw top").bold(),
            Span::from(format!(
                "  {}  {}, {}",
                self.server,
                count(services, "service"),
                count(model.instances, "instance")
            )),
        ];
        if let Some(service) = &self.service {
            let what = if self.by_instance {
                "instances"
            } else {
                "methods"
            };
            spans.push(Span::from(format!("  > {} ({what})", peer(service))).cyan());
        }
        if model.invalid > 0 {
            let text = format!("  {} answers not valid", model.invalid);
            spans.push(Span::from(text).yellow());
        }
        if self.is_paused {
            spans.push(Span::from("  PAUSED").yellow().bold());
        }
        Line::from(spans)
    }

    fn foot(&self) -> Line<'static> {
        if self.is_typing {
            return Line::from(format!("/{}_", self.filter));
        }
        if let Some(failure) = &self.failure {
            return Line::from(failure.clone()).red();
        }
        let filter = match self.filter.is_empty() {
            true => String::new(),
            false => format!("  filter: {}", self.filter),
        };
        let keys = "Enter open  Tab switch  Esc back  / filter  s sort  p pause  ? help  q quit";
        Line::from(format!("{keys}{filter}")).dim()
    }

    fn table(&self, rows: &[(&Group, &Row)], width: u16) -> Table<'static> {
        let is_wide = width >= WIDE;
        let mut columns = vec![
            ("NAME", Constraint::Min(16)),
            ("INST", Constraint::Length(5)),
            ("RATE", Constraint::Length(9)),
            ("ERRORS", Constraint::Length(8)),
            ("LATENCY", Constraint::Length(8)),
            ("RUNNING", Constraint::Length(8)),
            ("WAITING", Constraint::Length(8)),
            ("HEALTH", Constraint::Length(7)),
        ];
        if is_wide {
            columns.push(("VERSION", Constraint::Length(12)));
            columns.push(("RATE OVER TIME", Constraint::Length(SPARKS as u16)));
        }
        let sorted = SORTS.get(self.sort).copied().unwrap_or_default();
        let titles = columns.iter().enumerate().map(|(at, (title, _))| {
            let mark = match (*title == sorted, self.is_reversed) {
                (false, _) => "",
                (true, false) => "▾",
                (true, true) => "▴",
            };
            let title = Line::from(format!("{title}{mark}"));
            let is_number = (1..7).contains(&at);
            Cell::from(if is_number {
                title.right_aligned()
            } else {
                title
            })
        });
        let titles = Cells::new(titles).bold();
        let widths = columns.iter().map(|(_, width)| *width);
        let rows = rows
            .iter()
            .map(|(group, row)| Cells::new(cells(group, row, is_wide)));
        Table::new(rows, widths)
            .header(titles)
            .row_highlight_style(match self.is_colored {
                true => Style::new()
                    .bg(Color::DarkGray)
                    .add_modifier(Modifier::BOLD),
                false => Style::new().add_modifier(Modifier::REVERSED),
            })
    }
}

fn help(frame: &mut Frame<'_>, body: Rect) {
    let lines = HELP.map(|(keys, what)| Line::from(format!(" {keys:<18} {what} ")));
    let (width, height) = (62.min(body.width), (HELP.len() as u16).min(body.height));
    let area = Rect::new(
        body.x + (body.width - width) / 2,
        body.y + (body.height - height) / 2,
        width,
        height,
    );
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines.to_vec()).reversed(), area);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::time::{Duration, Instant};

    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::commands::top::model::tests::survey;

    fn model(instances: usize) -> Model {
        let (mut model, start) = (Model::default(), Instant::now());
        for round in 0..8_u64 {
            let survey = survey(instances, round * round * 10);
            model.update(&survey, start + Duration::from_secs(round));
        }
        model
    }

    fn drawn(view: &mut View, model: &Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame, model)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn eighty_columns_are_enough() {
        let (mut view, model) = (View::new("n1", true), model(2));
        let text = drawn(&mut view, &model, 80, 24);
        for part in [
            "1 service, 2 instances",
            "260/s",
            "26/s",
            "2.00 ms",
            "ok",
            "q quit",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("VERSION"), "{text}");
        let wide = drawn(&mut view, &model, 140, 24);
        assert!(
            wide.contains("1.0.0, 1.0.1") && wide.contains('█'),
            "{wide}"
        );
    }

    #[test]
    fn colors_are_left_out() {
        let (mut view, model) = (View::new("n1", false), model(2));
        let mut terminal = Terminal::new(TestBackend::new(120, 24)).unwrap();
        terminal.draw(|frame| view.draw(frame, &model)).unwrap();
        let cells = &terminal.backend().buffer().content;
        assert!(
            cells
                .iter()
                .all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset))
        );
    }

    #[test]
    fn any_size_is_drawn() {
        let (mut view, model) = (View::new("n1", true), model(40));
        view.act(Action::Help, &model);
        for (width, height) in [(1, 1), (5, 3), (20, 5), (300, 100)] {
            drawn(&mut view, &model, width, height);
        }
    }

    #[test]
    fn services_are_opened_filtered_and_sorted() {
        let (mut view, model) = (View::new("n1", true), model(500));
        view.act(Action::Open, &model);
        let text = drawn(&mut view, &model, 80, 24);
        assert!(
            text.contains("> calc (methods)") && text.contains("Average"),
            "{text}"
        );
        view.act(Action::Switch, &model);
        let text = drawn(&mut view, &model, 80, 24);
        assert!(
            text.contains("ID0001") && !text.contains("ID0500"),
            "{text}"
        );
        view.act(Action::Last, &model);
        let text = drawn(&mut view, &model, 80, 24);
        assert!(text.contains("ID0500"), "{text}");
        view.act(Action::Filter, &model);
        "id0042"
            .chars()
            .for_each(|c| view.act(Action::Type(c), &model));
        view.act(Action::Keep, &model);
        assert_eq!(view.rows(&model).len(), 1);
        view.act(Action::Back, &model);
        assert_eq!(view.rows(&model).len(), 500);
        view.act(Action::Back, &model);
        assert!(view.service.is_none());
        for _ in SORTS {
            view.act(Action::Sort, &model);
            drawn(&mut view, &model, 80, 24);
        }
    }
}
