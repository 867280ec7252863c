//! Static descriptions of services and methods, shared by dispatch, discovery, logs and clients.

use std::{fmt, time::Duration};

/// The default timeout of a call.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The generator's description of a service, built by generated code at compile time.
///
/// Setters are `const` and take `self`, so that later versions can add properties without
/// regenerating code.
#[derive(Clone, Copy, Debug)]
pub struct ServiceSpec {
    package: &'static str,
    service: &'static str,
    name: &'static str,
    subject: &'static str,
    version: &'static str,
    /// The version as sent with calls.
    client_version: Option<&'static str>,
    description: &'static str,
    metadata: &'static [(&'static str, &'static str)],
    methods: &'static [MethodSpec],
    options: Options,
}

/// The generator's description of a method.
#[derive(Clone, Copy, Debug)]
pub struct MethodSpec {
    name: &'static str,
    kind: MethodKind,
    idempotency: Idempotency,
    deprecated: bool,
    metadata: &'static [(&'static str, &'static str)],
    options: Options,
}

/// The sides of a method that stream.
#[derive(Clone, Copy, Debug)]
struct MethodKind {
    is_client_streaming: bool,
    is_server_streaming: bool,
}

/// Options of a service, which a method can override.
#[derive(Clone, Copy, Debug)]
struct Options {
    timeout: Option<Duration>,
    queue_group: Option<QueueGroup<&'static str>>,
    concurrency: Option<u32>,
}

impl Options {
    const NONE: Self = Self {
        timeout: None,
        queue_group: None,
        concurrency: None,
    };
}

/// The distribution of requests over instances: one instance of a queue group gets a request, or
/// all instances do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueGroup<S> {
    Named(S),
    None,
}

/// Whether a call may be retried, from the standard `idempotency_level` option.
///
/// Later versions of protobuf may add levels, so a `match` needs a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Idempotency {
    /// Unknown: a call is not retried if its outcome is unknown.
    #[default]
    Unknown,
    /// Repeating a call has the same effect as making it once.
    Idempotent,
    /// A call has no side effects.
    NoSideEffects,
}

impl ServiceSpec {
    /// Creates the description of a service in a package (empty if there is none), both spelled as
    /// in the `.proto`.
    #[must_use]
    pub const fn new(package: &'static str, service: &'static str) -> Self {
        Self {
            package,
            service,
            name: service,
            subject: service,
            version: "0.0.0",
            client_version: Some("0.0.0"),
            description: "",
            metadata: &[],
            methods: &[],
            options: Options::NONE,
        }
    }

    /// Sets the name in discovery.
    #[must_use]
    pub const fn with_name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets the subject to which the methods' names are appended.
    #[must_use]
    pub const fn with_subject(mut self, subject: &'static str) -> Self {
        self.subject = subject;
        self
    }

    /// Sets the semantic version.
    #[must_use]
    pub const fn with_version(mut self, version: &'static str) -> Self {
        self.version = version;
        self.client_version = client_version(version);
        self
    }

