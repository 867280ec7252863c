//! [`Carrier`]: the way of packets to the peer.

use std::{pin::pin, time::Duration};

use async_nats::{HeaderMap, Subject, client::PublishErrorKind};

use crate::{
    Connection, Status,
    call::deadline::within,
    escape::Escaped,
    nats::{
        reply_subject::{self, MAPPED},
        session::{
            driver::Publish,
            protocol::{Site, Transmit},
        },
    },
};

/// How long a packet may take to get into the connection's buffer. It takes longer only while the
/// connection is lost; then it is left out, as the session sends it again.
const MAX_SEND: Duration = Duration::from_secs(10);

pub(crate) struct Carrier {
    connection: Connection,
    /// Where packets for this side arrive.
    own: Subject,
    /// Where the session is opened, then the peer's own subject.
    peer: Subject,
    is_known: bool,
    /// The peer has been told where packets for this side arrive.
    is_introduced: bool,
    /// What marks OPEN where requests arrive too.
    mark: Option<HeaderMap>,
}

impl Carrier {
    /// Of a client, which knows only where to open the session.
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

    /// Of a service, which was told.
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

impl Publish for Carrier {
    fn peer(&self) -> Subject {
        self.peer.clone()
    }

    fn site(&self) -> Site {
        super::site(&self.connection)
    }

    fn is_mapped(&self) -> bool {
        self.is_known && self.peer.starts_with(MAPPED)
    }

    /// Takes the peer's subject from its first packet. Later ones are of signs of life, and say the
    /// same.
    fn learn(&mut self, reply: Option<Subject>) -> Result<(), Status> {
        if let Some(reply) = reply
            && !self.is_known
        {
            reply_subject::check_session(&reply, &self.peer).map_err(|why| {
                let open = &self.peer;
                let text = format!("the subject that the answer to OPEN at {open} names: {why}");
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
            return Err(Status::internal(text).not_started());
        }
        let client = self.connection.client();
        let (peer, packet) = (self.peer.clone(), transmit.packet);
        // The NATS server does not say of a mapped subject that nobody listens, and the mapping is gone
        // after an answer, which a reply subject would ask for.
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
                let text = format!("a packet was not sent: {error}");
                Err(match error.kind() {
                    // The server takes less than when the session was opened.
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
                    "a packet waits for the connection to come back"
                );
                Ok(false)
            }
        }
    }
}
