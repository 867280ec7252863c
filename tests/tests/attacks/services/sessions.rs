//! Sessions that are opened without use, and packets of unknown sessions or of other clients'
//! sessions.

use std::{collections::HashMap, io, time::Duration};

use nmfw_tests::packets::{self, OPEN, first_kind, kind};

use crate::{
    measure::{Attack, attack},
    session::{Session, close, ping, seal},
    stage::Target,
    wire::Peer,
};

pub(super) const ATTACKS: &[Attack] = &[
    attack("open-flood", open_flood).short(),
    attack("open-half", open_half),
    attack("open-idle", open_idle),
    attack("open-broken", open_broken),
    attack("open-method", open_method),
    attack("open-close", open_close),
    attack("ping-flood", |peer, target| {
        in_session(peer, target, &|session, peer, _| {
            session.bare(peer, 0, &[ping()])
        })
    }),
    attack("packets-tiny", |peer, target| {
        in_session(peer, target, &|session, peer, _| session.bare(peer, 0, &[]))
    }),
    attack("packets-version", |peer, target| {
        in_session(peer, target, &|session, peer, _| {
            session.raw(peer, &[0x20, 0, 0])
        })
    }),
    attack("packets-unknown", |peer, target| {
        in_session(peer, target, &|session, peer, n| {
            let own = session.service.rsplit_once('.').map_or("", |(own, _)| own);
            let packet = seal().seal(packets::packet(1, 0, &[ping()]));
            peer.publish(
                &format!("{own}.unknown{}", n % 1000),
                &session.inbox,
                &packet,
            )
        })
    }),
    attack("packets-ahead", |peer, target| {
        in_session(peer, target, &|session, peer, n| {
            session.raw(peer, &packets::packet(2 + n % 60, 0, &[]))
        })
    }),
    // The attacker reads inboxes, but the service does not send these messages on its account.
    attack("close-forged", close_forged).answered().short(),
];

/// Repeats an action in a session, and opens another session when it has ended.
fn in_session(
    peer: &Peer,
    target: &Target,
    act: &dyn Fn(&mut Session, &Peer, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut count = 0;
    while let Some(mut session) = Session::opened(peer, target.streams)? {
        'session: while peer.goes_on() {
            for _ in 0..100 {
                act(&mut session, peer, count)?;
                count += 1;
            }
            while let Some(message) = peer.next(Duration::ZERO)? {
                if message.subject == session.inbox
                    && first_kind(message.body()) == Some(kind::CLOSE)
                {
                    break 'session;
                }
            }
        }
    }
    Ok(())
}

fn open_flood(peer: &Peer, target: &Target) -> io::Result<()> {
    let subject = format!("{}._open", target.streams);
    let mut count = 0;
    while peer.goes_on() {
        peer.publish(&subject, &format!("{}.s.{count}", peer.inbox), OPEN)?;
        count += 1;
        peer.drain();
    }
    Ok(())
}

/// Opens as many sessions as possible at a time, and sends nothing further in them.
fn open_half(peer: &Peer, target: &Target) -> io::Result<()> {
    let subject = format!("{}._open", target.streams);
    let mut count = 0;
    while peer.goes_on() {
        for _ in 0..20 {
            peer.publish(&subject, &format!("{}.s.{count}", peer.inbox), OPEN)?;
            count += 1;
        }
        peer.rest(Duration::from_millis(5))?;
    }
    Ok(())
}

/// Keeps unused sessions alive.
fn open_idle(peer: &Peer, target: &Target) -> io::Result<()> {
    let subject = format!("{}._open", target.streams);
    let mut sessions = HashMap::new();
    let mut count = 0;
    while peer.goes_on() {
        for _ in 0..20 {
            peer.publish(&subject, &format!("{}.s.{count}", peer.inbox), OPEN)?;
            count += 1;
        }
        while let Some(message) = peer.next(Duration::from_millis(5))? {
            if first_kind(message.body()) == Some(kind::ACCEPT)
                && let Some(service) = message.reply
            {
                let packet = seal().seal(packets::packet(0, 0, &[ping()]));
                peer.publish(&service, "", &packet)?;
                sessions.insert(message.subject, service);
            }
        }
    }
    Ok(())
}

/// Sends invalid OPENs, and other packets instead of OPEN.
fn open_broken(peer: &Peer, target: &Target) -> io::Result<()> {
    let (subject, reply) = (
        format!("{}._open", target.streams),
        format!("{}.s.1", peer.inbox),
    );
    let mut packets: Vec<Vec<u8>> = (0..OPEN.len()).map(|len| OPEN[..len].to_vec()).collect();
    packets.push([&[0x20], &OPEN[1..]].concat());
    packets.push(vec![0xff; 1_000]);
    packets.push("\u{1b}[31m\r\nGET / HTTP/1.1\r\n".into());
    for packet in packets.iter().cycle() {
        if !peer.goes_on() {
            break;
        }
        peer.publish(&subject, &reply, packet)?;
        peer.publish(&subject, "", packet)?;
        peer.drain();
    }
    Ok(())
}

/// Opens sessions of a single method.
fn open_method(peer: &Peer, target: &Target) -> io::Result<()> {
    let headers = b"NATS/1.0\r\nNmfw-Session: 1\r\n\r\n";
    let mut count = 0;
    while peer.goes_on() {
        let method = ["Echo", "Count", "Sum", "Chat"][count % 4];
        let subject = format!("{}.{method}", target.streams);
        peer.publish_with(
            &subject,
            &format!("{}.s.{count}", peer.inbox),
            headers,
            OPEN,
        )?;
        count += 1;
        peer.drain();
    }
    Ok(())
}

/// Opens sessions and closes them at once.
fn open_close(peer: &Peer, target: &Target) -> io::Result<()> {
    let mut name = 0;
    while peer.goes_on() {
        name += 1;
        if let Some(session) = Session::open(peer, target.streams, name)? {
            session.bare(peer, 0, &[close()])?;
        } else {
            peer.rest(Duration::from_millis(5))?;
        }
    }
    Ok(())
}

/// Listens to all inboxes, and forges the end of every session that it sees.
fn close_forged(peer: &Peer, target: &Target) -> io::Result<()> {
    peer.subscribe("_INBOX.>")?;
    // Open sessions can be found by their subjects, if these can be guessed.
    let Some(own) = Session::opened(peer, target.streams)? else {
        return Ok(());
    };
    let instance = own
        .service
        .rsplit_once('.')
        .map_or("", |(instance, _)| instance);
    // With a proof by another secret, and without a proof.
    let sealed = seal().seal(packets::packet(0, 0, &[close()]));
    let bare = packets::packet(0, 0, &[close()]);
    let mut count = 0;
    while peer.goes_on() {
        while let Some(message) = peer.next(Duration::from_millis(1))? {
            if let Some(service) = message.reply
                && service.starts_with(target.streams)
            {
                peer.publish(&service, "", &sealed)?;
                peer.publish(&service, "", &bare)?;
            }
        }
        for _ in 0..100 {
            count += 1;
            peer.publish(&format!("{instance}.{count}"), "", &bare)?;
        }
    }
    Ok(())
}