    /// Sets the description in discovery.
    #[must_use]
    pub const fn with_description(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Sets the metadata in discovery.
    #[must_use]
    pub const fn with_metadata(
        mut self,
        metadata: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets the timeout of its methods.
    #[must_use]
    pub const fn with_timeout_ms(mut self, millis: u64) -> Self {
        self.options.timeout = Some(Duration::from_millis(millis));
        self
    }

    /// Sets the queue group of its methods.
    #[must_use]
    pub const fn with_queue_group(mut self, group: &'static str) -> Self {
        self.options.queue_group = Some(QueueGroup::Named(group));
        self
    }

    /// Lets every instance get every request.
    #[must_use]
    pub const fn without_queue_group(mut self) -> Self {
        self.options.queue_group = Some(QueueGroup::None);
        self
    }

    /// Sets the concurrency limit of each of its methods.
    #[must_use]
    pub const fn with_concurrency(mut self, limit: u32) -> Self {
        self.options.concurrency = Some(limit);
        self
    }

    /// Sets the methods.
    #[must_use]
    pub const fn with_methods(mut self, methods: &'static [MethodSpec]) -> Self {
        self.methods = methods;
        self
    }

    /// Returns the method at an index of [`methods`](Self::methods).
    ///
    /// # Panics
    /// Panics if `index` is out of bounds.
    #[must_use]
    pub const fn method(&'static self, index: usize) -> Method {
        assert!(
            index < self.methods.len(),
            "the service has no method with this index"
        );
        Method {
            service: self,
            index,
        }
    }

    /// Returns the method with this name in the `.proto`. Generated code defines the constants of
    /// methods with it, such as `CalcServer::ADD`: in a `const`, a wrong name does not compile.
    ///
    /// ```
    /// use nmfw::Method;
    /// # use nmfw::{MethodSpec, ServiceSpec};
    /// # pub static CALC_SPEC: ServiceSpec =
    /// #     ServiceSpec::new("calc", "Calc").with_methods(&[MethodSpec::unary("Add")]);
    /// const ADD: Method = CALC_SPEC.method_named("Add");
    ///
    /// assert_eq!(ADD.full_name(), "calc.Calc.Add");
    /// ```
    ///
    /// # Panics
    /// Panics if the service has no method with this name. [`find_method`](Self::find_method) does
    /// not panic.
    #[must_use]
    pub const fn method_named(&'static self, name: &str) -> Method {
        match self.find_method(name) {
            Some(method) => method,
            None => panic!("the service has no method of that name"),
        }
    }

    /// Returns the method with this name in the `.proto`, for names that are known only at run
    /// time.
    #[must_use]
    pub const fn find_method(&'static self, name: &str) -> Option<Method> {
        let mut index = 0;
        while index < self.methods.len() {
            if equal(self.methods[index].name, name) {
                return Some(self.method(index));
            }
            index += 1;
        }
        None
    }

    /// Returns all methods, in the order of the `.proto`.
    pub fn methods(&'static self) -> impl ExactSizeIterator<Item = Method> {
        (0..self.methods.len()).map(move |index| Method {
            service: self,
            index,
        })
    }

    /// Returns the name in discovery, for example `calc`.
    #[must_use]
    pub const fn discovery_name(&self) -> &'static str {
        self.name
    }

    /// Returns the subject to which the methods' names are appended, for example `nmfw.calc`.
    #[must_use]
    pub const fn base_subject(&self) -> &'static str {
        self.subject
    }

    /// Returns the semantic version.
    #[must_use]
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// Returns the version as sent with calls: shortened if it is long, `None` if it is not valid.
    #[doc(hidden)]
    pub const fn client_version(&self) -> Option<&'static str> {
        self.client_version
    }

    /// Returns the description in discovery; empty if there is none.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        self.description
    }

    /// Returns the metadata in discovery.
    #[must_use]
    pub const fn metadata(&self) -> &'static [(&'static str, &'static str)] {
        self.metadata
    }

    pub(crate) fn default_queue_group(&self) -> Option<QueueGroup<&'static str>> {
        self.options.queue_group
    }

    /// Returns the full name in the `.proto`, for example `calc.Calc`.
    #[must_use]
    pub fn full_name(&self) -> String {
        self.proto_name().to_string()
    }

    pub(crate) fn proto_name(&self) -> impl fmt::Display {
        ProtoName(self.package, self.service)
    }
}

/// Compares strings in a `const` context.
const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut equal = a.len() == b.len();
    let mut i = 0;
    while equal && i < a.len() {
        equal = a[i] == b[i];
        i += 1;
    }
    equal
}

struct ProtoName(&'static str, &'static str);

impl fmt::Display for ProtoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(package, service) = self;
        match package.is_empty() {
            true => f.write_str(service),
            false => write!(f, "{package}.{service}"),
        }
    }
}

impl MethodSpec {
    /// Describes a method with one request and one response.
    #[must_use]
    pub const fn unary(name: &'static str) -> Self {
        Self::new(name, false, false)
    }

    /// Describes a method with one request and a stream of responses.
    #[must_use]
    pub const fn server_streaming(name: &'static str) -> Self {
        Self::new(name, false, true)
    }

    /// Describes a method with a stream of requests and one response.
    #[must_use]
    pub const fn client_streaming(name: &'static str) -> Self {
        Self::new(name, true, false)
    }

    /// Describes a method with streams in both directions.
    #[must_use]
    pub const fn streaming(name: &'static str) -> Self {
        Self::new(name, true, true)
    }

    const fn new(name: &'static str, is_client_streaming: bool, is_server_streaming: bool) -> Self {
        Self {
            name,
            kind: MethodKind {
                is_client_streaming,
                is_server_streaming,
            },
            idempotency: Idempotency::Unknown,
            deprecated: false,
            metadata: &[],
            options: Options::NONE,
        }
    }

