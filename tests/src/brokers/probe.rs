//! Checks over the NATS protocol whether a NATS server is ready.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::{Doing, Failure};

/// The fields of the server's INFO.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The name that it was started with.
    #[serde(default)]
    pub server_name: String,
    /// Whether clients must log in.
    #[serde(default)]
    pub auth_required: bool,
    /// Whether clients must use TLS.
    #[serde(default)]
    pub tls_required: bool,
}

/// Connects to the loopback port, reads INFO and, if that needs neither login nor TLS, waits for
/// PONG.
///
/// # Errors
///
/// Fails if the server does not answer within two seconds.
pub async fn ask(port: u16) -> Result<Answer, Failure> {
    timeout(Duration::from_secs(2), talk(port))
        .await
        .unwrap_or_else(|_| Err(Failure::new(format!("port {port} does not answer"))))
}

async fn talk(port: u16) -> Result<Answer, Failure> {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .doing("connect")?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.doing("read INFO")?;
    let info = line
        .strip_prefix("INFO ")
        .ok_or_else(|| Failure::new(format!("INFO expected, got {line:?}")))?;
    let answer: Answer = serde_json::from_str(info).doing("read INFO")?;
    if answer.auth_required || answer.tls_required {
        return Ok(answer);
    }
    stream
        .write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")
        .await
        .doing("send PING")?;
    loop {
        line.clear();
        let read = stream.read_line(&mut line).await.doing("await PONG")?;
        match line.trim_end() {
            "PONG" => return Ok(answer),
            _ if read == 0 => return Err(Failure::new("closed instead of PONG")),
            line if line.starts_with("-ERR") => {
                return Err(Failure::new(format!("{line} instead of PONG")));
            }
            // INFO again, or the server's own PING.
            _ => {}
        }
    }
}
