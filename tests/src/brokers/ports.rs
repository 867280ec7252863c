//! Ports for servers whose port must be known before they start.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::failure::Failure;

/// Ports below this one are reserved.
const LOWEST: u16 = 10_240;

/// Returns a loopback port that is not in use and that this process has not returned before.
///
/// The port is below the range that the system uses for outgoing connections. Inside that range, a
/// client that keeps dialling a stopped server's port ends up connected to itself, and the server
/// cannot get its port back.
///
/// The search connects rather than listens: a process that is starting on another thread briefly
/// holds a copy of the listening socket, and the port with it.
///
/// # Errors
///
/// Fails if no port is free.
pub fn free_port() -> Result<u16, Failure> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = highest() - LOWEST;
    // Each process starts at a different port, so that parallel ones rarely want the same.
    let start = u16::try_from(RandomState::new().hash_one(std::process::id()) % u64::from(span))
        .unwrap_or(0);
    let _ = NEXT.compare_exchange(0, start.max(1), Ordering::Relaxed, Ordering::Relaxed);
    for _ in 0..span {
        let port = LOWEST + NEXT.fetch_add(1, Ordering::Relaxed) % span;
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return Ok(port);
        }
    }
    Err(Failure::new("no free port on 127.0.0.1"))
}

/// Returns the start of the range for outgoing connections.
fn highest() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|first| *first > LOWEST + 1_000)
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::{LOWEST, free_port, highest};
    use std::collections::HashSet;
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    #[test]
    fn hands_out_every_port_once() {
        let ports: HashSet<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| (LOWEST..highest()).contains(port)));
    }

    #[test]
    fn is_free_at_once_while_processes_start() {
        thread::scope(|scope| {
            let ports = scope.spawn(|| {
                for _ in 0..2_000 {
                    let port = free_port().unwrap();
                    TcpListener::bind(("127.0.0.1", port)).unwrap();
                }
            });
            while !ports.is_finished() {
                Command::new("true").status().unwrap();
            }
        });
    }
}
