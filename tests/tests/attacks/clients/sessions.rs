//! Attacks of a hostile service in its sessions with clients.

use std::{collections::HashMap, io, time::Duration};

use nmfw::prost::Message as _;
use nmfw_tests::{
    packets::{first_kind, frame, kind, number},
    streams::Item,
};

use crate::{
    measure::{Attack, attack},
    session::{END, Hosted, MORE, Offer, close, ping, seq_of, window},
    stage::{HOSTILE, Target},
    wire::Peer,
};

pub(super) const ATTACKS: &[Attack] = &[
    attack("accept-silent", |peer, _| {
        serve(peer, &offer(), OWN, &|_, _, _| Ok(()))
    }),
    attack("accept-lies", accept_lies).short(),
    attack("accept-elsewhere", |peer, target| {
        // With this subject, the client would send its packets to another service.
        let elsewhere = format!("{}.Echo", target.streams);
        serve(peer, &offer(), &elsewhere, &|_, _, _| Ok(()))
    }),
    attack("close-loop", |peer, _| {
        serve(peer, &offer(), OWN, &|peer, session, _| {
            session.bare(peer, 0, &[close()])
        })
    })
    .short(),
    attack("goaway-loop", |peer, _| {
        serve(peer, &offer(), OWN, &|peer, session, _| {
            session.send(peer, 0, &[frame(0, 11, &number(0))])
        })
    }),
    attack("refusal-loop", |peer, _| {
        serve(peer, &offer(), OWN, &|peer, session, came| {
            // RESET, as not started, of any stream that may be open.
            let frames: Vec<_> = (1..20)
                .map(|n| frame(n, kind::RESET | 0x20, &[14]))
                .collect();
            session.send(peer, seq_of(came), &frames)
        })
    }),
    attack("credit-none", |peer, _| {
        let offer = Offer {
            stream_window: 4_096,
            window: 1,
            ..Offer::default()
        };
        serve(peer, &offer, OWN, &|peer, session, _| {
            session.bare(peer, 0, &[ping()])
        })
    }),
    attack("credit-endless", |peer, _| {
        let offer = Offer {
            window: 1 << 62,
            stream_window: 1 << 62,
            streams: 1 << 62,
            largest_message: 1 << 62,
            ..Offer::default()
        };
        serve(peer, &offer, OWN, &|peer, session, _| {
            // No packet is acknowledged, so the client keeps all of them.
            let windows: Vec<_> = (0..20).map(|n| window(n, 1 << 62)).collect();
            session.send(peer, 0, &windows)
        })
    })
    .short(),
    attack("stream-endless", |peer, _| {
        let item = Item {
            number: 0,
            padding: vec![7; 4_000],
        }
        .encode_to_vec();
        serve(peer, &offer(), OWN, &|peer, session, came| {
            let frames: Vec<_> = (1..8).map(|n| frame(n, kind::MSG, &item)).collect();
            for _ in 0..5 {
                session.send(peer, seq_of(came), &frames)?;
            }
            Ok(())
        })
    }),
    attack("stream-unfinished", |peer, _| {
        serve(peer, &offer(), OWN, &|peer, session, came| {
            let part = vec![0x12; 60_000];
            let frames: Vec<_> = (1..8).map(|n| frame(n, kind::MSG | MORE, &part)).collect();
            session.send(peer, seq_of(came), &frames)
        })
    }),
    attack("stream-headers", |peer, _| {
        let value = "v".repeat(1_000);
        let text = |text: &str| [number(text.len() as u64), text.as_bytes().to_vec()].concat();
        let pairs: Vec<u8> = (0..200)
            .flat_map(|_| [text("name"), text(&value)].concat())
            .collect();
        serve(peer, &offer(), OWN, &|peer, session, came| {
            let frames: Vec<_> = (1..5).map(|n| frame(n, 5, &pairs)).collect();
            for _ in 0..5 {
                session.send(peer, seq_of(came), &frames)?;
            }
            Ok(())
        })
    }),
    attack("stream-status", |peer, _| {
        let text = "\u{1b}]0;owned\u{7}\u{1b}[2J".repeat(20_000);
        let status = [&[13, 1][..], &number(text.len() as u64), text.as_bytes()].concat();
        serve(peer, &offer(), OWN, &|peer, session, came| {
            session.send(
                peer,
                seq_of(came),
                &(1..3).map(|n| frame(n, 6, &status)).collect::<Vec<_>>(),
            )?;
            session.bare(peer, 0, &[frame(0, kind::CLOSE, &status)])
        })
    }),
    attack("stream-answers", |peer, _| {
        serve(peer, &offer(), OWN, &|peer, session, came| {
            let frames: Vec<_> = (1..20)
                .flat_map(|n| [frame(n, kind::MSG, b""), frame(n, kind::MSG | END, b"")])
                .collect();
            session.send(peer, seq_of(came), &frames)
        })
    }),
    attack("client-go-back", |peer, _| {
        serve(peer, &offer(), OWN, &|peer, session, _| {
            for _ in 0..500 {
                session.go_back(peer, 0)?;
            }
            Ok(())
        })
    })
    .short(),
    attack("client-pings", |peer, _| {
        serve(peer, &offer(), OWN, &|peer, session, _| {
            for _ in 0..1_000 {
                session.bare(peer, 0, &[ping()])?;
            }
            Ok(())
        })
    }),
];

