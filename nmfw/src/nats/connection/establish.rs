//! Establishes connections from options: attempts, delays, and the interpretation of async-nats'
//! errors.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{ConnectErrorKind, rustls};
use rand::RngExt as _;

use super::{
    Connection,
    events::{EventHub, LOG},
    options::ConnectOptions,
    server_message::is_limit,
    server_url::Servers,
};
use nmfw_core::error::{Error, ErrorKind};

const DEFAULT_ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(50);

pub(super) async fn establish(
    options: ConnectOptions,
    servers: Servers,
) -> Result<Connection, Error> {
    check(&options)?;
    let attempts = options.connect_attempts.unwrap_or(DEFAULT_ATTEMPTS);
    let wait = options.wait_for_server;
    let hub = EventHub::new(servers.to_string());
    let capacity = options.subscription_capacity;
    // Without the hub's callback, because dropping the last clone of the callback marks the end of
    // the connection.
    let bare = client_options(options, &servers, &hub).await?;
    let options = hub.install(bare.clone());

    let started = Instant::now();
    let mut attempt: u32 = 1;
    // An attempt that the time limit cuts short is less informative than the previous one.
    let mut last: Option<async_nats::ConnectError> = None;
    loop {
        let result = match wait.map(|limit| limit.saturating_sub(started.elapsed())) {
            None => options.clone().connect(servers.addresses()).await,
            Some(left) => {
                let connecting = options.clone().connect(servers.addresses());
                let timed_out = || async_nats::ConnectError::new(ConnectErrorKind::TimedOut);
                tokio::time::timeout(left, connecting)
                    .await
                    .unwrap_or_else(|_| Err(last.take().unwrap_or_else(timed_out)))
            }
        };
        let error = match result {
            Ok(client) => {
                hub.attach(&client);
                // None if changed client options made this return early.
                if let Some(server) = client.try_server_info() {
                    tracing::info!(
                        target: LOG,
                        servers = %servers,
                        server_name = server.server_name,
                        server_version = server.version,
                        client_id = server.client_id,
                        "connected"
                    );
                }
                let connection = Connection::new(client, hub, capacity);
                connection.leave_lame_ducks(bare);
                return Ok(connection);
            }
            Err(error) => error,
        };

        let kind = classify(&error);
        let give_up = match wait {
            Some(limit) => started.elapsed() >= limit,
            None => attempt >= attempts,
        };
        if give_up || !worth_retrying(kind) {
            return Err(explain(kind, error, &servers, attempt, started.elapsed()));
        }
        let pause = backoff(FIRST_PAUSE, attempt);
        let left = wait.map_or(pause, |limit| limit.saturating_sub(started.elapsed()));
        // Logged with exponentially decreasing frequency.
        if attempt.is_power_of_two() {
            tracing::warn!(
                target: LOG, servers = %servers, attempt, %error, "cannot connect, retrying"
            );
        }
        tokio::time::sleep(pause.min(left)).await;
        last = Some(error);
        attempt = attempt.saturating_add(1);
    }
}

/// Refuses values with which async-nats or tokio would panic, spin or do the opposite.
fn check(options: &ConnectOptions) -> Result<(), Error> {
    let bad = |what: &str| Err(Error::new(ErrorKind::InvalidConfig, what));
    let most = tokio::sync::Semaphore::MAX_PERMITS;
    if options.connect_attempts == Some(0) {
        return bad("connect_attempts must be at least 1");
    }
    if options.max_reconnects == Some(0) {
        return bad("max_reconnects must be at least 1, or None to retry forever");
    }
    if options.connection_timeout == Some(Duration::ZERO) {
        return bad("connection_timeout must be longer than zero");
    }
    if options.ping_interval == Some(Duration::ZERO) {
        return bad("ping_interval must be longer than zero");
    }
    if options
        .subscription_capacity
        .is_some_and(|capacity| capacity == 0 || capacity > most)
    {
        return bad("subscription_capacity must be at least 1, and less than an eighth of usize");
    }
    if options
        .client_capacity
        .is_some_and(|capacity| capacity == 0 || capacity > most)
    {
        return bad("client_capacity must be at least 1, and less than an eighth of usize");
    }
    if let Some(prefix) = &options.inbox_prefix {
        let token = |token: &str| {
            !token.is_empty()
                && !token.contains(|c: char| c.is_whitespace() || c.is_control())
                && !token.contains(['*', '>'])
        };
        if !prefix.split('.').all(token) {
            return bad(&format!(
                "inbox_prefix {prefix:?} is not a subject: use tokens separated by dots, without \
                 wildcards or white space"
            ));
        }
    }
    Ok(())
}