    /// Marks the method as idempotent.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotency = Idempotency::Idempotent;
        self
    }

    /// Marks the method as having no side effects.
    #[must_use]
    pub const fn no_side_effects(mut self) -> Self {
        self.idempotency = Idempotency::NoSideEffects;
        self
    }

    /// Marks the method as deprecated.
    #[must_use]
    pub const fn deprecated(mut self) -> Self {
        self.deprecated = true;
        self
    }

    /// Sets the timeout.
    #[must_use]
    pub const fn with_timeout_ms(mut self, millis: u64) -> Self {
        self.options.timeout = Some(Duration::from_millis(millis));
        self
    }

    /// Sets the queue group.
    #[must_use]
    pub const fn with_queue_group(mut self, group: &'static str) -> Self {
        self.options.queue_group = Some(QueueGroup::Named(group));
        self
    }

    /// Delivers each request to every instance.
    #[must_use]
    pub const fn without_queue_group(mut self) -> Self {
        self.options.queue_group = Some(QueueGroup::None);
        self
    }

    /// Sets the concurrency limit.
    #[must_use]
    pub const fn with_concurrency(mut self, limit: u32) -> Self {
        self.options.concurrency = Some(limit);
        self
    }

    /// Sets the metadata in discovery.
    #[must_use]
    pub const fn with_metadata(
        mut self,
        metadata: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.metadata = metadata;
        self
    }
}

/// A method of a service, as generated, for middleware and handlers.
#[derive(Clone, Copy)]
pub struct Method {
    service: &'static ServiceSpec,
    index: usize,
}

impl Method {
    const fn spec(self) -> &'static MethodSpec {
        &self.service.methods[self.index]
    }

    /// Returns the name in the `.proto`, for example `Add`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns the full name in the `.proto`, for example `calc.Calc.Add`.
    #[must_use]
    pub fn full_name(self) -> String {
        format!("{}.{}", self.service.full_name(), self.name())
    }

    /// Returns the service of the method.
    #[must_use]
    pub const fn service(self) -> &'static ServiceSpec {
        self.service
    }

    /// Returns whether a call may be retried.
    #[must_use]
    pub const fn idempotency(self) -> Idempotency {
        self.spec().idempotency
    }

    /// Returns whether the `.proto` marks the method as deprecated.
    #[must_use]
    pub const fn is_deprecated(self) -> bool {
        self.spec().deprecated
    }

    /// Returns whether the caller sends a stream of messages.
    #[must_use]
    pub const fn is_client_streaming(self) -> bool {
        self.spec().kind.is_client_streaming
    }

    /// Returns whether the service responds with a stream of messages.
    #[must_use]
    pub const fn is_server_streaming(self) -> bool {
        self.spec().kind.is_server_streaming
    }

    /// Returns whether either side sends a stream of messages.
    #[must_use]
    pub const fn is_streaming(self) -> bool {
        self.is_client_streaming() || self.is_server_streaming()
    }

    /// Returns the default timeout of a call, if neither caller nor server sets one: the method's
    /// option, otherwise the service's, otherwise [`DEFAULT_TIMEOUT`].
    ///
    /// A method that [streams](Self::is_streaming) is limited only by its own option, because the
    /// timeout of other methods says nothing about the duration of a stream. Without it, the result
    /// is `None`: no limit.
    #[must_use]
    pub fn timeout(self) -> Option<Duration> {
        let own = self.spec().options.timeout;
        if self.is_streaming() {
            return own;
        }
        let service = self.service.options.timeout;
        Some(own.or(service).unwrap_or(DEFAULT_TIMEOUT))
    }

    pub(crate) const fn index(self) -> usize {
        self.index
    }

    /// Returns whether both are the same method of the `.proto`, from which two crates may have
    /// generated code.
    pub(crate) fn is_the_same_as(self, other: Self) -> bool {
        self.id() == other.id()
            || (self.name() == other.name()
                && self.service.service == other.service.service
                && self.service.package == other.service.package)
    }

    /// Returns an identifier that is unique in the program: the address of the service's
    /// description, and the index of the method.
    pub(crate) fn id(self) -> (usize, usize) {
        (std::ptr::from_ref(self.service).addr(), self.index)
    }

    /// Returns the metadata in discovery.
    #[must_use]
    pub const fn metadata(self) -> &'static [(&'static str, &'static str)] {
        self.spec().metadata
    }

    pub(crate) fn queue_group(self) -> Option<QueueGroup<&'static str>> {
        self.spec().options.queue_group
    }

    pub(crate) fn concurrency(self) -> Option<u32> {
        self.spec()
            .options
            .concurrency
            .or(self.service.options.concurrency)
    }
}

/// Returns the full name in the `.proto`, for functions that take names of methods.
impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.full_name()
    }
}

/// A method named in settings: by a constant of generated code, such as `CalcServer::ADD`, or by a
/// text, for example from a configuration.
///
/// The compiler checks constants. A text is the name in the `.proto`, `Add`, or the full name,
/// `calc.Calc.Add`, and is checked by the function that receives it.
#[derive(Clone)]
pub struct MethodName(Name);

