//! Inline Markdown: code, links, and characters with a meaning for rustdoc but not for the author.

/// Escapes text that Markdown would take for HTML, for a link to a Rust item or for an unterminated
/// code span.
///
/// URLs lose their angle brackets; [`link`] or prost-build adds them again.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '`', '<', '[', ']']) {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        let after = &tail[1..];
        let next = after.chars().next();
        let mut taken = 1;
        match &tail[..1] {
            "\\" => {
                out.push('\\');
                // The next character is already escaped.
                if let Some(next) = next.filter(char::is_ascii_punctuation) {
                    out.push(next);
                    taken = 2;
                }
            }
            "`" => {
                if let Some(span) = code_span(tail) {
                    out.push_str(&tail[..span]);
                    taken = span;
                } else {
                    taken = run(tail, '`');
                    out.push_str(&"\\`".repeat(taken));
                }
            }
            "<" => {
                if let Some(url) = bracketed_url(after) {
                    out.push_str(url);
                    taken = url.len() + 2;
                } else if next.is_some_and(|c| c.is_ascii_alphabetic() || "/!?".contains(c)) {
                    out.push_str("\\<");
                } else {
                    out.push('<');
                }
            }
            "[" => {
                if let Some(length) = web_link(tail) {
                    out.push_str(&tail[..length]);
                    taken = length;
                } else {
                    out.push_str("\\[");
                }
            }
            _ => out.push_str("\\]"),
        }
        rest = &tail[taken..];
    }
    out.push_str(rest);
    out
}

/// Converts the URLs in a line to links.
pub(crate) fn link(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['h', '`']) {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        let taken = if let Some(span) = code_span(tail).filter(|_| !out.ends_with('\\')) {
            out.push_str(&tail[..span]);
            span
        } else if is_url(tail) {
            let end = tail.find(|c: char| c.is_whitespace() || ")<>\\`".contains(c));
            let url = &tail[..end.unwrap_or(tail.len())];
            let url = url.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '"']);
            out.push_str(&format!("<{url}>"));
            url.len()
        } else {
            out.push_str(&tail[..1]);
            1
        };
        rest = &tail[taken..];
    }
    out.push_str(rest);
    out
}

/// Returns how often the character is repeated at the start.
pub(crate) fn run(text: &str, c: char) -> usize {
    text.len() - text.trim_start_matches(c).len()
}

/// Returns the length of the code span at the start, if the line also closes it with the same
/// number of backticks.
fn code_span(text: &str) -> Option<usize> {
    let ticks = run(text, '`');
    if ticks == 0 {
        return None;
    }
    let mut at = ticks;
    loop {
        at += text[at..].find('`')?;
        let end = run(&text[at..], '`');
        at += end;
        if end == ticks {
            return Some(at);
        }
    }
}

fn bracketed_url(text: &str) -> Option<&str> {
    let (url, _) = text.split_once('>')?;
    (is_url(url) && !url.contains([' ', '<', '`'])).then_some(url)
}

/// Returns the length of a web link at the start. Other links would be looked up among Rust items.
fn web_link(text: &str) -> Option<usize> {
    let middle = text.find("](")?;
    let target = &text[middle + 2..];
    let end = target.find(')')?;
    let name = &text[1..middle];
    (is_url(&target[..end])
        && !target[..end].contains(' ')
        && !name.contains(['[', ']', '`', '<', '\\']))
    .then_some(middle + 2 + end + 1)
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rustdoc_would_stumble_over_is_escaped() {
        for (text, expected) in [
            ("a Vec<T> and `Vec<T>`", "a Vec\\<T> and `Vec<T>`"),
            ("see https://a.b/c.", "see <https://a.b/c>."),
            ("see <https://a.b/c>, too", "see <https://a.b/c>, too"),
            (
                "an [array] of [x](https://a.b/c)",
                "an \\[array\\] of [x](<https://a.b/c>)",
            ),
            ("[a][b] and [c](d)", "\\[a\\]\\[b\\] and \\[c\\](d)"),
            ("1 < 2 ` tick", "1 < 2 \\` tick"),
            ("``a ` b`` and `` open", "``a ` b`` and \\`\\` open"),
            ("\\[kept\\] \\<T>", "\\[kept\\] \\<T>"),
        ] {
            assert_eq!(link(&escape(text)), expected, "for {text:?}");
        }
    }
}
