//! Floods of requests that are answered to any peer: discovery, health, the schema, and the monitoring
//! port.

use std::{
    io::{self, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{
    measure::{Attack, attack},
    session::Session,
    stage::Target,
    wire::Peer,
};

pub(super) const ATTACKS: &[Attack] = &[
    attack("discovery-ping", |peer, _| {
        flood(peer, &["$SRV.PING"], None)
    })
    .by("observer"),
    attack("discovery-stats", |peer, _| {
        flood(peer, &["$SRV.STATS", "$SRV.INFO"], None)
    })
    .by("observer")
    .short(),
    attack("discovery-reflected", |peer, target| {
        let victim = format!("{}.Echo", target.streams);
        flood(peer, &["$SRV.STATS", "$SRV.INFO"], Some(&victim))
    })
    .by("observer"),
    attack("health", |peer, target| {
        flood(peer, &[&format!("{}._health", target.streams)], None)
    })
    .by("observer"),
    attack("health-instance", |peer, target| {
        let Some(session) = Session::opened(peer, target.streams)? else {
            return Ok(());
        };
        let own = session
            .service
            .rsplit_once(".s.")
            .map_or("", |(own, _)| own);
        flood(peer, &[&format!("{own}.health")], None)
    })
    .by("observer"),
    attack("schema", |peer, target| {
        flood(peer, &[&format!("{}._schema", target.streams)], None)
    }),
    attack("monitor-idle", |peer, target| monitor(peer, target, b"")),
    attack("monitor-slow", |peer, target| {
        monitor(peer, target, b"GET /metrics HTTP/1.1\r\nHost: x\r\nx: ")
    }),
];

fn flood(peer: &Peer, subjects: &[&str], reply: Option<&str>) -> io::Result<()> {
    let own = format!("{}.r", peer.inbox);
    for subject in subjects.iter().cycle() {
        if !peer.goes_on() {
            break;
        }
        peer.publish(subject, reply.unwrap_or(&own), b"")?;
        peer.drain();
    }
    Ok(())
}

/// Opens connections to the monitoring port that send no request, or an incomplete one.
fn monitor(peer: &Peer, target: &Target, begin: &[u8]) -> io::Result<()> {
    let mut open = Vec::new();
    while peer.goes_on() {
        while open.len() < 400 {
            let mut stream = TcpStream::connect(("127.0.0.1", target.monitor))?;
            stream.write_all(begin)?;
            open.push(stream);
        }
        // Once, for the count of messages.
        peer.publish(&format!("{}.Echo", target.streams), "", b"")?;
        // Reopens connections that the service has closed.
        open.retain_mut(|stream| {
            stream
                .write_all(if begin.is_empty() { b"" } else { b"x" })
                .is_ok()
        });
        open.drain(..open.len().min(20));
        peer.rest(Duration::from_millis(50))?;
    }
    Ok(())
}
