//! The environment of attacks: a broker with the users that a careful operator would define, the
//! processes of a service and of its callers, and measurements from outside.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use nmfw::{
    embedded::Broker,
    permissions::{Permissions, ServiceFacts},
};
use nmfw_tests::{
    NatsServer,
    attacked::{Made, Order, Orders, Process, Ran, Role},
    broker::Kind,
    embedded,
    failure::{Doing, Failure},
    free_port,
    permitted::user,
    puppet::PUPPET_SPEC,
    streams::STREAMS_SPEC,
};
use tempfile::TempDir;

use crate::processor::{ATTACKED, ATTACKERS, pin};

/// The subject of the hostile service's streams.
pub(crate) const HOSTILE: &str = "test.hostile";

/// The subject to which a busy peer publishes without concerning others.
pub(crate) const ELSEWHERE: &str = "elsewhere";

/// More than callers make: the numbers of other calls start here.
const CALLS: u64 = 1 << 20;

#[derive(Debug)]
enum Running {
    Embedded(#[expect(dead_code, reason = "stops when dropped")] Broker),
    NatsServer(NatsServer),
}

/// The attacker's knowledge of its target.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) monitor: u16,
    pub(crate) streams: &'static str,
    pub(crate) puppet: &'static str,
    has_users: bool,
}

impl Target {
    /// Returns the login of a user, if the broker has users.
    pub(crate) fn login<'a>(&self, user: &'a str) -> Option<&'a str> {
        self.has_users.then_some(user)
    }
}

/// A broker, a service and its callers.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) target: Target,
    pub(crate) service: Process,
    pub(crate) callers: Process,
    broker: Running,
    folder: TempDir,
}

/// The resources held by a service, according to its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) sessions: f64,
    pub(crate) running: f64,
    pub(crate) waiting: f64,
}

/// Returns the users: `service` and `caller` are honest, `client` has the permissions of `caller`,
/// `observer` may also query discovery, and `hostile` serves its own subject.
fn users() -> Result<String, nmfw::Error> {
    let (streams, puppet) = (&STREAMS_SPEC, &PUPPET_SPEC);
    let service = Permissions::service(streams)?
        .rules()
        .and(Permissions::service(puppet)?.rules());
    let client = Permissions::client(streams)?
        .wait_ready()
        .rules()
        .and(Permissions::client(puppet)?.wait_ready().rules());
    let observer = Permissions::observer(streams)?
        .rules()
        .and(Permissions::observer(puppet)?.rules());
    let elsewhere = ServiceFacts::try_from(streams)?.with_subject(HOSTILE)?;
    let hostile = Permissions::service(elsewhere.clone())?.rules();
    let caller = Permissions::client(elsewhere)?.wait_ready().rules();
    let caller = caller.and(client.clone());
    let busy = format!(
        "{{ user: busy, password: x, permissions: {{ publish: [\"{ELSEWHERE}.>\"], subscribe: [\"{ELSEWHERE}.>\", \"_INBOX.>\"] }} }}\n"
    );
    Ok([
        user("service", service),
        user("caller", caller),
        user("client", client.clone()),
        user("observer", client.and(observer)),
        user("hostile", hostile),
        busy,
    ]
    .concat())
}

fn url(target: &Target, user: &str) -> String {
    let login = target.login(user).map(|user| format!("{user}:x@"));
    format!(
        "nats://{}127.0.0.1:{}",
        login.unwrap_or_default(),
        target.port
    )
}

/// Starts a process on another processor than the attackers'.
async fn start(orders: &Orders) -> Result<Process, Failure> {
    let process = Process::start(env!("CARGO_BIN_EXE_attacked"), orders).await?;
    if let Some(id) = process.id() {
        pin(id, ATTACKED)?;
    }
    Ok(process)
}

async fn callers(target: &Target, folder: &TempDir) -> Result<Process, Failure> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let orders = Orders {
        role: Role::Callers {
            hostile: Some(HOSTILE.to_owned()),
            first: NEXT.fetch_add(CALLS, Ordering::Relaxed),
        },
        url: url(target, "caller"),
        log: folder.path().join("callers"),
    };
    start(&orders).await
}

