//! Requests whose reply subject is not the caller's inbox: the service would publish to a subject
//! of others.

use std::io;

use nmfw::prost::Message as _;
use nmfw_tests::streams::Item;

use crate::{
    measure::{Attack, attack},
    session::Session,
    stage::Target,
    wire::Peer,
};

pub(super) const ATTACKS: &[Attack] = &[
    attack("reply-none", |peer, target| {
        flood(peer, target, &|_| String::new())
    }),
    attack("reply-itself", |peer, target| {
        flood(peer, target, &|_| format!("{}.Echo", target.streams))
    })
    .short(),
    attack("reply-method", |peer, target| {
        flood(peer, target, &|n| {
            let methods = ["Echo", "Sleep", "Inspect", "Panic", "Fail"];
            format!("{}.{}", target.puppet, methods[n % methods.len()])
        })
    }),
    attack("reply-open", |peer, target| {
        flood(peer, target, &|_| format!("{}._open", target.streams))
    }),
    attack("reply-discovery", |peer, target| {
        flood(peer, target, &|n| {
            ["$SRV.PING", "$SRV.INFO", "$SRV.STATS"][n % 3].to_owned()
        })
    }),
    attack("reply-fence", reply_fence).short(),
    attack("reply-session", reply_session),
    attack("reply-long", |peer, target| {
        let long = format!("{}.{}", peer.inbox, "x".repeat(3_500));
        flood(peer, target, &|_| long.clone())
    }),
    attack("reply-wildcard", |peer, target| {
        flood(peer, target, &|n| {
            ["_INBOX.>", "_INBOX.*.*", ">", "*"][n % 4].to_owned()
        })
    }),
];

/// Sends valid and invalid calls, with the reply subjects that `reply` makes.
fn flood(peer: &Peer, target: &Target, reply: &dyn Fn(usize) -> String) -> io::Result<()> {
    let subject = format!("{}.Echo", target.streams);
    let item = Item {
        number: 0,
        padding: vec![7; 10],
    };
    let bodies = [item.encode_to_vec(), vec![0xff; 10]];
    let mut count = 0;
    while peer.goes_on() {
        peer.publish(&subject, &reply(count), &bodies[count % 2])?;
        count += 1;
        peer.drain();
    }
    Ok(())
}

/// Finds the id of an instance, which ACCEPT contains for any client.
fn instance(peer: &Peer, target: &Target) -> io::Result<Option<(String, Session)>> {
    let session = Session::opened(peer, target.streams)?;
    Ok(session.and_then(|session| {
        let (own, _) = session.service.rsplit_once(".s.")?;
        Some((own.to_owned(), session))
    }))
}

/// Uses the subject of the round trip by which a service knows that it has read all messages: it
/// would stop too early if another peer could answer it.
fn reply_fence(peer: &Peer, target: &Target) -> io::Result<()> {
    let Some((own, _)) = instance(peer, target)? else {
        return Ok(());
    };
    flood(peer, target, &|n| match n % 3 {
        0 => format!("{own}.fence.{}", n / 3),
        1 => format!("{own}.fence.{:032x}", n / 3),
        _ => format!("{own}.health"),
    })
}

/// Makes the service answer into its own session.
fn reply_session(peer: &Peer, target: &Target) -> io::Result<()> {
    let Some((_, session)) = instance(peer, target)? else {
        return Ok(());
    };
    flood(peer, target, &|_| session.service.clone())
}
