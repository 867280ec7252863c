//! [`Publisher`]: the way of packets to the peer.

use std::{pin::pin, time::Duration};

use async_nats::{HeaderMap, Subject, client::PublishErrorKind};

use crate::{
    Connection, Status,
    nats::{
        reply_subject::{self, MAPPED},
        session::{
            driver::Publish,
            protocol::{Site, Transmit},
        },
    },
};
use nmfw_core::{call::deadline::within, escape::Escaped};

/// Time limit for passing a packet to the connection's buffer. It is reached only while the
/// connection is lost; the packet is then dropped, because the session resends it.
const MAX_SEND: Duration = Duration::from_secs(10);

pub(crate) struct Publisher {
    connection: Connection,
    /// The subject on which this side receives packets.
    own: Subject,
    /// The subject on which the session is opened, later that of the peer.
    peer: Subject,
    is_known: bool,
    /// Whether the peer knows the subject of this side.
    is_introduced: bool,
    /// The header that distinguishes OPEN from requests on the same subject.
    mark: Option<HeaderMap>,
}

impl Publisher {
    /// Creates a publisher for a client, which knows only the subject for opening the session.
    pub(crate) fn to_open(
        connection: Connection,
        own: Subject,
        open: Subject,
        mark: Option<HeaderMap>,
    ) -> Self {
        Self {
            connection,
            own,
            peer: open,
            is_known: false,
            is_introduced: false,
            mark,
        }
    }

    /// Creates a publisher for a service, which knows the peer's subject.
    pub(crate) fn to_peer(connection: Connection, own: Subject, peer: Subject) -> Self {
        Self {
            connection,
            own,
            peer,
            is_known: true,
            is_introduced: false,
            mark: None,
        }
    }
}

impl Publish for Publisher {
    fn peer(&self) -> Subject {
        self.peer.clone()
    }

    fn site(&self) -> Site {
        super::site(&self.connection)
    }

    fn is_mapped(&self) -> bool {
        self.is_known && self.peer.starts_with(MAPPED)
    }

    /// Records the peer's subject from its first packet. Later reply subjects are the same.
    fn learn(&mut self, reply: Option<Subject>) -> Result<(), Status> {
        if let Some(reply) = reply
            && !self.is_known
        {
            reply_subject::check_session(&reply, &self.peer).map_err(|why| {
                let open = &self.peer;
                let text = format!("the answer to OPEN on {open} names an invalid subject: {why}");
                // Not started: the subject for packets is unknown, so no CALL was sent.
                Status::internal(text).not_started()
            })?;
            self.peer = reply;
            self.is_known = true;
            self.mark = None;
        }
        Ok(())
    }

    async fn publish(&mut self, transmit: Transmit) -> Result<bool, Status> {
        if self.is_introduced && !self.is_known {
            let text = "the answer to OPEN names no subject for packets";
            // Not started: the subject for packets is unknown, so no CALL was sent.
            return Err(Status::internal(text).not_started());
        }
        let client = self.connection.client();
        let (peer, packet) = (self.peer.clone(), transmit.packet);
        // For a mapped subject, the NATS server does not report "no responders", and the mapping
        // ends after an answer, which a reply subject would request.
        let with_reply = transmit.with_reply && !(self.is_introduced && peer.starts_with(MAPPED));
        let publish = async {
            if let Some(mark) = &self.mark {
                let own = self.own.clone();
                client
                    .publish_with_reply_and_headers(peer, own, mark.clone(), packet)
                    .await
            } else if with_reply {
                client
                    .publish_with_reply(peer, self.own.clone(), packet)
                    .await
            } else {
                client.publish(peer, packet).await
            }
        };
        match within(MAX_SEND, pin!(publish)).await {
            Some(Ok(())) => {
                self.is_introduced |= with_reply;
                Ok(true)
            }
            Some(Err(error)) => {
                let text = format!("cannot send a packet: {error}");
                Err(match error.kind() {
                    // The server's limit is smaller than when the session was opened.
                    PublishErrorKind::MaxPayloadExceeded => Status::unavailable(text),
                    PublishErrorKind::InvalidSubject => Status::internal(text),
                    PublishErrorKind::Send => {
                        Status::unavailable("the connection to NATS is closed")
                    }
                })
            }
            None => {
                log_limited!(
                    debug, peer = %Escaped::new(&self.peer),
                    "a packet was not sent while the connection was lost"
                );
                Ok(false)
            }
        }
    }
}