impl Stage {
    /// Starts all processes. The callers make no calls yet.
    pub(crate) async fn start(kind: Kind) -> Result<Self, Failure> {
        pin(std::process::id(), ATTACKERS)?;
        let (broker, port) = match kind {
            Kind::Embedded => {
                let broker = embedded::start(None, None).await?;
                let port = broker.port();
                (Running::Embedded(broker), port)
            }
            Kind::NatsServer => {
                let users = users().doing("write the users")?;
                let server = NatsServer::builder()
                    .config(format!("authorization {{ users: [\n{users}] }}"))
                    .start()
                    .await?;
                let port = server.port();
                if let Some(id) = server.pid() {
                    pin(id, ATTACKERS)?;
                }
                (Running::NatsServer(server), port)
            }
        };
        let target = Target {
            port,
            monitor: free_port()?,
            streams: STREAMS_SPEC.base_subject(),
            puppet: PUPPET_SPEC.base_subject(),
            has_users: kind == Kind::NatsServer,
        };
        let folder = tempfile::tempdir().doing("make a folder")?;
        let orders = Orders {
            role: Role::Service {
                monitor: target.monitor,
            },
            url: url(&target, "service"),
            log: folder.path().join("service"),
        };
        let service = start(&orders).await?;
        let callers = callers(&target, &folder).await?;
        Ok(Self {
            target,
            service,
            callers,
            broker,
            folder,
        })
    }

    /// Returns the ids of all processes but this one.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let broker = match &self.broker {
            Running::Embedded(_) => None,
            Running::NatsServer(server) => server.pid(),
        };
        let processes = [self.service.id(), self.callers.id(), broker];
        processes.into_iter().flatten().collect()
    }

    /// Restarts the callers.
    pub(crate) async fn renew_callers(&mut self) -> Result<(), Failure> {
        self.callers = callers(&self.target, &self.folder).await?;
        Ok(())
    }

    /// Starts another instance of the service.
    pub(crate) async fn another(&self) -> Result<Process, Failure> {
        let orders = Orders {
            role: Role::Service {
                monitor: free_port()?,
            },
            url: url(&self.target, "service"),
            log: self.folder.path().join("another"),
        };
        start(&orders).await
    }

    /// Sends an order to the callers.
    pub(crate) async fn tell(&mut self, order: &Order) -> Result<Made, Failure> {
        self.callers.order(order).await.map_err(|failure| {
            let log = self.callers.log().unwrap_or_default();
            let log = String::from_utf8_lossy(&log[log.len().saturating_sub(2_000)..]).into_owned();
            failure.while_doing(format_args!(
                "send an order to the callers, whose log ends with {log:?}"
            ))
        })
    }

    /// Asks the service for its runs.
    pub(crate) async fn ran(&mut self, asked: Vec<u64>) -> Result<Ran, Failure> {
        self.service.order(&Order::Ran(asked)).await
    }

    /// Reads the resources held by the service from its metrics.
    pub(crate) fn held(&self) -> Result<Held, Failure> {
        let page = get(self.target.monitor, "/metrics")?;
        let sum = |name: &str| -> f64 {
            let lines = page.lines().filter(|line| {
                let rest = line.strip_prefix(name);
                rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            });
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.sum()
        };
        Ok(Held {
            sessions: sum("nmfw_sessions"),
            running: sum("nmfw_server_in_flight"),
            waiting: sum("nmfw_server_queue_depth"),
        })
    }
}

/// Fetches a page of the monitoring port.
pub(crate) fn get(port: u16, path: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).doing("reach the monitoring port")?;
    let limit = Some(Duration::from_secs(5));
    stream.set_read_timeout(limit).doing("set a timeout")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let sent = stream.write_all(request.as_bytes());
    sent.doing("send a request to the monitoring port")?;
    let mut page = String::new();
    let read = stream.read_to_string(&mut page);
    read.doing(format_args!("read {path}"))?;
    if page.starts_with("HTTP/1.1 200") {
        Ok(page)
    } else {
        let line = page.lines().next().unwrap_or_default();
        Err(Failure::new(format!("{path}: {line:?}")))
    }
}