async fn client_options(
    options: ConnectOptions,
    servers: &Servers,
    hub: &Arc<EventHub>,
) -> Result<async_nats::ConnectOptions, Error> {
    let credentials = match &servers.login {
        Some(login) if options.credentials.is_empty() => options.credentials.with_url_login(login),
        _ => options.credentials,
    };
    let inbox_prefix = match options.inbox_prefix {
        Some(prefix) => Some(prefix),
        None => credentials.inbox_prefix().await,
    };
    let mut client = credentials.into_options().await?;
    client = options.tls.apply(client, servers.tls).await?;

    // async-nats counts attempts per server, including the first round: a smaller number would
    // leave some servers untried and hide why the others failed.
    client = client.max_reconnects(options.max_reconnects.map(|n| n.max(servers.len())));
    let first = Arc::clone(hub);
    let delay = options.reconnect_delay;
    client = client.reconnect_delay_callback(move |attempt| {
        let state = first.current();
        if state.is_closed() {
            // async-nats cannot stop a reconnecting client, so it is parked.
            return PARKED;
        }
        if state.epoch == 0 {
            // The first connect has its own delays.
            return Duration::ZERO;
        }
        if first.is_moving() && attempt <= MAX_HURRIED {
            return Duration::ZERO;
        }
        match &delay {
            Some(delay) => delay(attempt),
            None => backoff(
                FIRST_RECONNECT_DELAY,
                u32::try_from(attempt).unwrap_or(u32::MAX),
            ),
        }
    });

    let choose = options.reconnect_to_server;
    let asked = Arc::clone(hub);
    client = client.reconnect_to_server_callback(move |servers, info| {
        // The second connection of a relocation uses these options too.
        if !asked.is_connected() {
            asked.refusal.note(&servers);
        }
        // A choice has its own delay, so there must be none once the connection is closed, or the
        // client would not be parked.
        let choose = choose.as_ref().filter(|_| !asked.current().is_closed());
        let choice = choose.map(|choose| choose(servers, info));
        async move { choice?.await }
    });

    if let Some(name) = options.name {
        client = client.name(name);
    }
    if let Some(prefix) = inbox_prefix {
        client = client.custom_inbox_prefix(prefix);
    }
    if let Some(timeout) = options.connection_timeout {
        client = client.connection_timeout(timeout);
    }
    if let Some(interval) = options.ping_interval {
        client = client.ping_interval(interval);
    }
    if let Some(capacity) = options.subscription_capacity {
        client = client.subscription_capacity(capacity);
    }
    if let Some(capacity) = options.client_capacity {
        client = client.client_capacity(capacity);
    }
    if let Some(capacity) = options.read_buffer_capacity {
        client = client.read_buffer_capacity(capacity);
    }
    if let Some(address) = options.local_address {
        client = client.local_address(address);
    }
    // Servers discovered over WebSocket come without a scheme and would be dialled as plain TCP.
    if options.ignore_discovered_servers || servers.websocket {
        client = client.ignore_discovered_servers();
    }
    if options.retain_servers_order {
        client = client.retain_servers_order();
    }
    if let Some(change) = options.client_options {
        client = change(client);
    }
    Ok(client)
}

/// Number of servers that a connection tries without a delay while it is being moved.
const MAX_HURRIED: usize = 8;

/// Long enough to be unlimited, without overflowing time arithmetic.
const PARKED: Duration = Duration::from_secs(365 * 24 * 3600);

