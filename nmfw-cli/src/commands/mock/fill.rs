//! [`fill`]: answers that refer to their request.

use serde_json::Value;

/// Replaces `{{path}}` in the texts of a value by the values of a call. A text that is nothing else
/// becomes the value itself, with its type.
pub(super) fn fill(template: &Value, call: &Value) -> Result<Value, String> {
    Ok(match template {
        Value::String(text) => filled(text, call)?,
        Value::Array(values) => {
            let values = values.iter().map(|value| fill(value, call));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| Ok((key.clone(), fill(value, call)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn filled(text: &str, call: &Value) -> Result<Value, String> {
    let whole = text
        .strip_prefix("{{")
        .and_then(|text| text.strip_suffix("}}"));
    if let Some(path) = whole.filter(|path| !path.contains("{{")) {
        return find(path, call).cloned();
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (path, after) = after
            .split_once("}}")
            .ok_or_else(|| format!("{text:?} has no }}}} after {{{{"))?;
        out.push_str(before);
        match find(path, call)? {
            Value::String(text) => out.push_str(text),
            value => out.push_str(&value.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(Value::String(out))
}

/// Finds a value by its path, such as `request.items.0.name`.
fn find<'a>(path: &str, call: &'a Value) -> Result<&'a Value, String> {
    let mut value = call;
    for step in path.trim().split('.') {
        let next = match value {
            Value::Object(fields) => fields.get(step),
            Value::Array(values) => step.parse().ok().and_then(|at: usize| values.get(at)),
            _ => None,
        };
        value = next.ok_or_else(|| {
            format!(
                "{{{{{}}}}} is not there: a path begins with request, requests or metadata",
                path.trim()
            )
        })?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_filled() {
        let call = json!({"request": {"a": 7, "b": [{"c": "x"}]}, "metadata": {"tenant": "acme"}});
        for (template, expected) in [
            (json!("{{request.a}}"), json!(7)),
            (json!("{{ request.b.0.c }}"), json!("x")),
            (
                json!("a is {{request.a}}, {{metadata.tenant}}"),
                json!("a is 7, acme"),
            ),
            (json!("{{request.a}}{{request.a}}"), json!("77")),
            (
                json!({"k": ["{{request.b}}", 1]}),
                json!({"k": [[{"c": "x"}], 1]}),
            ),
            (json!("plain } {"), json!("plain } {")),
        ] {
            assert_eq!(fill(&template, &call).unwrap(), expected, "{template}");
        }
        for wrong in [
            "{{request.z}}",
            "{{request.b.1}}",
            "{{}}",
            "x {{request.a",
            "{{a}",
        ] {
            assert!(fill(&json!(wrong), &call).is_err(), "{wrong}");
        }
    }
}
