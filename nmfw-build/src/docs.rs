//! Converts comments in a `.proto` to documentation in Rust.
//!
//! Comments are written for people; rustdoc and clippy read them as Markdown with rules. Unchanged,
//! an indented example becomes a test that does not compile, a wrapped list item becomes a lint
//! error in the user's crate, and `Vec<T>` becomes an HTML tag. [`markdown`] rewrites a comment so
//! that it reads the same and has none of these effects.
//!
//! prost-build's feature `cleanup-markdown` does not replace it. Of 8,172 comments in 250 public
//! files, it leaves 27 with an HTML tag, which browsers hide, such as the `<K, V>` of a map, and 13
//! with a link that rustdoc looks up among Rust items. It turns a block of `rust` into a test that
//! fails if the block compiles, and keeps characters that rustc refuses.

use crate::inline;

/// Rewrites a comment as lines of Markdown, without the leading space of a doc comment.
///
/// The caller handles links: prost-build rewrites those in the comments of messages, and [`link`]
/// those of services.
pub(crate) fn markdown(comment: &str) -> Vec<String> {
    // Removes the second star of `/**`.
    let comment = comment.strip_prefix('*').unwrap_or(comment);
    let lines: Vec<String> = comment.lines().map(plain).collect();
    let base = lines
        .iter()
        .filter(|line| !line.is_empty())
        .map(|line| indent(line))
        .min()
        .unwrap_or(0);
    let mut writer = MarkdownWriter::default();
    for line in &lines {
        writer.line(line.get(base..).unwrap_or_default());
    }
    writer.finish()
}

/// Converts URLs to links and all other bracketed text to plain text, as prost-build does.
pub(crate) fn link(lines: Vec<String>) -> Vec<String> {
    let mut in_fence = false;
    lines
        .into_iter()
        .map(|line| {
            let fence = is_fence(&line);
            in_fence ^= fence;
            if fence || in_fence {
                line
            } else {
                inline::link(&line)
            }
        })
        .collect()
}

/// Returns the first paragraph of a comment as one line of plain text of at most 200 characters,
/// for discovery.
pub(crate) fn summary(comment: &str) -> Option<String> {
    const LIMIT: usize = 200;
    let words: Vec<&str> = comment
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
        .flat_map(str::split_whitespace)
        .collect();
    let text: String = words
        .join(" ")
        .chars()
        .filter(|c| !is_hostile(*c))
        .collect();
    if text.is_empty() {
        return None;
    }
    if text.chars().count() <= LIMIT {
        return Some(text);
    }
    let cut: String = text.chars().take(LIMIT - 1).collect();
    let cut = cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head);
    Some(format!("{cut}…"))
}

