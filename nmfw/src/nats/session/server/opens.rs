//! [`Opens`]: rate limits for opening sessions.
//!
//! Opening a session costs a service a task and memory, and a peer one small message. OPENs
//! therefore have a rate limit, large enough for all clients of an instance to reconnect at once.
//! Refusals have one as well; further OPENs are dropped and counted.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use nmfw_core::{
    service::client_id::ClientId,
    token_bucket::{Bucket, Pace},
};

/// The limit for all OPENs of an instance: 1,000 a second after a burst of 8,192.
const ALL: Pace = Pace {
    interval: Some(Duration::from_millis(1)),
    burst: 8192,
};

/// The limit for one client, which may be a whole fleet with one inbox prefix: half of the above.
const CLIENT: Pace = Pace {
    interval: Some(Duration::from_millis(2)),
    burst: 4096,
};

/// The limit for refusals, for any reason: 100 a second after a burst of 256.
const REFUSALS: Pace = Pace {
    interval: Some(Duration::from_millis(10)),
    burst: 256,
};

/// Maximum number of clients with a separate limit. If more have used a part of theirs, the others
/// share one.
const MAX_CLIENTS: usize = 1024;

/// Interval of purges, because a peer can send many OPENs under invented names.
const LOOK: Duration = Duration::from_millis(100);

/// The rate limits of an instance.
#[derive(Debug, Default)]
pub(crate) struct Opens {
    all: Bucket,
    clients: HashMap<ClientId, Bucket>,
    /// When to purge clients whose limits are fully restored.
    next_look: Option<Instant>,
    others: Bucket,
    refusals: Bucket,
}

impl Opens {
    /// Returns whether the client may open a session now; `false` if it, or all clients together,
    /// have reached the limit.
    pub(crate) fn take(&mut self, client: ClientId, now: Instant) -> bool {
        if self.clients.len() >= MAX_CLIENTS && self.next_look.is_none_or(|at| at <= now) {
            self.next_look = Some(now + LOOK);
            self.clients.retain(|_, bucket| !bucket.is_full(now));
        }
        let is_known = self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&client);
        let bucket = match is_known {
            true => self.clients.entry(client).or_default(),
            false => &mut self.others,
        };
        // In this order, so that a client beyond its limit takes nothing from the others.
        bucket.has_token(&CLIENT, now) && self.all.take(&ALL, now) && bucket.take(&CLIENT, now)
    }

    /// Returns whether a refused OPEN gets an answer.
    pub(crate) fn may_refuse(&mut self, now: Instant) -> bool {
        self.refusals.take(&REFUSALS, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(opens: &mut Opens, client: u64, now: Instant) -> u32 {
        let client = ClientId::numbered(client);
        let taken = (0..10_000).take_while(|_| opens.take(client, now));
        u32::try_from(taken.count()).unwrap()
    }

    #[test]
    fn one_client_leaves_half_to_the_others() {
        let mut opens = Opens::default();
        let now = Instant::now();
        assert_eq!(count(&mut opens, 1, now), CLIENT.burst);
        // A thousand other clients reconnect at once, with four sessions each.
        for client in 2..=1024 {
            for _ in 0..4 {
                assert!(opens.take(ClientId::numbered(client), now), "{client}");
            }
        }
        let later = now + Duration::from_secs(1);
        assert!((499..=501).contains(&count(&mut opens, 1, later)));
        assert!(opens.take(ClientId::numbered(2), later));
    }

    #[test]
    fn names_that_are_made_up_take_no_memory() {
        let mut opens = Opens::default();
        let mut now = Instant::now();
        for client in 0..100_000 {
            opens.take(ClientId::numbered(client), now);
            assert!(opens.clients.len() <= MAX_CLIENTS);
        }
        let stranger = ClientId::numbered(100_000);
        assert!(
            !opens.take(stranger, now),
            "the clients do not share the whole limit"
        );
        now += Duration::from_secs(60);
        assert!(opens.take(ClientId::numbered(100_001), now));
        assert_eq!(opens.clients.len(), 1);
    }
}
