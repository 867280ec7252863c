//! Answers to packets of unknown or ended sessions. Without an answer, the peer would continue to
//! send.
//!
//! Answers are never answered: a service answers PING, which CLOSE does not contain, and a client
//! answers no CLOSE. The caller of these functions limits the rate of answers.

use bytes::Bytes;

use super::{
    body::{encode_status, encode_status_with_token},
    frame::{Body, Header, kind, put_frame},
    handshake::MIN_PACKET,
    proof::{Keys, PROOF_LEN, SessionSecret},
    receive::first_frame,
};
use crate::Status;

/// Returns the answer of a service: a CLOSE that echoes the token of the PING. A service has no
/// secret of an unknown session, but only a peer that can read the client's packets knows the
/// token. Returns `None` if the packet does not begin with a client's PING.
pub(crate) fn answer_of_service(packet: &[u8]) -> Option<Bytes> {
    let (content, _) = packet.split_last_chunk::<PROOF_LEN>()?;
    let Body::Ping {
        token: Some(token), ..
    } = first_frame(content).ok()??
    else {
        return None;
    };
    let status = Status::unavailable("this instance has ended the session");
    let body = encode_status_with_token(&status, MIN_PACKET as usize / 2, &token);
    let mut out = Vec::new();
    Header::BARE.put(&mut out);
    put_frame(&mut out, 0, kind::CLOSE, &body);
    Some(out.into())
}

/// Returns the answer of a client with the secret of the session: a CLOSE with a proof. Returns
/// `None` if the packet does not come from the session's service, or is a CLOSE.
pub(crate) fn answer_of_client(secret: SessionSecret, packet: &[u8]) -> Option<Bytes> {
    let keys = Keys::new(secret, false);
    let content = keys.open(packet)?;
    if let Ok(Some(Body::Close(_))) = first_frame(content) {
        return None;
    }
    let status = Status::unavailable("the client has ended the session");
    let body = encode_status(&status, MIN_PACKET as usize / 2);
    let mut out = Vec::new();
    Header::BARE.put(&mut out);
    put_frame(&mut out, 0, kind::CLOSE, &body);
    keys.seal(&mut out);
    Some(out.into())
}
