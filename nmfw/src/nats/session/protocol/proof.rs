//! Proofs that a packet comes from the peer of its session.
//!
//! NATS subjects can be read by any peer with a broad enough subscription, such as `_INBOX.>`, so
//! knowing a session's subjects proves nothing. Knowing the secret in OPEN does, because only the
//! service can subscribe to the subject of OPEN. Every later packet ends with a keyed hash of all
//! preceding bytes, HighwayHash with 64 bits. Each direction has its own key, so that a packet is
//! useless in the other direction or in another session.

use std::fmt;

use highway::{HighwayHash, HighwayHasher, Key};

use super::frame::Token;

/// The length of the proof at the end of a packet.
pub(super) const PROOF_LEN: usize = 8;

/// The length of a [`SessionSecret`].
pub(super) const SECRET_LEN: usize = 16;

/// Number of recent tokens that are valid. After a reconnect, there is a PING every half second, so
/// an answer may take 4 s.
pub(super) const RECENT_TOKENS: u64 = 8;

/// The secret of a session, as in its OPEN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionSecret([u8; SECRET_LEN]);

impl SessionSecret {
    pub(crate) const fn new(bytes: [u8; SECRET_LEN]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    /// Derives a key for a purpose.
    fn key(self, purpose: &[u8]) -> Key {
        let (low, high) = self.0.split_at(SECRET_LEN / 2);
        let hasher = HighwayHasher::new(Key([number(low), number(high), 0, 0]));
        Key(hasher.hash256(purpose))
    }
}

/// Formats without the secret.
impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

/// Derives the secrets of sessions from their numbers, so that none has to be stored.
pub(crate) struct Secrets(Key);

impl Secrets {
    /// Creates a source of unpredictable secrets.
    pub(crate) fn random() -> Self {
        Self(Key(rand::random()))
    }

    /// Returns the secret of a session. A number must not be used for two sessions.
    pub(crate) fn of(&self, session: u64) -> SessionSecret {
        let hash = HighwayHasher::new(Key(self.0.0)).hash128(&session.to_le_bytes());
        SessionSecret(bytes(hash))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("secrets")
    }
}

/// Seals packets and checks the proofs of the peer's packets.
pub(super) struct Keys {
    own: HighwayHasher,
    peer: HighwayHasher,
    tokens: HighwayHasher,
    /// Number of tokens so far; each is derived from its number.
    count: u64,
}

impl Keys {
    /// Derives the keys of one side of a session.
    pub(super) fn new(secret: SessionSecret, is_server: bool) -> Self {
        let client = HighwayHasher::new(secret.key(b"nmfw client"));
        let service = HighwayHasher::new(secret.key(b"nmfw service"));
        let (own, peer) = if is_server {
            (service, client)
        } else {
            (client, service)
        };
        Self {
            own,
            peer,
            tokens: HighwayHasher::new(secret.key(b"nmfw token")),
            count: 0,
        }
    }

    /// Appends the proof to a packet.
    pub(super) fn seal(&self, packet: &mut Vec<u8>) {
        let proof = self.own.clone().hash64(packet);
        packet.extend_from_slice(&proof.to_le_bytes());
    }

    /// Returns a peer's packet without its proof; `None` if the proof is wrong.
    pub(super) fn open<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let (content, proof) = packet.split_last_chunk::<PROOF_LEN>()?;
        let expected = self.peer.clone().hash64(content);
        (u64::from_le_bytes(*proof) == expected).then_some(content)
    }

    /// Returns a new, unpredictable token.
    pub(super) fn next_token(&mut self) -> Token {
        self.count += 1;
        self.token(self.count)
    }

    /// Returns whether a token is one of the last [`RECENT_TOKENS`].
    pub(super) fn is_recent(&self, token: &Token) -> bool {
        let oldest = self.count.saturating_sub(RECENT_TOKENS) + 1;
        (oldest..=self.count).any(|number| self.token(number) == *token)
    }

    fn token(&self, number: u64) -> Token {
        bytes(self.tokens.clone().hash128(&number.to_le_bytes()))
    }
}

/// Formats without the keys.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys")
    }
}

/// Reads the first eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

fn bytes([low, high]: [u64; 2]) -> [u8; SECRET_LEN] {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

#[cfg(test)]
impl SessionSecret {
    /// Returns a key as bytes.
    pub(super) fn key_bytes(self, purpose: &[u8]) -> Vec<u8> {
        self.key(purpose)
            .0
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }
}

#[cfg(any(test, fuzzing))]
impl Keys {
    /// Seals a packet as the peer does.
    pub(super) fn seal_as_peer(&self, packet: &mut Vec<u8>) {
        let proof = self.peer.clone().hash64(packet);
        packet.extend_from_slice(&proof.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: u8) -> [Keys; 2] {
        let secret = SessionSecret::new([secret; SECRET_LEN]);
        [Keys::new(secret, false), Keys::new(secret, true)]
    }

    fn sealed(keys: &Keys) -> Vec<u8> {
        let mut packet = b"packet".to_vec();
        keys.seal(&mut packet);
        packet
    }

    #[test]
    fn a_packet_is_of_one_session_and_direction() {
        let ([client, service], others) = (keys(1), keys(2));
        assert_eq!(service.open(&sealed(&client)), Some(&b"packet"[..]));
        assert_eq!(client.open(&sealed(&service)), Some(&b"packet"[..]));
        assert_eq!(client.open(&sealed(&client)), None);
        assert_eq!(service.open(&sealed(&service)), None);
        for other in &others {
            assert_eq!(client.open(&sealed(other)), None);
            assert_eq!(service.open(&sealed(other)), None);
        }
    }

    #[test]
    fn every_bit_counts() {
        let [client, service] = keys(7);
        let packet = sealed(&client);
        for bit in 0..packet.len() * 8 {
            let mut packet = packet.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(service.open(&packet), None, "bit {bit}");
        }
        for len in 0..packet.len() {
            assert_eq!(service.open(&packet[..len]), None, "{len} bytes");
        }
        assert_eq!(service.open(&[&packet[..], &[0]].concat()), None);
    }

    #[test]
    fn secrets_can_be_derived_again_and_differ() {
        let secrets = Secrets::random();
        assert_eq!(secrets.of(1), secrets.of(1));
        assert_ne!(secrets.of(1), secrets.of(2));
        assert_ne!(secrets.of(1), Secrets::random().of(1));
        assert!(!format!("{:?} {secrets:?}", secrets.of(1)).contains(char::is_numeric));
    }

    #[test]
    fn tokens_differ() {
        let ([mut client, _], [mut other, _]) = (keys(1), keys(2));
        let first = client.next_token();
        assert_ne!(first, client.next_token());
        assert_ne!(first, other.next_token());
    }

    #[test]
    fn only_the_last_tokens_are_good() {
        let [mut client, _] = keys(1);
        assert!(!client.is_recent(&client.token(0)));
        assert!(
            !client.is_recent(&client.token(1)),
            "a token was valid before it was created"
        );
        let tokens: Vec<_> = (0..20).map(|_| client.next_token()).collect();
        let (old, recent) = tokens.split_at(20 - RECENT_TOKENS as usize);
        assert!(old.iter().all(|token| !client.is_recent(token)));
        assert!(recent.iter().all(|token| client.is_recent(token)));
        assert!(!client.is_recent(&client.token(21)));
    }
}