/// Returns whether rustc refuses the character in comments or literals: control characters and
/// bidirectional marks.
fn is_hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn plain(line: &str) -> String {
    let line = line.replace('\t', "    ");
    let line: String = line.chars().filter(|c| !is_hostile(*c)).collect();
    line.trim_end().to_owned()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// An open list item: the column of its marker in the comment, and of its text in the output.
struct ListItem {
    source: usize,
    text: usize,
    numbered: bool,
}

#[derive(Default)]
struct MarkdownWriter {
    out: Vec<String>,
    items: Vec<ListItem>,
    /// The indentation, in the comment and in the output, of an open fenced block.
    fence: Option<(usize, usize, String)>,
    /// The indentation of an indented block, which is written as a fenced block.
    block: Option<usize>,
}

impl MarkdownWriter {
    fn line(&mut self, line: &str) {
        let text = line.trim_start();
        let indent = indent(line);
        if let Some((source, column, mark)) = self.fence.clone() {
            if text.starts_with(&mark) && text.chars().all(|c| mark.starts_with(c)) {
                self.close_fence();
            } else {
                let inner = line.get(source.min(indent)..).unwrap_or_default();
                self.code(column, inner);
            }
            return;
        }
        if text.is_empty() {
            if self.block.is_some() || self.out.last().is_some_and(|last| !last.is_empty()) {
                self.out.push(String::new());
            }
            return;
        }
        if let Some(start) = self.block {
            if indent >= 4 {
                self.code(0, line.get(start.min(indent)..).unwrap_or(text));
                return;
            }
            self.end_block();
        }
        let after_blank = self.out.last().is_none_or(String::is_empty);
        if let Some(mark) = fence_mark(text) {
            let column = self.column(indent, after_blank);
            self.push(column, &format!("```{}", info(&text[mark.len()..])));
            self.fence = Some((indent, column, mark.to_owned()));
            return;
        }
        let sibling = |item: &ListItem| item.numbered && item.source == indent;
        let may_number = after_blank || self.items.iter().any(sibling);
        if let Some((marker, rest)) = list_item(text, may_number) {
            while self.items.last().is_some_and(|item| indent <= item.source) {
                self.items.pop();
            }
            let column = self.items.last().map_or(0, |item| item.text);
            self.items.push(ListItem {
                source: indent,
                text: column + marker.len() + 1,
                numbered: marker.len() > 1,
            });
            self.push(
                column,
                &format!("{marker} {}", inline::escape(&inert(rest))),
            );
            return;
        }
        if self.items.is_empty() && after_blank && indent >= 4 {
            self.block = Some(indent);
            self.push(0, "```text");
            self.code(0, text);
            return;
        }
        let column = self.column(indent, after_blank);
        // Without the mark, the line would still continue the quotation, which clippy reports as
        // lazy.
        let quoted = self
            .out
            .last()
            .is_some_and(|last| last.trim_start().starts_with('>'));
        if quoted || text.starts_with('>') {
            let text = text.trim_start_matches(['>', ' ']);
            self.push(column, &format!("> {}", inline::escape(&inert(text))));
        } else if list_item(&format!("{text} x"), true).is_some_and(|(marker, _)| marker == text) {
            // An item without text, which would otherwise absorb the next block.
            let (number, mark) = text.split_at(text.len() - 1);
            self.push(column, &format!("{number}\\{mark}"));
        } else if text.starts_with(|c: char| c.is_ascii_digit()) {
            // A number that was taken for text above stays text, whatever precedes it.
            self.push(column, &inline::escape(&inert(text)));
        } else {
            self.push(column, &inline::escape(text));
        }
    }

    /// Returns the column for a line of text: that of its list item, or the margin, which ends the
    /// list.
    fn column(&mut self, indent: usize, after_blank: bool) -> usize {
        if after_blank {
            while self.items.last().is_some_and(|item| indent <= item.source) {
                self.items.pop();
            }
        }
        self.items.last().map_or(0, |item| item.text)
    }

    fn push(&mut self, column: usize, text: &str) {
        self.out
            .push(format!("{:column$}{text}", "").trim_end().to_owned());
    }

    /// Writes a line inside of a fenced block, so that it cannot close the block.
    fn code(&mut self, column: usize, line: &str) {
        if line.trim_start().starts_with("```") {
            self.push(column, &line.replace('`', "'"));
        } else {
            self.push(column, line);
        }
    }

    fn close_fence(&mut self) {
        if let Some((_, column, _)) = self.fence.take() {
            self.push(column, "```");
        }
    }

    /// Ends an indented block before the blank lines that follow it.
    fn end_block(&mut self) {
        if self.block.take().is_some() {
            let end = self
                .out
                .iter()
                .rposition(|line| !line.is_empty())
                .map_or(0, |at| at + 1);
            self.out.insert(end, "```".to_owned());
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.close_fence();
        self.end_block();
        while self.out.last().is_some_and(String::is_empty) {
            self.out.pop();
        }
        let start = self
            .out
            .iter()
            .position(|line| !line.is_empty())
            .unwrap_or(0);
        self.out.drain(..start);
        self.out
    }
}

/// Returns the mark of a line that opens a fenced block. If another backtick follows, it is a code
/// span instead.
fn fence_mark(text: &str) -> Option<&str> {
    let count = |c: char| text.len() - text.trim_start_matches(c).len();
    let (ticks, tildes) = (count('`'), count('~'));
    let opens = tildes >= 3 || (ticks >= 3 && !text[ticks..].contains('`'));
    opens.then(|| &text[..ticks.max(tildes)])
}

/// Returns whether a line that [`markdown`] wrote opens or closes a fenced block.
fn is_fence(line: &str) -> bool {
    let text = line.trim_start();
    text.starts_with('`') && fence_mark(text).is_some()
}

/// Returns the language of a fenced block, or `text` where rustdoc could take it for Rust to run.
fn info(info: &str) -> &str {
    const RUST: &[&str] = &[
        "rust",
        "should_panic",
        "no_run",
        "ignore",
        "compile_fail",
        "test_harness",
        "custom",
        "standalone_crate",
    ];
    let info = info.trim();
    let word = !info.is_empty() && info.chars().all(|c| c.is_ascii_alphanumeric());
    if word && !RUST.contains(&info) && !info.starts_with("edition") {
        info
    } else {
        "text"
    }
}

/// Splits a list item into its marker and its text. A number other than 1 starts no list in the middle of a paragraph.
fn list_item(text: &str, may_number: bool) -> Option<(&str, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let marker = match digits {
        0 if text.starts_with(['-', '*', '+']) => 1,
        1..=9
            if text[digits..].starts_with(['.', ')']) && (may_number || &text[..digits] == "1") =>
        {
            digits + 1
        }
        _ => return None,
    };
    let (marker, rest) = text.split_at(marker);
    let body = rest.trim_start();
    // `---` and `**bold**` are not items, and neither is an empty one.
    (rest.starts_with(' ') && !body.is_empty()).then_some((marker, body))
}

/// Escapes the start of a list item or a quotation where another block could begin, so that it
/// stays text.
fn inert(text: &str) -> String {
    if let Some((marker, _)) = list_item(text, true) {
        let (head, tail) = text.split_at(marker.len() - 1);
        return format!("{head}\\{tail}");
    }
    if text.starts_with(['>', '#']) || fence_mark(text).is_some_and(|mark| mark.starts_with('~')) {
        return format!("\\{text}");
    }
    if fence_mark(text).is_some() {
        text.replace('`', "'")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(comment: &str, expected: &str) {
        assert_eq!(
            link(markdown(comment)).join("\n"),
            expected,
            "for {comment:?}"
        );
    }

    #[test]
    fn prose_is_kept() {
        check(" Adds numbers.\n\n Really.\n", "Adds numbers.\n\nReally.");
        check("no space\n", "no space");
        check(" a\n   odd indent\n", "a\nodd indent");
    }

    #[test]
    fn indented_blocks_are_no_doctests() {
        check(
            " Example:\n\n     let x = 1;\n\n       x\n\n Done.\n",
            "Example:\n\n```text\nlet x = 1;\n\n  x\n```\n\nDone.",
        );
        check(
            " Example:\n\n\t\tcall()\n",
            "Example:\n\n```text\ncall()\n```",
        );
    }

    #[test]
    fn fenced_blocks_are_no_doctests() {
        check(" ```\n let x;\n ```\n", "```text\nlet x;\n```");
        check(" ```rust\n let x;\n", "```text\nlet x;\n```");
        check(" ~~~ json\n {}\n ~~~\n", "```json\n{}\n```");
        check(
            " ```rust,no_run\n <T>[a]\n ```\n x",
            "```text\n<T>[a]\n```\nx",
        );
    }

    #[test]
    fn lists_are_neither_lazy_nor_overindented() {
        check(" - one\n continued\n - two\n", "- one\n  continued\n- two");
        check(
            " - one\n        far\n   - nested\n  lazy\n",
            "- one\n  far\n  - nested\n    lazy",
        );
        check(
            " 1. one\n 2. two\n    more\n\n after\n",
            "1. one\n2. two\n   more\n\nafter",
        );
        check(" -     code?\n", "- code?");
        check(
            " in the year\n 2024. A good one\n",
            "in the year\n2024\\. A good one",
        );
        check(" - one\n\n      deeper\n", "- one\n\n  deeper");
    }

    #[test]
    fn quotations_are_not_lazy() {
        check(" > quote\n goes on\n", "> quote\n> goes on");
    }

    #[test]
    fn blocks_and_blank_lines() {
        check("*\n In a block.\n\n\n More.\n", "In a block.\n\nMore.");
        check("* In a block. ", "In a block.");
    }

    #[test]
    fn hostile_characters_are_dropped() {
        check(" a\u{202e}b\u{7}\r\n c", "ab\nc");
    }

    #[test]
    fn summaries_are_one_short_line() {
        assert_eq!(
            summary(" Adds\n numbers.\n\n More."),
            Some("Adds numbers.".to_owned())
        );
        assert_eq!(summary("  \n"), None);
        let long = summary(&"word ".repeat(100)).unwrap();
        assert!(
            long.ends_with("word…") && long.chars().count() <= 200,
            "{long}"
        );
    }

    /// Random comments cause neither a panic nor a block that rustdoc would test.
    #[test]
    fn no_comment_becomes_a_doctest() {
        const PIECES: &[&str] = &[
            "\n",
            "\n",
            "\n\n",
            " ",
            "  ",
            "    ",
            "\t",
            "- ",
            "* ",
            "1. ",
            "12) ",
            "> ",
            "```",
            "```rust",
            "~~~",
            "`",
            "<",
            "[",
            "](",
            "]",
            "http://",
            "<https://a>",
            "word",
            "# ",
            "\\",
            "é",
            "\r",
            "---",
            "|",
        ];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut comment = String::new();
            for _ in 0..14 {
                // Knuth's generator, so that each run has the same comments.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let pick = usize::try_from(state >> 33).unwrap() % PIECES.len();
                comment.push_str(PIECES[pick]);
            }
            let lines = link(markdown(&comment));
            let mut in_fence = false;
            let mut blank = true;
            let mut in_list = false;
            for line in &lines {
                let text = line.trim_start();
                let indent = indent(line);
                if is_fence(line) {
                    in_fence = !in_fence;
                    assert_eq!(
                        text != "```",
                        in_fence,
                        "a fence without a language: {comment:?} became {lines:#?}"
                    );
                } else if !in_fence && !text.is_empty() {
                    in_list = list_item(text, true).is_some() || (in_list && indent > 0);
                    assert!(
                        in_list || !blank || indent < 4,
                        "an indented block: {comment:?} became {lines:#?}"
                    );
                }
                blank = text.is_empty();
            }
            assert!(!in_fence, "an open fence: {comment:?} became {lines:#?}");
        }
    }
}
