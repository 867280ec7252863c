//! [`Mock`]: the handler of all methods of a service.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use nmfw::{
    Metadata, Method, Status,
    middleware::{Body, MessageStream, Request, Response},
    prost_types::Any,
};
use nmfw_schema::prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use prost::Message;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value as Json;

use super::{
    answers::{Answers, Outcome, Rule, Step},
    defaults,
    fault::Fault,
    template::{self, Call, Template},
};
use crate::{
    codec::{self, Style},
    output::{
        Output,
        text::{FAINT, peer},
    },
};

/// The answers of a stream that is made from the schema.
const DEFAULT_STREAM: u64 = 3;

/// A service that answers as its file says.
pub(super) struct Mock {
    /// The methods by their full names.
    methods: HashMap<String, Arc<Mocked>>,
}

/// A method with its answers.
struct Mocked {
    descriptor: MethodDescriptor,
    /// `None` if answers are made from the schema.
    rules: Option<Vec<Arc<Rule>>>,
    /// The source of random numbers of all methods.
    random: Arc<Mutex<StdRng>>,
    /// Where calls are reported.
    log: Option<Output>,
}

/// The requests of a call so far.
#[derive(Clone)]
struct Seen {
    request: DynamicMessage,
    /// The request as JSON; null if no template needs it.
    json: Arc<Json>,
    count: u64,
}

/// The messages of an answer, which are made when they are due.
struct Steps {
    mocked: Arc<Mocked>,
    rule: Option<Arc<Rule>>,
    seen: Seen,
    step: usize,
    repeated: u64,
    index: u64,
}

impl Mock {
    pub(super) fn new(
        methods: impl IntoIterator<Item = MethodDescriptor>,
        answers: Answers,
        seed: Option<u64>,
        log: Option<Output>,
    ) -> Self {
        let random = match seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => rand::make_rng(),
        };
        let random = Arc::new(Mutex::new(random));
        let mut answers = answers.methods;
        let methods = methods.into_iter().map(|descriptor| {
            let name = descriptor.full_name().to_owned();
            let rules = answers.remove(&name);
            let mocked = Mocked {
                descriptor,
                rules: rules.map(|rules| rules.into_iter().map(Arc::new).collect()),
                random: Arc::clone(&random),
                log,
            };
            (name, Arc::new(mocked))
        });
        Self {
            methods: methods.collect(),
        }
    }

    /// Returns the number of a method's answers; `None` if they are made from the schema.
    pub(super) fn answers(&self, method: Method) -> Option<usize> {
        let mocked = self.methods.get(&method.full_name())?;
        mocked.rules.as_ref().map(Vec::len)
    }

    /// Answers a call.
    pub(super) async fn call(&self, mut request: Request) -> Result<Response, Status> {
        let method = request.method();
        let mocked = self
            .methods
            .get(&method.full_name())
            .ok_or_else(|| Status::unimplemented(format!("{method} is not mocked")))?;
        let mocked = Arc::clone(mocked);
        let body = std::mem::take(request.body_mut());
        match (method.is_client_streaming(), method.is_server_streaming()) {
            (true, true) => {
                let answers = mocked.chat(body.into_stream());
                Ok(Response::with_body(
                    Body::from_stream(answers),
                    Metadata::new(),
                ))
            }
            (true, false) => {
                let seen = mocked.last(body.into_stream()).await?;
                mocked.one(seen).await
            }
            (false, false) => {
                let seen = mocked.only(&body)?;
                mocked.one(seen).await
            }
            (false, true) => {
                let seen = mocked.only(&body)?;
                mocked.many(seen).await
            }
        }
    }
}

impl Mocked {
    /// Returns the request of a call with one.
    fn only(&self, body: &Body) -> Result<Seen, Status> {
        let message = body.message().cloned().unwrap_or_default();
        self.seen(message, 1)
    }

    /// Returns the last request of a stream, which stands for all of them.
    async fn last(&self, mut requests: MessageStream) -> Result<Seen, Status> {
        let (mut last, mut count) = (Bytes::new(), 0);
        while let Some(request) = requests.next().await {
            (last, count) = (request?, count + 1);
        }
        self.seen(last, count)
    }

