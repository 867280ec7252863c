//! [`NatsContext`]: what NATS adds to the context of a call.

use async_nats::Subject;

use crate::{Connection, Context};

/// Where a request came from. Calls of a session share it.
#[derive(Debug)]
pub(crate) struct NatsCall {
    pub(crate) subject: Subject,
    pub(crate) reply: Subject,
    pub(crate) connection: Connection,
}

/// What a handler can ask of a call that came over NATS. All is `None` for another call.
///
/// ```
/// use nmfw::{Context, NatsContext};
///
/// fn subject(ctx: &Context) -> &str {
///     ctx.subject().unwrap_or("no NATS")
/// }
/// # assert_eq!(subject(&Context::default()), "no NATS");
/// ```
pub trait NatsContext {
    /// The subject that the request came in on.
    fn subject(&self) -> Option<&str>;

    /// The subject that the answer goes to.
    fn reply(&self) -> Option<&str>;

    /// The server's connection: for calls to other services.
    fn connection(&self) -> Option<&Connection>;

    /// The NATS client of the server's connection: for JetStream, key-value buckets and whatever
    /// else NATS offers.
    fn nats(&self) -> Option<&async_nats::Client>;
}

impl NatsContext for Context {
    fn subject(&self) -> Option<&str> {
        Some(self.extension::<NatsCall>()?.subject.as_str())
    }

    fn reply(&self) -> Option<&str> {
        Some(self.extension::<NatsCall>()?.reply.as_str())
    }

    fn connection(&self) -> Option<&Connection> {
        Some(&self.extension::<NatsCall>()?.connection)
    }

    fn nats(&self) -> Option<&async_nats::Client> {
        self.connection().map(Connection::client)
    }
}