#[derive(Clone)]
enum Name {
    Method(Method),
    Text(String),
}

impl MethodName {
    /// Returns whether the name is that of a method.
    pub(crate) fn is(&self, method: Method) -> bool {
        match &self.0 {
            Name::Method(named) => named.is_the_same_as(method),
            Name::Text(text) => text == method.name() || *text == method.full_name(),
        }
    }

    /// Returns whether the method is known to exist, because it was not named by a text.
    pub(crate) fn is_constant(&self) -> bool {
        matches!(self.0, Name::Method(_))
    }
}

impl From<Method> for MethodName {
    fn from(method: Method) -> Self {
        Self(Name::Method(method))
    }
}

impl From<&str> for MethodName {
    fn from(text: &str) -> Self {
        Self(Name::Text(text.to_owned()))
    }
}

impl From<String> for MethodName {
    fn from(text: String) -> Self {
        Self(Name::Text(text))
    }
}

impl From<&String> for MethodName {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

/// Formats the name as `Display` does, in quotation marks.
impl fmt::Debug for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// Formats the text, or the full name of the method.
impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Method(method) => fmt::Display::fmt(method, f),
            Name::Text(text) => f.write_str(text),
        }
    }
}

/// Formats the full name in the `.proto`.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service.proto_name(), self.name())
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Method({self})")
    }
}

/// Maximum length of a calling service's version on the wire, in bytes.
pub const MAX_CLIENT_VERSION: usize = 64;

/// Shortens the version of a calling service. A version of more than 64 bytes loses its build
/// metadata, then its pre-release, and is then cut. Senders and receivers apply the same rule.
/// Returns `None` if it is empty or has characters other than `[0-9A-Za-z.+-]`.
///
/// A call never fails because of the length of a version, which is only used in logs.
pub const fn client_version(version: &str) -> Option<&str> {
    let bytes = version.as_bytes();
    let mut at = 0;
    let mut pre_release = bytes.len();
    let mut build = bytes.len();
    while at < bytes.len() {
        match bytes[at] {
            b'+' if build == bytes.len() => build = at,
            b'-' if pre_release == bytes.len() && build == bytes.len() => pre_release = at,
            b'.' | b'+' | b'-' => {}
            other if other.is_ascii_alphanumeric() => {}
            _ => return None,
        }
        at += 1;
    }
    let mut end = bytes.len();
    if end > MAX_CLIENT_VERSION {
        end = build;
    }
    if end > MAX_CLIENT_VERSION {
        end = pre_release;
    }
    if end > MAX_CLIENT_VERSION {
        end = MAX_CLIENT_VERSION;
    }
    if end == 0 {
        return None;
    }
    Some(version.split_at(end).0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) static SPEC: ServiceSpec = ServiceSpec::new("calc", "Calc")
        .with_name("calc")
        .with_subject("nmfw.calc")
        .with_version("0.0.2")
        .with_timeout_ms(2000)
        .with_methods(&[
            MethodSpec::unary("Average"),
            MethodSpec::unary("Add")
                .with_timeout_ms(200)
                .with_concurrency(3),
        ]);

    #[test]
    fn the_method_goes_before_the_service() {
        assert_eq!(SPEC.method(0).timeout(), Some(Duration::from_secs(2)));
        assert_eq!(SPEC.method(1).timeout(), Some(Duration::from_millis(200)));
        assert_eq!(SPEC.method(1).to_string(), "calc.Calc.Add");
        assert_eq!(SPEC.method(1).full_name(), "calc.Calc.Add");
    }

    #[test]
    fn methods_are_found_by_name() {
        const ADD: Method = SPEC.method_named("Add");
        assert_eq!(ADD.id(), SPEC.method(1).id());
        std::panic::catch_unwind(|| SPEC.method_named("Ad")).unwrap_err();
        assert!(SPEC.find_method("Ad").is_none());
        let names: Vec<_> = SPEC.methods().map(Method::name).collect();
        assert_eq!(names, ["Average", "Add"]);
    }

    #[test]
    fn a_method_that_was_generated_twice_is_one() {
        static AGAIN: ServiceSpec = ServiceSpec::new("calc", "Calc")
            .with_methods(&[MethodSpec::unary("Add"), MethodSpec::unary("Average")]);
        static OTHER: ServiceSpec =
            ServiceSpec::new("calc", "Other").with_methods(&[MethodSpec::unary("Average")]);
        let average = SPEC.method(0);
        assert!(average.is_the_same_as(AGAIN.method(1)));
        assert!(!average.is_the_same_as(AGAIN.method(0)));
        assert!(!average.is_the_same_as(OTHER.method(0)));
    }
}