    fn seen(&self, message: Bytes, count: u64) -> Result<Seen, Status> {
        let request = DynamicMessage::decode(self.descriptor.input(), message);
        let request = request.map_err(|error| {
            Status::invalid_argument(format!("the request cannot be read: {error}"))
        })?;
        let uses = |rule: &Arc<Rule>| rule.uses_request();
        let is_needed = self
            .rules
            .as_ref()
            .is_some_and(|rules| rules.iter().any(uses));
        let json = match is_needed || self.log.is_some() {
            true => {
                let style = Style {
                    pretty: false,
                    defaults: true,
                };
                let json = codec::from_dynamic(&request, style).ok();
                json.and_then(|json| serde_json::from_str(&json).ok())
                    .unwrap_or_default()
            }
            false => Json::Null,
        };
        Ok(Seen {
            request,
            json: Arc::new(json),
            count,
        })
    }

    /// Answers with one message.
    async fn one(self: Arc<Self>, seen: Seen) -> Result<Response, Status> {
        let rule = self.rule(&seen)?;
        let metadata = metadata(rule.as_deref());
        let mut steps = Box::pin(self.steps(rule, seen));
        match steps.next().await {
            Some(message) => Ok(Response::with_metadata(message?, metadata)),
            None => Err(Status::internal("the answer is empty")),
        }
    }

    /// Answers with a stream. An error before the first message is that of the call.
    async fn many(self: Arc<Self>, seen: Seen) -> Result<Response, Status> {
        let rule = self.rule(&seen)?;
        let metadata = metadata(rule.as_deref());
        let mut steps = Box::pin(self.steps(rule, seen));
        let first = match steps.next().await {
            Some(Err(status)) => return Err(status),
            first => first,
        };
        let body = Body::from_stream(stream::iter(first).chain(steps));
        Ok(Response::with_body(body, metadata))
    }

