//! A real `nats-server` for a test.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::time::{Instant, sleep};

use crate::failure::{Doing, Failure};
use crate::nats_server;
use crate::ports::free_port;
use crate::probe::{self, Answer};
use crate::server_log::ServerLog;

/// How long a server may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(15);

/// How long a server may take to leave once told to.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A running `nats-server`: killed when dropped, its log shown when the test panics.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    args: Vec<String>,
    name: String,
    port: u16,
    tls_first: bool,
    /// The configuration that does not come from the test.
    own_config: String,
    child: Option<Child>,
    log: ServerLog,
}

/// What a server is started with.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NatsServerBuilder {
    port: Option<u16>,
    config: String,
    jetstream: bool,
    trace: bool,
}

impl NatsServerBuilder {
    /// This port and no other; without it a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// More configuration, in the server's own language: accounts, permissions, `max_payload`,
    /// TLS, websocket, leaf nodes, cluster. Takes ports from [`free_port`].
    pub fn config(mut self, text: impl AsRef<str>) -> Self {
        self.config.push_str(text.as_ref());
        self.config.push('\n');
        self
    }

    /// Messages larger than this many bytes are refused by the server.
    pub fn max_payload(self, bytes: usize) -> Self {
        self.config(format!("max_payload: {bytes}"))
    }

    /// `JetStream`, stored in the server's own temporary directory, which lives through restarts.
    pub fn jetstream(mut self) -> Self {
        self.jetstream = true;
        self
    }

    /// Every protocol line in the log. For looking into one test, too much for all of them.
    pub fn trace(mut self) -> Self {
        self.trace = true;
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// Fails if there is no `nats-server` (and what to do), or that it did not come up (with its log).
    pub async fn start(self) -> Result<NatsServer, Failure> {
        let program = tokio::task::spawn_blocking(nats_server::program)
            .await
            .doing("look for nats-server")??;
        let log = ServerLog::new()?;
        let config = log.dir().join("server.conf");
        // Another process can take a free port before the server does: then try another one.
        let attempts = if self.port.is_some() { 1 } else { 5 };
        let mut last = None;
        for _ in 0..attempts {
            let port = self.port.map_or_else(free_port, Ok)?;
            let name = unique_name();
            let mut text = format!("server_name: {name:?}\nlisten: \"127.0.0.1:{port}\"\n");
            if self.jetstream {
                text.push_str(&format!(
                    "jetstream {{ store_dir: {:?} }}\n",
                    log.dir().join("js")
                ));
            }
            let own_config = text.clone();
            text.push_str(&self.config);
            fs::write(&config, text).doing(format_args!("write {}", config.display()))?;
            let mut args = vec!["--config".to_owned(), config.display().to_string()];
            if self.trace {
                args.push("-DV".to_owned());
            }
            let mut server = NatsServer {
                program: program.clone(),
                args,
                name,
                port,
                tls_first: self.config.contains("handshake_first"),
                own_config,
                child: None,
                log: log.clone(),
            };
            match server.spawn().await {
                Ok(()) => return Ok(server),
                Err(failure) if log.text().contains("address already in use") => {
                    last = Some(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::new("no attempt to start nats-server")))
    }
}

impl NatsServer {
    /// A server with nothing but defaults, on a free loopback port.
    ///
    /// # Errors
    ///
    /// See [`NatsServerBuilder::start`].
    pub async fn start() -> Result<Self, Failure> {
        Self::builder().start().await
    }

    /// A server to be configured.
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The client port, the same after every restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, `None` while the server is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The log, over all restarts. Remains readable when the server is gone.
    #[must_use]
    pub fn log(&self) -> &ServerLog {
        &self.log
    }

    /// Kills the server if it runs, and starts it on the same port.
    ///
    /// # Errors
    ///
    /// See [`NatsServerBuilder::start`].
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.kill()?;
        self.spawn().await
    }

    /// `SIGKILL`: connections break without a word. Returns when the process is gone.
    ///
    /// # Errors
    ///
    /// Fails if the process could not be killed.
    pub fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child.kill().doing("kill nats-server")?;
            child.wait().doing("wait for the killed nats-server")?;
        }
        Ok(())
    }

    /// `SIGTERM`: an orderly shutdown. Returns when the process is gone.
    ///
    /// # Errors
    ///
    /// Fails if the server does not run, or did not leave in time.
    pub async fn terminate(&mut self) -> Result<(), Failure> {
        self.signal(Signal::TERM)?;
        self.gone().await.map(drop)
    }