/// Doubles from `first` up to [`LONGEST_PAUSE`], and returns a random value between half of that
/// and all of it.
fn backoff(first: Duration, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let ceiling = first.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    ceiling.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Returns the server's message about its refusal, if there is one.
fn server_words(error: &async_nats::ConnectError) -> Option<String> {
    causes(error).find_map(|cause| match cause.downcast_ref()? {
        async_nats::ServerError::AuthorizationViolation => {
            Some("Authorization Violation".to_owned())
        }
        async_nats::ServerError::Other(text) => Some(text.clone()),
        async_nats::ServerError::SlowConsumer(_) => None,
    })
}

/// Returns the kind of an async-nats error. Nearly everything is `Io`, so the causes decide.
fn classify(error: &async_nats::ConnectError) -> ErrorKind {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => ErrorKind::Authorization,
        // The nonce could not be signed, or the auth callback failed; the server is not involved.
        ConnectErrorKind::Authentication => ErrorKind::Credentials,
        ConnectErrorKind::Tls => ErrorKind::Tls,
        ConnectErrorKind::ServerParse => ErrorKind::InvalidUrl,
        _ if causes(error).any(is_tls) => ErrorKind::Tls,
        _ if causes(error).any(is_authorization) => ErrorKind::Authorization,
        _ if server_words(error).is_some_and(|words| is_limit(&words)) => ErrorKind::Limit,
        _ => ErrorKind::Connect,
    }
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn is_tls(cause: &(dyn StdError + 'static)) -> bool {
    let inside = cause
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    cause.is::<rustls::Error>()
        || inside.is_some_and(<dyn StdError + Send + Sync>::is::<rustls::Error>)
}

/// Recognises further messages of the server for a refused login.
fn is_authorization(cause: &(dyn StdError + 'static)) -> bool {
    match cause.downcast_ref::<async_nats::ServerError>() {
        Some(async_nats::ServerError::Other(text)) => {
            let text = text.to_ascii_lowercase();
            text.contains("authentication expired") || text.contains("authentication revoked")
        }
        Some(async_nats::ServerError::AuthorizationViolation) => true,
        _ => false,
    }
}

/// Returns whether another attempt can succeed: a server may come back, and a limit may be free
/// again when another client leaves, but a wrong password stays wrong.
fn worth_retrying(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Connect | ErrorKind::Limit)
}

/// Returns whether the server has answered the TLS handshake with plain text, as it does when it
/// refuses the connection before.
fn is_plain_text(cause: &(dyn StdError + 'static)) -> bool {
    let inside = cause
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    let inside = inside.and_then(|inside| inside.downcast_ref::<rustls::Error>());
    let rustls = cause.downcast_ref::<rustls::Error>().or(inside);
    matches!(
        rustls,
        Some(rustls::Error::InvalidMessage(
            rustls::InvalidMessage::InvalidContentType
        ))
    )
}

fn explain(
    kind: ErrorKind,
    error: async_nats::ConnectError,
    servers: &Servers,
    attempts: u32,
    elapsed: Duration,
) -> Error {
    let tried = format!(
        "({attempts} {} in {elapsed:.1?})",
        if attempts == 1 { "attempt" } else { "attempts" }
    );
    let words = server_words(&error);
    let message = match kind {
        ErrorKind::Limit => format!(
            "{servers} refused the connection because of a limit {tried}: raise the limit of the \
             NATS server or of the account, or close other connections"
        ),
        ErrorKind::Tls if causes(&error).any(is_plain_text) => format!(
            "no TLS connection to {servers}: the server answered without TLS, because it does not \
             use TLS as configured here, or because it has reached its max_connections"
        ),
        ErrorKind::Authorization => format!(
            "{servers} refused the login: check the user, password, token or credentials file, and \
             that the account allows connections"
        ),
        ErrorKind::Tls => format!(
            "no TLS connection to {servers}: check that the server's certificate is valid for this \
             host and signed by a trusted authority, and that the server uses TLS as configured \
             here"
        ),
        ErrorKind::Connect => format!(
            "cannot connect to {servers} {tried}: check that a NATS server runs there and is \
             reachable from this host"
        ),
        ErrorKind::Credentials => format!(
            "cannot log in to {servers}: the callback that signs or returns the credentials failed"
        ),
        _ => format!("cannot connect to {servers}"),
    };
    let message = match words {
        Some(words) => format!("{message}; the NATS server reports {words:?}"),
        None => message,
    };
    Error::new(kind, message).with_source(error)
}