    /// Answers each request as it comes.
    fn chat(
        self: Arc<Self>,
        requests: MessageStream,
    ) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
        let count = 0;
        let state = (self, requests, count);
        let answers = stream::unfold(state, |(mocked, mut requests, count)| async move {
            let request = requests.next().await?;
            let count = count + 1;
            let answers: BoxedAnswers = match request.and_then(|request| {
                let seen = mocked.seen(request, count)?;
                let rule = mocked.rule(&seen)?;
                Ok((rule, seen))
            }) {
                Ok((rule, seen)) => Box::pin(Arc::clone(&mocked).steps(rule, seen)),
                Err(status) => Box::pin(stream::iter([Err(status)])),
            };
            Some((answers, (mocked, requests, count)))
        });
        answers.flatten()
    }

    /// Returns the rule for a call; `None` if its answer is made from the schema.
    fn rule(&self, seen: &Seen) -> Result<Option<Arc<Rule>>, Status> {
        let Some(rules) = &self.rules else {
            self.report(seen, "an answer from the schema");
            return Ok(None);
        };
        let at = rules.iter().position(|rule| rule.takes(&seen.request));
        let rule = at.and_then(|at| Some((at, rules.get(at)?)));
        let Some((at, rule)) = rule else {
            self.report(seen, "no answer");
            return Err(Status::not_found(format!(
                "no answer of the mock is for this request of {}",
                self.descriptor.full_name()
            )));
        };
        if let Some(failures) = &rule.failures
            && self.random(|random| random.random_bool(failures.ratio))
        {
            self.report(seen, &format!("a failure of answer {}", at + 1));
            return Err(self.status(&failures.error, seen, 0));
        }
        self.report(seen, &format!("answer {}", at + 1));
        Ok(Some(Arc::clone(rule)))
    }

    fn report(&self, seen: &Seen, what: &str) {
        if let Some(output) = &self.log {
            let (name, request) = (self.descriptor.full_name(), peer(&seen.json.to_string()));
            output.note(&format!("{FAINT}{name} {request}: {what}{FAINT:#}\n"));
        }
    }

    fn random<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the messages of an answer, each when it is due.
    fn steps(
        self: Arc<Self>,
        rule: Option<Arc<Rule>>,
        seen: Seen,
    ) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
        let steps = Steps {
            mocked: self,
            rule,
            seen,
            step: 0,
            repeated: 0,
            index: 0,
        };
        stream::unfold(Some(steps), |steps| async move {
            let mut steps = steps?;
            match steps.next().await? {
                Ok(message) => Some((Ok(message), Some(steps))),
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    fn render(&self, template: &Template, seen: &Seen, index: u64) -> Json {
        self.random(|random| {
            template.render(&mut Call {
                request: &seen.json,
                count: seen.count,
                index,
                random,
            })
        })
    }

    /// Returns an encoded message.
    fn message(
        &self,
        message: &MessageDescriptor,
        template: &Template,
        seen: &Seen,
        index: u64,
    ) -> Result<Bytes, String> {
        let mut json = self.render(template, seen, index);
        if !template.is_plain() {
            template::fit(&mut json, message);
        }
        codec::to_message(message, json.to_string().as_bytes()).map(Bytes::from)
    }

    fn status(&self, fault: &Fault, seen: &Seen, index: u64) -> Status {
        let text = self.random(|random| {
            fault.message.render_text(&mut Call {
                request: &seen.json,
                count: seen.count,
                index,
                random,
            })
        });
        let mut details = Vec::new();
        for (message, type_url, template) in &fault.details {
            match self.message(message, template, seen, index) {
                Ok(value) => details.push(Any {
                    type_url: type_url.clone(),
                    value: value.into(),
                }),
                Err(why) => {
                    return Status::internal(format!("a detail of the mock is not valid: {why}"));
                }
            }
        }
        let mut status = Status::new(fault.code, text).with_details(details);
        *status.metadata_mut() = fault.metadata.clone();
        status
    }
}

type BoxedAnswers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

fn metadata(rule: Option<&Rule>) -> Metadata {
    rule.map(|rule| rule.metadata.clone()).unwrap_or_default()
}

impl Rule {
    /// Returns whether a template of the answer refers to the request.
    fn uses_request(&self) -> bool {
        let of_fault = |fault: &Fault| {
            let mut details = fault.details.iter();
            fault.message.uses_request() || details.any(|(_, _, detail)| detail.uses_request())
        };
        let of_step = |step: &Step| match &step.outcome {
            Outcome::Message(message) => message.uses_request(),
            Outcome::Error(fault) => of_fault(fault),
        };
        let failures = self.failures.as_ref();
        self.steps.iter().any(of_step) || failures.is_some_and(|f| of_fault(&f.error))
    }

    /// Returns whether a call gets this answer, and counts it then.
    fn takes(&self, request: &DynamicMessage) -> bool {
        if self
            .when
            .as_ref()
            .is_some_and(|when| !when.matches(request))
        {
            return false;
        }
        let Some(times) = self.times else {
            return true;
        };
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < times).then_some(taken + 1)
            });
        taken.is_ok()
    }
}

impl Steps {
    /// Waits until the next message is due; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        let Some(rule) = self.rule.clone() else {
            return self.made();
        };
        let step = rule.steps.get(self.step)?;
        if !step.delay.is_zero() {
            tokio::time::sleep(step.delay).await;
        }
        let index = self.index;
        self.index += 1;
        self.repeated += 1;
        if self.repeated == step.repeat {
            (self.step, self.repeated) = (self.step + 1, 0);
        }
        Some(match &step.outcome {
            Outcome::Message(template) => {
                let output = self.mocked.descriptor.output();
                let message = self.mocked.message(&output, template, &self.seen, index);
                message.map_err(|why| {
                    Status::internal(format!("{}: the answer is not valid: {why}", rule.place))
                })
            }
            Outcome::Error(fault) => Err(self.mocked.status(fault, &self.seen, index)),
        })
    }

    /// Returns the next message made from the schema; `None` at the end.
    fn made(&mut self) -> Option<Result<Bytes, Status>> {
        let descriptor = &self.mocked.descriptor;
        let is_stream = descriptor.is_server_streaming() && !descriptor.is_client_streaming();
        let number = if is_stream { DEFAULT_STREAM } else { 1 };
        if self.index == number {
            return None;
        }
        self.index += 1;
        let answer = defaults::answer(&descriptor.output(), Some(&self.seen.request));
        Some(Ok(answer.encode_to_vec().into()))
    }
}
