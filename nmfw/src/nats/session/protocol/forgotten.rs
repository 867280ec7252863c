//! Answers to packets of sessions that this side does not know, or does not know any more: the peer would
//! go on in vain until it hears of that.
//!
//! Neither answers an answer: a service answers PING, which CLOSE has none of, and a client answers no
//! CLOSE. Whoever calls this limits how many answers there are.

use bytes::Bytes;

use super::{
    body::{encode_status, encode_status_with_token},
    frame::{Body, Header, kind, put_frame},
    handshake::MIN_PACKET,
    proof::{Keys, PROOF_LEN, Secret},
    receive::first_frame,
};
use crate::Status;

/// Returns the answer of a service: CLOSE that echoes the token of PING. A service has no secret of a
/// session that it does not know, but only those read the token that the client publishes to. `None` if
/// the packet does not begin with PING of a client.
pub(crate) fn answer_of_service(packet: &[u8]) -> Option<Bytes> {
    let (content, _) = packet.split_last_chunk::<PROOF_LEN>()?;
    let Body::Ping {
        token: Some(token), ..
    } = first_frame(content).ok()??
    else {
        return None;
    };
    let status = Status::unavailable("this instance has given the session up");
    let body = encode_status_with_token(&status, MIN_PACKET as usize / 2, &token);
    let mut out = Vec::new();
    Header::BARE.put(&mut out);
    put_frame(&mut out, 0, kind::CLOSE, &body);
    Some(out.into())
}

/// Returns the answer of a client, whose secret of the session this is: CLOSE with a proof. `None` if the
/// packet is not that of the session's service, or is CLOSE.
pub(crate) fn answer_of_client(secret: Secret, packet: &[u8]) -> Option<Bytes> {
    let keys = Keys::new(secret, false);
    let content = keys.open(packet)?;
    if let Ok(Some(Body::Close(_))) = first_frame(content) {
        return None;
    }
    let status = Status::unavailable("the client has given the session up");
    let body = encode_status(&status, MIN_PACKET as usize / 2);
    let mut out = Vec::new();
    Header::BARE.put(&mut out);
    put_frame(&mut out, 0, kind::CLOSE, &body);
    keys.seal(&mut out);
    Some(out.into())
}
