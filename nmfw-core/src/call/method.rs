//! [`Method`] and [`MethodName`]: a method of a service, and its name in settings.

use std::{fmt, time::Duration};

use super::spec::{DEFAULT_TIMEOUT, Idempotency, MethodSpec, QueueGroup, ServiceSpec};

/// A method of a service, as generated, for middleware and handlers.
#[derive(Clone, Copy)]
pub struct Method {
    pub(super) service: &'static ServiceSpec,
    pub(super) index: usize,
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
