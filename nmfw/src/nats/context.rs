//! [`NatsContext`]: NATS-specific methods of a call's context.

use async_nats::Subject;

use crate::{Connection, Context};

/// The NATS facts of a request. Calls of a session share them.
#[derive(Debug)]
pub(crate) struct NatsCall {
    pub(crate) subject: Subject,
    pub(crate) reply: Subject,
    pub(crate) connection: Connection,
}

/// The NATS facts of a handler's call. Without NATS, all methods return `None`.
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
    /// Returns the subject on which the request arrived.
    fn subject(&self) -> Option<&str>;

    /// Returns the subject of the response.
    fn reply(&self) -> Option<&str>;

    /// Returns the server's connection, for calls to other services.
    fn connection(&self) -> Option<&Connection>;
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
}
