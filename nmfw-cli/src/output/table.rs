//! [`Table`]: aligned columns.

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::text::{FAINT, STRONG, peer};

/// The spaces between columns.
const GAP: usize = 2;

/// The least width to which the last column is cut, so that it says something.
const MIN_LAST: usize = 8;

/// A table with one line per row.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Column {
    title: &'static str,
    is_number: bool,
}

/// A cell: text of this program, or escaped text of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: Style::new(),
        }
    }

    /// Creates a cell with a text of a peer.
    pub(crate) fn peer(text: &str) -> Self {
        Self::new(peer(text))
    }

    /// Creates a cell for a value that is not known.
    pub(crate) fn unknown() -> Self {
        Self::new("-").style(FAINT)
    }

    pub(crate) fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

impl<T: std::fmt::Display> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::unknown, |value| Self::new(value.to_string()))
    }
}

impl Table {
    /// Creates a table. Titles that begin with `#` are those of numbers, which are aligned right.
    pub(crate) fn new<const N: usize>(titles: [&'static str; N]) -> Self {
        let column = |title: &'static str| Column {
            title: title.trim_start_matches('#'),
            is_number: title.starts_with('#'),
        };
        Self {
            columns: titles.into_iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Removes the column with this title.
    pub(crate) fn remove(&mut self, title: &str) {
        if let Some(at) = self.columns.iter().position(|column| column.title == title) {
            self.columns.remove(at);
            for row in &mut self.rows {
                row.remove(at);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the lines of the table. If the terminal is too narrow, the last column is cut.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let widths: Vec<_> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                let widest = cells.map(|cell| cell.text.width()).max();
                widest.unwrap_or(0).max(column.title.width())
            })
            .collect();
        let before_last: usize = widths.iter().rev().skip(1).map(|width| width + GAP).sum();
        let room = width.map(|width| width.saturating_sub(before_last).max(MIN_LAST));
        let mut out = String::new();
        let titles = self
            .columns
            .iter()
            .map(|column| Cell::new(column.title).style(STRONG));
        let has_titles = self.columns.iter().any(|column| !column.title.is_empty());
        if has_titles {
            self.line(&mut out, &titles.collect::<Vec<_>>(), &widths, room);
        }
        for row in &self.rows {
            self.line(&mut out, row, &widths, room);
        }
        out
    }

    fn line(&self, out: &mut String, cells: &[Cell], widths: &[usize], room: Option<usize>) {
        let last = self.columns.len().saturating_sub(1);
        for (at, ((cell, width), column)) in cells.iter().zip(widths).zip(&self.columns).enumerate()
        {
            let style = cell.style;
            let text = match room {
                Some(room) if at == last => cut(&cell.text, room),
                _ => cell.text.clone(),
            };
            let pad = " ".repeat(width.saturating_sub(text.width()));
            match column.is_number {
                true => out.push_str(&format!("{pad}{style}{text}{style:#}")),
                // Nothing follows the last column, so that lines have no blanks at their ends.
                false if at == last => out.push_str(&format!("{style}{text}{style:#}")),
                false => out.push_str(&format!("{style}{text}{style:#}{pad}")),
            }
            if at < last {
                out.push_str(&" ".repeat(GAP));
            }
        }
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
}

/// Cuts a text to a width.
fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if short.width() > room.saturating_sub(1) {
            short.pop();
            break;
        }
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["SERVICE", "#CALLS", "TEXT"]);
        table.row([Cell::new("calc"), Cell::new("7"), Cell::new("adds numbers")]);
        table.row([
            Cell::peer("a\u{1b}[31m日本"),
            Cell::new("12345678"),
            Cell::new("-"),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        let text = anstream::adapter::strip_str(&table().render(None)).to_string();
        assert_eq!(
            text,
            "SERVICE             CALLS  TEXT\n\
             calc                    7  adds numbers\n\
             a\\u{1b}[31m日本  12345678  -\n"
        );
    }

    #[test]
    fn the_last_column_is_cut() {
        let text = anstream::adapter::strip_str(&table().render(Some(35))).to_string();
        assert!(text.contains("  adds nu…\n"), "{text}");
    }
}
