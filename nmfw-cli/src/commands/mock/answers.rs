//! [`Answers`]: the file of answers, checked against the schema.

use std::{collections::HashMap, sync::atomic::AtomicU64, time::Duration};

use nmfw::Metadata;
use nmfw_schema::{Schema, prost_reflect::MethodDescriptor};

use super::{
    check::check,
    document::{Document, Node, Place, Value},
    fault::{Failures, Fault},
    fields::{delay_of, map, metadata, positive, unknown_key},
    template::{Counters, Reader, Template},
    when::When,
};
use crate::{failure::Failure, suggest::nearest};

/// The answers of all methods of a file, by the full names of methods, `calc.Calc.Add`.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) methods: HashMap<String, Vec<Rule>>,
}

/// An answer, and the calls that get it.
#[derive(Debug)]
pub(super) struct Rule {
    /// The place in the file, for errors.
    pub(super) place: String,
    pub(super) when: Option<When>,
    /// The number of calls that get it; `None` for all.
    pub(super) times: Option<u64>,
    pub(super) taken: AtomicU64,
    pub(super) metadata: Metadata,
    pub(super) failures: Option<Failures>,
    pub(super) steps: Vec<Step>,
}

/// A part of an answer: a message or the error that ends the call.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) delay: Duration,
    pub(super) repeat: u64,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Message(Template),
    Error(Fault),
}

/// A rule as read, with the data that reading needs.
pub(super) struct Context<'a> {
    pub(super) schema: &'a Schema,
    method: &'a MethodDescriptor,
    pub(super) reader: Reader<'a>,
}

impl Answers {
    /// Reads the answers of a document.
    pub(super) fn read(document: &Document, schema: &Schema) -> Result<Self, Failure> {
        let root = Place::root(document);
        let mut counters = Counters::default();
        let mut answers = Self::default();
        for (name, node) in map(&root, &document.root)? {
            match name.as_str() {
                "methods" => {}
                other => return Err(unknown_key(&root.key(name, node), other, &["methods"])),
            }
            let place = root.key(name, node);
            for (name, node) in map(&place, node)? {
                let place = place.key(name, node);
                let method = schema
                    .method(name)
                    .ok_or_else(|| no_method(&place, schema, name))?;
                let (full_name, input) = (method.full_name().to_owned(), method.input());
                let mut context = Context {
                    schema,
                    method: &method,
                    reader: Reader {
                        method: &full_name,
                        request: &input,
                        counters: &mut counters,
                    },
                };
                let Value::List(rules) = &node.value else {
                    return Err(place.wrong(format!(
                        "expected a list of answers, not {}",
                        node.value.kind()
                    )));
                };
                let mut read = Vec::new();
                for (index, node) in rules.iter().enumerate() {
                    read.push(context.rule(&place.item(index, node), node)?);
                }
                if answers.methods.insert(full_name.clone(), read).is_some() {
                    return Err(place.wrong(format!("{full_name} is in the file twice")));
                }
            }
        }
        Ok(answers)
    }
}

impl Context<'_> {
    fn rule(&mut self, place: &Place<'_>, node: &Node) -> Result<Rule, Failure> {
        let mut rule = Rule {
            place: place.to_string(),
            when: None,
            times: None,
            taken: AtomicU64::new(0),
            metadata: Metadata::new(),
            failures: None,
            steps: Vec::new(),
        };
        let mut delay = Duration::ZERO;
        let mut outcomes = 0;
        for (key, node) in map(place, node)? {
            let place = place.key(key, node);
            match key.as_str() {
                "when" => rule.when = Some(When::read(&place, node, &self.method.input())?),
                "times" => rule.times = Some(positive(&place, node)?),
                "delay" => delay = delay_of(&place, node)?,
                "metadata" => {
                    if self.method.is_client_streaming() && self.method.is_server_streaming() {
                        return Err(place.wrong(
                            "it is sent before the first request is there: leave it out for a \
                             method with streams in both directions",
                        ));
                    }
                    rule.metadata = metadata(&place, node)?;
                }
                "failures" => rule.failures = Some(self.failures(&place, node)?),
                "answer" => {
                    outcomes += 1;
                    let message = self.message(&place, node)?;
                    rule.steps.push(Step::once(Outcome::Message(message)));
                }
                "error" => {
                    outcomes += 1;
                    let fault = self.fault(&place, node)?;
                    rule.steps.push(Step::once(Outcome::Error(fault)));
                }
                "stream" => {
                    outcomes += 1;
                    if !self.method.is_server_streaming() {
                        return Err(place.wrong(format!(
                            "{} has one answer: use answer in place of stream",
                            self.method.full_name()
                        )));
                    }
                    let Value::List(items) = &node.value else {
                        return Err(
                            place.wrong(format!("expected a list, not {}", node.value.kind()))
                        );
                    };
                    for (index, item) in items.iter().enumerate() {
                        let step = self.step(&place.item(index, item), item)?;
                        rule.steps.push(step);
                    }
                }
                other => {
                    let known = [
                        "when", "times", "delay", "metadata", "failures", "answer", "error",
                        "stream",
                    ];
                    return Err(unknown_key(&place, other, &known));
                }
            }
        }
        if outcomes != 1 {
            return Err(place.wrong("write one of answer, stream and error"));
        }
        match rule.steps.first_mut() {
            Some(step) => step.delay = step.delay.saturating_add(delay),
            None if delay > Duration::ZERO => {
                return Err(place.wrong("an empty stream has no delay"));
            }
            None => {}
        }
        Ok(rule)
    }

    fn step(&mut self, place: &Place<'_>, node: &Node) -> Result<Step, Failure> {
        let (mut delay, mut repeat, mut outcome) = (Duration::ZERO, 1, None);
        for (key, node) in map(place, node)? {
            let place = place.key(key, node);
            match key.as_str() {
                "delay" => delay = delay_of(&place, node)?,
                "repeat" => repeat = positive(&place, node)?,
                "answer" if outcome.is_none() => {
                    outcome = Some(Outcome::Message(self.message(&place, node)?));
                }
                "error" if outcome.is_none() => {
                    outcome = Some(Outcome::Error(self.fault(&place, node)?));
                }
                "answer" | "error" => {
                    return Err(place.wrong("write one of answer and error"));
                }
                other => {
                    let known = ["answer", "error", "delay", "repeat"];
                    return Err(unknown_key(&place, other, &known));
                }
            }
        }
        let outcome = outcome.ok_or_else(|| place.wrong("write one of answer and error"))?;
        Ok(Step {
            delay,
            repeat,
            outcome,
        })
    }

    /// Reads a message, and checks everything in it that is no template.
    fn message(&mut self, place: &Place<'_>, node: &Node) -> Result<Template, Failure> {
        let template = self.reader.value(place, node)?;
        let output = self.method.output();
        check(place, node, &template, &output)?;
        Ok(template)
    }
}

impl Step {
    fn once(outcome: Outcome) -> Self {
        Self {
            delay: Duration::ZERO,
            repeat: 1,
            outcome,
        }
    }
}

fn no_method(place: &Place<'_>, schema: &Schema, name: &str) -> Failure {
    let failure = place.wrong(format!("the schema has no method {name:?}"));
    let methods: Vec<_> = schema
        .services()
        .flat_map(|service| {
            let of = service.full_name().to_owned();
            let methods: Vec<_> = service.methods().collect();
            methods
                .into_iter()
                .map(move |method| format!("{of}/{}", method.name()))
        })
        .collect();
    match nearest(name, methods.iter().map(String::as_str)) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure.hint("write Package.Service/Method, as in the .proto"),
    }
}
