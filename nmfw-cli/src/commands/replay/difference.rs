//! Differences of answers.

use serde_json::Value as Json;

/// The most differences of one call that are named.
const MAX: usize = 8;

/// A path of fields that are not compared, such as `response.items.time`. Lists are no steps of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ignored(Vec<String>);

impl Ignored {
    /// Parses a path for clap.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let steps: Vec<_> = text.split('.').map(str::to_owned).collect();
        match steps.first().map(String::as_str) {
            Some("response" | "status") if steps.iter().all(|step| !step.is_empty()) => {
                Ok(Self(steps))
            }
            _ => Err("begin with response or status, such as response.items.time".to_owned()),
        }
    }
}

/// Returns how two answers differ, a text each with the path, what was expected and what came.
pub(super) fn between(expected: &Json, actual: &Json, ignored: &[Ignored]) -> Vec<String> {
    let mut found = Vec::new();
    let mut walk = Walk {
        ignored,
        steps: Vec::new(),
        shown: String::new(),
        found: &mut found,
    };
    walk.compare(Some(expected), Some(actual));
    if let more @ 1.. = found.len().saturating_sub(MAX) {
        found.truncate(MAX);
        found.push(format!("{more} more"));
    }
    found
}

struct Walk<'a> {
    ignored: &'a [Ignored],
    /// The names of fields down to here.
    steps: Vec<String>,
    /// The path with the indices of lists.
    shown: String,
    found: &'a mut Vec<String>,
}

impl Walk<'_> {
    fn compare(&mut self, expected: Option<&Json>, actual: Option<&Json>) {
        if self.ignored.iter().any(|path| path.0 == self.steps) {
            return;
        }
        match (expected, actual) {
            (Some(Json::Object(a)), Some(Json::Object(b))) => {
                let mut keys: Vec<_> = a.keys().collect();
                keys.extend(b.keys().filter(|key| !a.contains_key(*key)));
                for key in keys {
                    let len = self.shown.len();
                    if len > 0 {
                        self.shown.push('.');
                    }
                    self.shown.push_str(key);
                    self.steps.push(key.clone());
                    self.compare(a.get(key), b.get(key));
                    self.steps.pop();
                    self.shown.truncate(len);
                }
            }
            (Some(Json::Array(a)), Some(Json::Array(b))) => {
                for index in 0..a.len().max(b.len()) {
                    let len = self.shown.len();
                    self.shown.push_str(&format!("[{index}]"));
                    self.compare(a.get(index), b.get(index));
                    self.shown.truncate(len);
                }
            }
            (expected, actual) if expected == actual => {}
            (expected, actual) => {
                let [expected, actual] = [expected, actual].map(|value| match value {
                    Some(value) => value.to_string(),
                    None => "nothing".to_owned(),
                });
                let path = &self.shown;
                self.found
                    .push(format!("{path}: expected {expected}, got {actual}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use serde_json::json;

    use super::*;

    #[test]
    fn differences_have_paths() {
        let expected =
            json!({ "response": { "a": 1, "list": [{ "t": 1, "x": "y" }, 2], "gone": true } });
        let actual = json!({ "response": { "a": 2, "list": [{ "t": 9, "x": "y" }], "new": null } });
        let ignore = |paths: &[&str]| -> Vec<_> {
            paths
                .iter()
                .map(|path| Ignored::parse(path).unwrap())
                .collect()
        };
        let all = between(&expected, &actual, &[]);
        assert_eq!(
            all,
            [
                "response.a: expected 1, got 2",
                "response.gone: expected true, got nothing",
                "response.list[0].t: expected 1, got 9",
                "response.list[1]: expected 2, got nothing",
                "response.new: expected nothing, got null",
            ]
        );
        let some = between(
            &expected,
            &actual,
            &ignore(&["response.list.t", "response.a"]),
        );
        assert_eq!(some.len(), 3);
        let none = between(&expected, &actual, &ignore(&["response"]));
        assert!(none.is_empty());
        let same = between(&expected, &expected, &[]);
        assert!(same.is_empty());
        for path in ["", "a", "response..a", "response.", ".response"] {
            Ignored::parse(path).unwrap_err();
        }
    }

    #[test]
    fn many_differences_are_cut() {
        let list = |from: u64| json!({ "response": (from..from + 20).collect::<Vec<_>>() });
        let found = between(&list(0), &list(1), &[]);
        assert_eq!(found.len(), MAX + 1);
        assert_eq!(found[MAX], "12 more");
    }
}
