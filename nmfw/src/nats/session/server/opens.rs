//! [`Opens`]: how many sessions may be asked for in a time.
//!
//! To open a session takes a service a task and some memory, and a peer one small message. So OPENs have
//! a budget, large enough for all clients of an instance to come back at once. The answers to those
//! beyond it have one, too; the rest is dropped and counted.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use nmfw_core::{
    service::client_id::ClientId,
    token_bucket::{Bucket, Pace},
};

/// All OPENs of an instance: 1,000 a second after the first 8,192.
const ALL: Pace = Pace {
    interval: Some(Duration::from_millis(1)),
    burst: 8192,
};

/// Those of one client, which may be a whole fleet with one inbox prefix: half of it.
const CLIENT: Pace = Pace {
    interval: Some(Duration::from_millis(2)),
    burst: 4096,
};

/// Answers to OPENs that are refused, for whatever reason: 100 a second after the first 256.
const REFUSALS: Pace = Pace {
    interval: Some(Duration::from_millis(10)),
    burst: 256,
};

/// Clients that have a budget of their own at a time. If more than that have used up some of theirs,
/// others share one.
const MAX_CLIENTS: usize = 1024;

/// How often they are looked through: OPENs under made-up names may be many.
const LOOK: Duration = Duration::from_millis(100);

/// The budgets of one instance.
#[derive(Debug, Default)]
pub(crate) struct Opens {
    all: Bucket,
    clients: HashMap<ClientId, Bucket>,
    /// When to look next which clients have all of their budget back.
    next_look: Option<Instant>,
    others: Bucket,
    refusals: Bucket,
}

impl Opens {
    /// Whether the client may open a session now; `false` if it, or all together, have used up their
    /// budget.
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
        // In this order, so that the client that is over its budget takes nothing of the others'.
        bucket.has_token(&CLIENT, now) && self.all.take(&ALL, now) && bucket.take(&CLIENT, now)
    }

    /// Whether an OPEN that is refused gets an answer.
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
        // A thousand others come back at once, with four sessions each.
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
        assert!(!opens.take(stranger, now), "they share all");
        now += Duration::from_secs(60);
        assert!(opens.take(ClientId::numbered(100_001), now));
        assert_eq!(opens.clients.len(), 1);
    }
}
