//! [`Carrier`]: the way of packets to the peer.

use std::{pin::pin, time::Duration};

use async_nats::{HeaderMap, Subject, client::PublishErrorKind};

use crate::{Connection, Status, deadline::within, session::Transmit};

/// How long a packet may take to get into the connection's buffer. It takes longer only while the
/// connection is lost; then it is left out, as the session sends it again.
const MAX_SEND: Duration = Duration::from_secs(10);

/// Subjects of account mappings. The NATS server does not say there that nobody listens, and they
/// are gone after an answer, which a reply subject would ask for.
const MAPPED: &str = "_R_.";

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

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn peer(&self) -> Subject {
        self.peer.clone()
    }

    /// Whether packets take a mapping between accounts. Those of a connection end with it.
    pub(super) fn is_mapped(&self) -> bool {
        self.is_known && self.peer.starts_with(MAPPED)
    }

    /// Takes the peer's subject from its first packet. Later ones are of signs of life, and say the
    /// same.
    pub(super) fn learn(&mut self, reply: Option<Subject>) {
        if let Some(reply) = reply
            && !self.is_known
        {
            self.peer = reply;
            self.is_known = true;
            self.mark = None;
        }
    }

    /// Whether the connection took it; if not, more of the kind is not worth a try now.
    ///
    /// # Errors
    /// If the session cannot go on.
    pub(super) async fn publish(&mut self, transmit: Transmit) -> Result<bool, Status> {
        let client = self.connection.client();
        let (peer, packet) = (self.peer.clone(), transmit.packet);
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
                tracing::debug!(peer = %self.peer, "a packet waits for the connection to come back");
                Ok(false)
            }
        }
    }
}
