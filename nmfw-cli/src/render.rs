//! Fills in the templates of files.

use std::collections::{BTreeMap, BTreeSet};

/// The values of a template: `{{name}}` is a value, and the lines between `%% if FLAG`, or
/// `%% if not FLAG`, and `%% end` are kept if the flag is set, or is not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    pub(crate) values: BTreeMap<&'static str, String>,
    pub(crate) flags: BTreeSet<&'static str>,
}

impl Values {
    /// Fills in a template.
    ///
    /// # Errors
    /// Returns what is wrong with the template, which is a fault of this program.
    pub(crate) fn render(&self, template: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut conditions: Vec<bool> = Vec::new();
        for line in template.lines() {
            match line.strip_prefix("%% ") {
                Some("end") => _ = conditions.pop().ok_or("an end without an if")?,
                Some(condition) => {
                    let condition = condition
                        .strip_prefix("if ")
                        .ok_or_else(|| format!("{line:?} is no condition"))?;
                    let is_met = match condition.strip_prefix("not ") {
                        Some(flag) => !self.flags.contains(flag),
                        None => self.flags.contains(condition),
                    };
                    conditions.push(is_met);
                }
                None if conditions.contains(&false) => {}
                None => {
                    self.line(line, &mut out)?;
                    out.push('\n');
                }
            }
        }
        match conditions.is_empty() {
            true => Ok(out),
            false => Err("an if without an end".to_owned()),
        }
    }

    fn line(&self, line: &str, out: &mut String) -> Result<(), String> {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after
                .split_once("}}")
                .ok_or_else(|| format!("{line:?} has no end"))?;
            let value = self.values.get(name);
            let value = value.ok_or_else(|| format!("there is no value {name:?}"))?;
            out.push_str(before);
            out.push_str(value);
            rest = after;
        }
        out.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn templates_are_filled_in() {
        let values = Values {
            values: [("a", "1".to_owned())].into(),
            flags: ["yes"].into(),
        };
        for (template, expected) in [
            ("x{{a}}y{{a}}\n", Ok("x1y1\n")),
            ("%% if yes\na\n%% end\nb\n", Ok("a\nb\n")),
            ("%% if no\na\n%% end\nb\n", Ok("b\n")),
            ("%% if not no\n%% if yes\na\n%% end\n%% end\n", Ok("a\n")),
            ("%% if no\n%% if yes\na\n%% end\n%% end\n", Ok("")),
            ("{{b}}\n", Err("there is no value \"b\"")),
            ("%% end\n", Err("an end without an if")),
            ("%% if yes\n", Err("an if without an end")),
        ] {
            let rendered = values.render(template);
            let rendered = rendered.as_deref().map_err(String::as_str);
            assert_eq!(rendered, expected, "{template:?}");
        }
    }
}