/// The subject of the hostile service's sessions.
const OWN: &str = "test.hostile._i.HOSTILE.s.1";

/// Handles a packet of a session.
type Act<'a> = dyn Fn(&Peer, &mut Hosted, &[u8]) -> io::Result<()> + 'a;

fn offer() -> Offer {
    Offer::default()
}

/// Accepts sessions, calls `act` on each packet, and repeatedly in between.
fn serve(peer: &Peer, offer: &Offer, own: &str, act: &Act) -> io::Result<()> {
    peer.queue_subscribe(&format!("{HOSTILE}._open"))?;
    peer.subscribe(&format!("{HOSTILE}._i.*.s.*"))?;
    // Sessions by the subject of their packets.
    let mut sessions: HashMap<String, Hosted> = HashMap::new();
    let open = format!("{HOSTILE}._open");
    let mut count = 0;
    while peer.goes_on() {
        let Some(message) = peer.next(Duration::from_millis(5))? else {
            for session in sessions.values_mut() {
                act(peer, session, &[0x10, 0, 0])?;
            }
            continue;
        };
        if message.subject == open {
            count += 1;
            let subject = if own == OWN {
                format!("{own}{count}")
            } else {
                own.to_owned()
            };
            if let Some(mut session) = Hosted::accept(peer, &message, &subject, offer)? {
                if sessions.len() > 50 {
                    sessions.clear();
                }
                act(peer, &mut session, &[0x10, 0, 0])?;
                sessions.insert(subject, session);
            }
        } else if let Some(session) = sessions.get_mut(&message.subject) {
            let body = message.body();
            if first_kind(body) == Some(kind::CLOSE) {
                sessions.remove(&message.subject);
                continue;
            }
            act(peer, session, body)?;
        }
    }
    Ok(())
}

fn accept_lies(peer: &Peer, _: &Target) -> io::Result<()> {
    peer.queue_subscribe(&format!("{HOSTILE}._open"))?;
    let offers = [
        Offer {
            window: 0,
            ..offer()
        },
        Offer {
            stream_window: 1,
            ..offer()
        },
        Offer {
            largest_packet: 1,
            ..offer()
        },
        Offer {
            largest_packet: 1 << 62,
            largest_message: 1 << 62,
            ..offer()
        },
        Offer {
            streams: 0,
            ..offer()
        },
        Offer {
            methods: Vec::new(),
            ..offer()
        },
        Offer {
            instance: "I".repeat(500_000),
            ..offer()
        },
        Offer {
            methods: (0..4_096)
                .map(|n| format!("M{n}{}", "x".repeat(200)))
                .collect(),
            ..offer()
        },
        Offer {
            methods: vec!["\u{1b}[31m".to_owned()],
            instance: "\u{1b}[2J".to_owned(),
            ..offer()
        },
    ];
    for (count, offer) in offers.iter().cycle().enumerate() {
        if !peer.goes_on() {
            break;
        }
        if let Some(message) = peer.next(Duration::from_millis(20))? {
            Hosted::accept(peer, &message, &format!("{OWN}{count}"), offer)?;
        }
    }
    Ok(())
}