    /// `SIGUSR2`: lame-duck mode. The server says so to its clients, then asks them to leave one
    /// by one over at least half a minute; this does not wait for that.
    ///
    /// # Errors
    ///
    /// Fails if the server does not run.
    pub fn lame_duck(&self) -> Result<(), Failure> {
        self.signal(Signal::USR2).map(drop)
    }

    /// `SIGSTOP`: connections stay open and nothing answers, like a hung machine. Returns when all
    /// its threads have stopped.
    ///
    /// # Errors
    ///
    /// Fails if the server does not run, or does not stop.
    pub async fn freeze(&self) -> Result<(), Failure> {
        let pid = self.signal(Signal::STOP)?;
        // The signal is on its way when `kill` returns, and a thread may answer one more request.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let end = Instant::now() + STOP_LIMIT;
        while waitid(WaitId::Pid(pid), stopped)
            .doing("wait for the freeze")?
            .is_none()
        {
            if Instant::now() > end {
                return Err(Failure::new(format!(
                    "nats-server did not freeze in {STOP_LIMIT:?}"
                )));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// `SIGCONT`: goes on after [`freeze`](Self::freeze).
    ///
    /// # Errors
    ///
    /// Fails if the server does not run.
    pub fn thaw(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT).map(drop)
    }

    /// Writes other configuration instead of that of [`NatsServerBuilder::config`], for the next start.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn configure(&self, config: impl AsRef<str>) -> Result<(), Failure> {
        let path = self.log.dir().join("server.conf");
        let text = format!("{}{}\n", self.own_config, config.as_ref());
        fs::write(&path, text).doing(format_args!("write {}", path.display()))
    }

    /// `SIGHUP` with other configuration, as of [`configure`](Self::configure). Returns when the server
    /// has taken it.
    ///
    /// # Errors
    ///
    /// Fails if the server does not run, or refuses the configuration.
    pub async fn reload(&self, config: impl AsRef<str>) -> Result<(), Failure> {
        self.configure(config)?;
        let logged = self.log.text().len();
        self.signal(Signal::HUP)?;
        let end = Instant::now() + START_LIMIT;
        while !self
            .log
            .text_from(logged)
            .contains("Reloaded server configuration")
        {
            if Instant::now() > end {
                return Err(Failure::new("nats-server did not take the configuration"));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<Pid, Failure> {
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| Failure::new("nats-server is down: nothing to signal"))?;
        // Not waited for yet, so the id cannot belong to another process.
        kill_process(pid, signal).doing(format_args!("signal {signal:?} to nats-server"))?;
        Ok(pid)
    }

    async fn gone(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let Some(child) = self.child.as_mut() else {
            return Ok(None);
        };
        let end = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = child.try_wait().doing("wait for nats-server")? {
                self.child = None;
                return Ok(Some(status));
            }
            if Instant::now() > end {
                return Err(Failure::new(format!(
                    "nats-server did not leave in {STOP_LIMIT:?}"
                )));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn spawn(&mut self) -> Result<(), Failure> {
        let logged = self.log.text().len();
        let file = self.log.appender()?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(file.try_clone().doing("share the server log")?)
            .stderr(file)
            .spawn()
            .doing(format_args!("start {}", self.program.display()))?;
        self.child = Some(child);
        let ready = self.ready(logged).await;
        if let Err(failure) = ready {
            let _ = self.kill();
            return Err(Failure::new(format!(
                "nats-server {}: {failure}\n{}",
                self.args.join(" "),
                self.log.shown()
            )));
        }
        Ok(())
    }

    /// Waits for INFO with this server's name and for the answer to PING.
    async fn ready(&mut self, logged: usize) -> Result<(), Failure> {
        let end = Instant::now() + START_LIMIT;
        let mut last = "never reached".to_owned();
        while Instant::now() < end {
            if let Some(child) = self.child.as_mut()
                && let Some(status) = child.try_wait().doing("look after nats-server")?
            {
                self.child = None;
                return Err(Failure::new(format!("ended at once with {status}")));
            }
            // With TLS first a plain probe gets nowhere; the server's own word has to do.
            if self.tls_first {
                if self.log.text_from(logged).contains("Server is ready") {
                    return Ok(());
                }
            } else {
                match probe::ask(self.port).await {
                    Ok(Answer { server_name, .. }) if server_name == self.name => return Ok(()),
                    Ok(Answer { server_name, .. }) => {
                        last = format!("{server_name:?} answers on port {}", self.port);
                    }
                    Err(failure) => last = failure.to_string(),
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
        Err(Failure::new(format!(
            "not ready within {START_LIMIT:?}, last seen: {last}"
        )))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            self.log.print();
        }
    }
}

/// A name that no other server has, not even one on the same port: by it a server that answers is
/// known to be the one that was started.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "test-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
