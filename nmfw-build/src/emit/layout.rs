//! Takes line breaks out of prettyplease's output that make a service's code longer than it reads.
//!
//! prettyplease breaks at 89 columns, and absolute paths are long. Signatures of methods go back on one line; what is
//! inside them are type names, so nothing is hidden far to the right.

/// Joins the lines of signatures and of the head and tail of the list of methods.
pub(super) fn compact(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut lines = code.lines().peekable();
    let mut in_methods = false;
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        if is_broken_up(text) {
            // The calls that follow the first one are indented, and so is its end.
            let chain = if text.starts_with("pub static ") {
                4
            } else {
                0
            };
            out.push_str(line);
            join(&mut out, &mut lines, indent(line) + chain);
        } else if text == ".methods(" && lines.next_if(|next| next.trim() == "&[").is_some() {
            out.push_str(line);
            out.push_str("&[");
            in_methods = true;
        } else if in_methods && line == "        ]," {
            // Its closing parenthesis and semicolon are on the next line.
            out.push_str("    ]");
            out.push_str(lines.next().unwrap_or_default().trim());
            in_methods = false;
        } else {
            out.push_str(if in_methods {
                line.strip_prefix("    ").unwrap_or(line)
            } else {
                line
            });
        }
        out.push('\n');
    }
    out
}

/// Whether the parts of what a line begins go on that line.
fn is_broken_up(text: &str) -> bool {
    let function = text.starts_with("pub fn ") || text.starts_with("pub async fn ");
    if function || text.starts_with("pub static ") {
        return text.ends_with(['(', '<']);
    }
    (text.starts_with(") -> impl ") && text.ends_with("Future<"))
        || (text.starts_with("requests: ") && text.ends_with('<'))
}

/// Joins lines up to the first one that begins at this column and opens nothing more.
fn join<'a>(out: &mut String, lines: &mut impl Iterator<Item = &'a str>, column: usize) {
    for line in lines {
        let text = line.trim_start();
        if text.starts_with([')', '>']) {
            if out.ends_with(',') {
                out.pop();
            }
        } else if !out.ends_with(['(', '<']) {
            out.push(' ');
        }
        out.push_str(text);
        if indent(line) == column && !text.ends_with(['(', '<']) {
            return;
        }
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}
