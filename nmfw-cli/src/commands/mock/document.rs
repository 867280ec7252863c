//! [`Document`]: a YAML document whose values know their lines.

use std::{fmt, path::Path};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::Number;

use crate::failure::Failure;

/// The largest file, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The depth to which values may be nested.
const MAX_DEPTH: usize = 64;

/// A file of YAML, of which JSON is a part.
#[derive(Debug)]
pub(super) struct Document {
    /// The name of the file in errors.
    pub(super) name: String,
    pub(super) root: Node,
}

/// A value, with the line on which it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// The entries in the order of the file.
    Map(Vec<(String, Node)>),
}

impl Value {
    /// Returns a noun for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// The place of a value in the document, such as `methods.calc.Calc/Add[0].answer`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
    line: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root(&'a str),
    Key(&'a str),
    Item(usize),
}

impl<'a> Place<'a> {
    pub(super) fn root(document: &'a Document) -> Self {
        Self {
            parent: None,
            step: Step::Root(&document.name),
            line: document.root.line,
        }
    }

    pub(super) fn key(&'a self, key: &'a str, node: &Node) -> Place<'a> {
        Place {
            parent: Some(self),
            step: Step::Key(key),
            line: node.line,
        }
    }

    pub(super) fn item(&'a self, index: usize, node: &Node) -> Place<'a> {
        Place {
            parent: Some(self),
            step: Step::Item(index),
            line: node.line,
        }
    }

    fn file(&self) -> &str {
        match (self.step, self.parent) {
            (Step::Root(name), _) => name,
            (_, Some(parent)) => parent.file(),
            (_, None) => "",
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.write(f)?;
        }
        match self.step {
            Step::Root(_) => Ok(()),
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Key(key) => match self.parent.map(|parent| parent.step) {
                None | Some(Step::Root(_)) => f.write_str(key),
                Some(_) => write!(f, ".{key}"),
            },
        }
    }

    /// Returns the failure for what is wrong at this place.
    pub(super) fn wrong(&self, what: impl fmt::Display) -> Failure {
        Failure::new(format!("{self}: {what}"))
    }
}

/// Formats the file, the line and the path.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file(), self.line)?;
        if !matches!(self.step, Step::Root(_)) {
            f.write_str(": ")?;
        }
        self.write(f)
    }
}

impl Document {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let unreadable = |error: &(dyn std::error::Error + 'static)| {
            Failure::new(format!("cannot read {name}")).caused_by(error)
        };
        let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        if size.len() > MAX_BYTES {
            return Err(Failure::new(format!(
                "{name} has more than {} MiB",
                MAX_BYTES >> 20
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        Self::parse(name, &text)
    }

    pub(super) fn parse(name: String, text: &str) -> Result<Self, Failure> {
        let documents = MarkedYaml::load_from_str(text).map_err(|error| {
            let (line, what) = (error.marker().line(), error.info());
            Failure::new(format!("{name}:{line}: it is not YAML: {what}"))
        })?;
        let root = match &documents[..] {
            [] => Node {
                line: 1,
                value: Value::Null,
            },
            [root] => node(root, MAX_DEPTH)
                .map_err(|(line, what)| Failure::new(format!("{name}:{line}: {what}")))?,
            [_, second, ..] => {
                let line = second.span.start.line();
                return Err(Failure::new(format!(
                    "{name}:{line}: a second document begins here, and only one is read"
                )));
            }
        };
        Ok(Self { name, root })
    }
}

/// Converts a value; an error has its line.
fn node(yaml: &MarkedYaml<'_>, depth: usize) -> Result<Node, (usize, String)> {
    let line = yaml.span.start.line();
    let wrong = |what: &str| Err((line, what.to_owned()));
    if depth == 0 {
        return wrong("values are nested too deeply");
    }
    let value = match &yaml.data {
        YamlData::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(*value),
            Scalar::Integer(value) => Value::Number((*value).into()),
            Scalar::FloatingPoint(value) => match Number::from_f64(value.0) {
                Some(number) => Value::Number(number),
                // The spellings of the JSON format.
                None if value.0.is_nan() => Value::Text("NaN".to_owned()),
                None if value.0 > 0.0 => Value::Text("Infinity".to_owned()),
                None => Value::Text("-Infinity".to_owned()),
            },
            Scalar::String(value) => Value::Text(value.to_string()),
        },
        YamlData::Sequence(items) => {
            let items = items.iter().map(|item| node(item, depth - 1));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(entries) => {
            let entries = entries
                .iter()
                .map(|(name, value)| Ok((key(name)?, node(value, depth - 1)?)));
            Value::Map(entries.collect::<Result<_, _>>()?)
        }
        YamlData::Tagged(..) => return wrong("tags are not supported"),
        YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
            return wrong("the value cannot be read");
        }
    };
    Ok(Node { line, value })
}

/// Returns a key of a map as text.
fn key(yaml: &MarkedYaml<'_>) -> Result<String, (usize, String)> {
    match &yaml.data {
        YamlData::Value(Scalar::String(key)) => Ok(key.to_string()),
        YamlData::Value(Scalar::Integer(key)) => Ok(key.to_string()),
        YamlData::Value(Scalar::Boolean(key)) => Ok(key.to_string()),
        _ => Err((
            yaml.span.start.line(),
            "a key must be a text, a number or a boolean".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn parse(text: &str) -> Result<Document, String> {
        let document = Document::parse("a.yaml".to_owned(), text);
        document.map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn places_have_a_file_a_line_and_a_path() {
        let document = parse("methods:\n  a.B/C:\n    - answer:\n        x: 1\n").unwrap();
        let root = Place::root(&document);
        let Value::Map(entries) = &document.root.value else {
            panic!("{document:?}");
        };
        let (name, methods) = &entries[0];
        let place = root.key(name, methods);
        let Value::Map(entries) = &methods.value else {
            panic!("{methods:?}");
        };
        let (name, rules) = &entries[0];
        let place = place.key(name, rules);
        let Value::List(rules) = &rules.value else {
            panic!("{rules:?}");
        };
        let place = place.item(0, &rules[0]);
        assert_eq!(place.to_string(), "a.yaml:3: methods.a.B/C[0]");
        assert_eq!(root.to_string(), "a.yaml:1");
    }

    #[test]
    fn faults_have_their_line() {
        for (text, expected) in [
            ("a: [1,\n  2\n", "a.yaml:3: it is not YAML: "),
            ("a: 1\na: 2\n", "a.yaml:2: it is not YAML: "),
            (
                "a: 1\n---\nb: 2\n",
                "a.yaml:3: a second document begins here",
            ),
            ("a: !thing 1\n", "a.yaml:1: "),
            ("x: 1\n[1, 2]: 3\n", "a.yaml:2: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(
            parse(&deep).unwrap_err(),
            "a.yaml:1: values are nested too deeply"
        );
        assert!(matches!(parse("").unwrap().root.value, Value::Null));
    }
}
