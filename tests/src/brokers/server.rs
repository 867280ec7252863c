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

/// The time that a server may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(15);

/// The time that a server may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A running `nats-server`: killed when dropped; its log is printed when the test panics.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    args: Vec<String>,
    name: String,
    port: u16,
    tls_first: bool,
    /// The part of the configuration that the test does not set.
    own_config: String,
    child: Option<Child>,
    log: ServerLog,
}

/// The settings of a server.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NatsServerBuilder {
    port: Option<u16>,
    config: String,
    jetstream: bool,
    trace: bool,
}

impl NatsServerBuilder {
    /// Sets the port. By default it is a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Adds configuration in the server's own language: accounts, permissions, `max_payload`, TLS,
    /// websocket, leaf nodes, cluster. Use [`free_port`] for ports.
    pub fn config(mut self, text: impl AsRef<str>) -> Self {
        self.config.push_str(text.as_ref());
        self.config.push('\n');
        self
    }

    /// Sets the size in bytes above which the server refuses messages.
    pub fn max_payload(self, bytes: usize) -> Self {
        self.config(format!("max_payload: {bytes}"))
    }

    /// Enables `JetStream`, stored in the server's temporary directory, which is kept over
    /// restarts.
    pub fn jetstream(mut self) -> Self {
        self.jetstream = true;
        self
    }

    /// Logs every protocol line. Intended for debugging a single test.
    pub fn trace(mut self) -> Self {
        self.trace = true;
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// Fails if there is no `nats-server`, with instructions, or if it does not start, with its
    /// log.
    pub async fn start(self) -> Result<NatsServer, Failure> {
        let program = tokio::task::spawn_blocking(nats_server::program)
            .await
            .doing("look for nats-server")??;
        let log = ServerLog::new()?;
        let config = log.dir().join("server.conf");
        // Another process can take a free port before the server does; then another port is tried.
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
    /// Starts a server with defaults, on a free loopback port.
    ///
    /// # Errors
    ///
    /// See [`NatsServerBuilder::start`].
    pub async fn start() -> Result<Self, Failure> {
        Self::builder().start().await
    }

    /// Returns a builder for a server.
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// Returns `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns the client port, the same after every restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id; `None` while the server is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Returns the log of all runs. It stays readable after the server has stopped.
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

    /// Kills the server with `SIGKILL`: connections break without a message. Returns when the
    /// process has ended.
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

    /// Shuts the server down with `SIGTERM`. Returns when the process has ended.
    ///
    /// # Errors
    ///
    /// Fails if the server does not run, or does not stop in time.
    pub async fn terminate(&mut self) -> Result<(), Failure> {
        self.signal(Signal::TERM)?;
        self.gone().await.map(drop)
    }

    /// Starts lame-duck mode with `SIGUSR2`. The server announces it to its clients, then closes
    /// their connections one by one over at least half a minute; this function does not wait for
    /// that.
    ///
    /// # Errors
    ///
    /// Fails if the server does not run.
    pub fn lame_duck(&self) -> Result<(), Failure> {
        self.signal(Signal::USR2).map(drop)
    }

    /// Stops the process with `SIGSTOP`: connections stay open without answers, as with a hung
    /// machine. Returns when all its threads have stopped.
    ///
    /// # Errors
    ///
    /// Fails if the server does not run, or does not stop.
    pub async fn freeze(&self) -> Result<(), Failure> {
        let pid = self.signal(Signal::STOP)?;
        // `kill` returns before the signal has arrived, and a thread may answer one more request.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let end = Instant::now() + STOP_LIMIT;
        while waitid(WaitId::Pid(pid), stopped)
            .doing("wait for the freeze")?
            .is_none()
        {
            if Instant::now() > end {
                return Err(Failure::new(format!(
                    "nats-server did not freeze within {STOP_LIMIT:?}"
                )));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Continues with `SIGCONT` after [`freeze`](Self::freeze).
    ///
    /// # Errors
    ///
    /// Fails if the server does not run.
    pub fn thaw(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT).map(drop)
    }

    /// Replaces the configuration given to [`NatsServerBuilder::config`], for the next start.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn configure(&self, config: impl AsRef<str>) -> Result<(), Failure> {
        let path = self.log.dir().join("server.conf");
        let text = format!("{}{}\n", self.own_config, config.as_ref());
        fs::write(&path, text).doing(format_args!("write {}", path.display()))
    }

    /// Reloads the server with `SIGHUP` and another configuration, see
    /// [`configure`](Self::configure). Returns when the server has applied it.
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
                return Err(Failure::new("nats-server did not apply the configuration"));
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
            .ok_or_else(|| Failure::new("nats-server does not run and cannot receive a signal"))?;
        // The process has not been waited for, so the id cannot belong to another one.
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
                    "nats-server did not end within {STOP_LIMIT:?}"
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
            // A server that starts with TLS does not answer a plain probe; its log has to suffice.
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

/// Returns a name that no other server has, not even one on the same port: it identifies the server
/// that was started.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "test-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
