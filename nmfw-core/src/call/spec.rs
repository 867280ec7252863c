//! [`ServiceSpec`] and [`MethodSpec`]: static descriptions of services and methods, shared by
//! dispatch, discovery, logs and clients.

use std::{fmt, time::Duration};

use super::{client_version::client_version, method::Method};

/// The default timeout of a call.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The generator's description of a service, built by generated code at compile time.
///
/// Setters are `const` and take `self`, so that later versions can add properties without
/// regenerating code.
#[derive(Clone, Copy, Debug)]
pub struct ServiceSpec {
    pub(super) package: &'static str,
    pub(super) service: &'static str,
    pub(super) name: &'static str,
    pub(super) subject: &'static str,
    pub(super) version: &'static str,
    /// The version as sent with calls.
    pub(super) client_version: Option<&'static str>,
    pub(super) description: &'static str,
    pub(super) metadata: &'static [(&'static str, &'static str)],
    pub(super) methods: &'static [MethodSpec],
    pub(super) options: Options,
    pub(super) schema: Option<EmbeddedSchema>,
}

/// The descriptors of a service that generated code embeds: those of its `.proto` file and of all
/// files that it imports, with comments.
#[derive(Clone, Copy)]
pub struct EmbeddedSchema {
    hash: &'static str,
    compressed: &'static [u8],
}

impl EmbeddedSchema {
    /// Returns the SHA-256 of the encoded `FileDescriptorSet`, in lower-case hexadecimal digits.
    #[must_use]
    pub const fn hash(self) -> &'static str {
        self.hash
    }

    /// Returns the encoded `FileDescriptorSet`, compressed with zlib (RFC 1950).
    #[must_use]
    pub const fn compressed(self) -> &'static [u8] {
        self.compressed
    }
}

impl fmt::Debug for EmbeddedSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.hash, self.compressed.len())
    }
}

/// The generator's description of a method.
#[derive(Clone, Copy, Debug)]
pub struct MethodSpec {
    pub(super) name: &'static str,
    pub(super) kind: MethodKind,
    pub(super) idempotency: Idempotency,
    pub(super) deprecated: bool,
    pub(super) metadata: &'static [(&'static str, &'static str)],
    pub(super) options: Options,
}

/// The sides of a method that stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct MethodKind {
    pub(super) is_client_streaming: bool,
    pub(super) is_server_streaming: bool,
}

/// Options of a service, which a method can override.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) timeout: Option<Duration>,
    pub(super) queue_group: Option<QueueGroup<&'static str>>,
    pub(super) concurrency: Option<u32>,
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
            schema: None,
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

    /// Sets the descriptors: the SHA-256 of the encoded `FileDescriptorSet`, and the set, compressed
    /// with zlib.
    #[must_use]
    pub const fn with_schema(mut self, hash: &'static str, compressed: &'static [u8]) -> Self {
        self.schema = Some(EmbeddedSchema { hash, compressed });
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
            None => panic!("the service has no method with this name"),
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

    /// Returns the descriptors of the service, unless the builder that generated its code disabled
    /// `embed_schema`.
    #[must_use]
    pub const fn schema(&self) -> Option<EmbeddedSchema> {
        self.schema
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
