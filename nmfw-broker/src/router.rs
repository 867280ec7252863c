//! Message routing: the subscriptions of all clients, and delivery to them.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::outbox::{Outbox, Put};
use crate::parser::Publish;
use crate::sublist::{Group, InvalidSubject, Scratch, Sublist};

/// A connected client, as seen by other clients.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) outbox: Outbox,
    /// Whether it receives its own messages.
    pub(crate) echo: AtomicBool,
    /// Whether it supports HMSG.
    pub(crate) headers: AtomicBool,
    /// The client's subscriptions by id. Locked only after the router's lock.
    subs: Mutex<HashMap<Box<[u8]>, Arc<Subscription>>>,
}

/// A subscription.
#[derive(Debug)]
struct Subscription {
    /// Part of a reference cycle that [`Router::forget`] breaks.
    client: Arc<Client>,
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
    sid: Box<[u8]>,
    delivered: AtomicU64,
    /// Number of deliveries after which the subscription ends; 0 for unlimited.
    max: AtomicU64,
}

/// The subscriptions of all clients.
#[derive(Debug, Default)]
pub(crate) struct Router {
    list: RwLock<Sublist<Subscription>>,
}

/// The outboxes that received output during one read of a client.
///
/// The writers are woken together at the end of the batch, so that many small messages are sent in
/// one write. Dropping the batch also wakes the writers, which covers every exit of the read loop.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    wake: Vec<Arc<Client>>,
    crowded: Option<Arc<Client>>,
    scratch: Scratch,
    line: Vec<u8>,
}

impl Batch {
    /// Puts `parts` into a client's outbox. Returns false if the outbox accepts no more.
    pub(crate) fn put(&mut self, client: &Arc<Client>, parts: &[&[u8]]) -> bool {
        match client.outbox.put(parts) {
            Put::Refused => false,
            Put::Queued { wake, crowded } => {
                if wake {
                    self.wake.push(Arc::clone(client));
                }
                if crowded {
                    self.crowded = Some(Arc::clone(client));
                }
                true
            }
        }
    }

    /// Wakes the writers. Returns a client that does not keep up, if there is one.
    pub(crate) fn finish(&mut self) -> Option<Arc<Client>> {
        for client in self.wake.drain(..) {
            client.outbox.wake();
        }
        self.crowded.take()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Client {
    /// Creates a client with the defaults that nats-server assumes before CONNECT.
    pub(crate) fn new(max_pending: usize) -> Self {
        Self {
            outbox: Outbox::new(max_pending),
            echo: AtomicBool::new(true),
            headers: AtomicBool::new(false),
            subs: Mutex::default(),
        }
    }

    fn subs(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Arc<Subscription>>> {
        self.subs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router {
    // Ignore poisoning: the list stays consistent after a panic, and failing here would disconnect
    // every other client.
    fn read(&self) -> RwLockReadGuard<'_, Sublist<Subscription>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Sublist<Subscription>> {
        self.list.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a subscription. If the id is in use, the old subscription stays, as in nats-server.
    pub(crate) fn subscribe(
        &self,
        client: &Arc<Client>,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) -> Result<(), InvalidSubject> {
        let mut list = self.write();
        let mut subs = client.subs();
        if subs.contains_key(sid) {
            return Ok(());
        }
        let sub = Arc::new(Subscription {
            client: Arc::clone(client),
            subject: subject.into(),
            queue: queue.map(Into::into),
            sid: sid.into(),
            delivered: AtomicU64::new(0),
            max: AtomicU64::new(0),
        });
        list.insert(subject, queue, Arc::clone(&sub))?;
        subs.insert(sid.into(), sub);
        Ok(())
    }

    /// Ends a subscription now, or after `max` deliveries, counting those before this call.
    pub(crate) fn unsubscribe(&self, client: &Client, sid: &[u8], max: Option<u64>) {
        // The write lock excludes deliveries, which read `delivered` and `max` separately.
        let mut list = self.write();
        let mut subs = client.subs();
        let Some(sub) = subs.get(sid) else {
            return;
        };
        match max {
            Some(max) if max > sub.delivered.load(Ordering::Relaxed) => {
                sub.max.store(max, Ordering::Relaxed);
            }
            _ => {
                list.remove(&sub.subject, sub.queue.as_deref(), sub);
                subs.remove(sid);
            }
        }
    }

    /// Ends all subscriptions of a client.
    pub(crate) fn forget(&self, client: &Client) {
        let mut list = self.write();
        for (_, sub) in client.subs().drain() {
            list.remove(&sub.subject, sub.queue.as_deref(), &sub);
        }
    }

    /// Ends a subscription that has reached its maximum.
    fn expire(&self, sub: &Arc<Subscription>) {
        let mut list = self.write();
        list.remove(&sub.subject, sub.queue.as_deref(), sub);
        let mut subs = sub.client.subs();
        // The id may belong to a new subscription by now.
        if subs
            .get(&sub.sid)
            .is_some_and(|current| Arc::ptr_eq(current, sub))
        {
            subs.remove(&sub.sid);
        }
    }

    /// Delivers a message to all matching subscriptions; returns whether there was any.
    pub(crate) fn publish(&self, from: &Client, msg: &Publish<'_>, batch: &mut Batch) -> bool {
        let mut delivery = Delivery {
            from,
            msg,
            delivered: false,
            expired: Vec::new(),
        };
        let mut scratch = std::mem::take(&mut batch.scratch);
        let list = self.read();
        let mut groups: Vec<&Group<Subscription>> = Vec::new();
        list.matches(msg.subject, &mut scratch, |entry| {
            for sub in &entry.plain {
                delivery.try_deliver(sub, batch);
            }
            groups.extend(&entry.groups);
        });
        // A group may have members on several matching patterns, and still gets one message.
        groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for group in groups.chunk_by(|a, b| a.name == b.name) {
            let count = group.iter().map(|part| part.members.len()).sum::<usize>();
            let start = if count > 1 {
                rand::random_range(0..count)
            } else {
                0
            };
            let members = group.iter().flat_map(|part| &part.members);
            for sub in members.cycle().skip(start).take(count) {
                if delivery.try_deliver(sub, batch) {
                    break;
                }
            }
        }
        drop(list);
        batch.scratch = scratch;
        let Delivery {
            delivered, expired, ..
        } = delivery;
        for sub in expired {
            self.expire(&sub);
        }
        delivered
    }

    /// Sends "no responders" to a publisher.
    ///
    /// Only a plain subscription of the publisher itself that covers the reply subject receives it,
    /// and the message does not count against its maximum.
    pub(crate) fn no_responders(&self, to: &Arc<Client>, msg: &Publish<'_>, batch: &mut Batch) {
        let Some(reply) = msg.reply else {
            return;
        };
        let mut scratch = std::mem::take(&mut batch.scratch);
        let list = self.read();
        let mut own = None;
        list.matches(reply, &mut scratch, |entry| {
            own = own.or_else(|| entry.plain.iter().find(|sub| Arc::ptr_eq(&sub.client, to)));
        });
        if let Some(sub) = own {
            let status: [&[u8]; 3] = [b"NATS/1.0 503\r\nNats-Subject: ", msg.subject, b"\r\n\r\n"];
            let len = status
                .iter()
                .map(|part| part.len())
                .sum::<usize>()
                .to_string();
            let [start, subject, end] = status;
            let parts: [&[u8]; 13] = [
                b"HMSG ",
                reply,
                b" ",
                &sub.sid,
                b" ",
                len.as_bytes(),
                b" ",
                len.as_bytes(),
                b"\r\n",
                start,
                subject,
                end,
                b"\r\n",
            ];
            batch.put(to, &parts);
        }
        drop(list);
        batch.scratch = scratch;
    }
}

/// A message being delivered.
struct Delivery<'a> {
    from: &'a Client,
    msg: &'a Publish<'a>,
    delivered: bool,
    expired: Vec<Arc<Subscription>>,
}

impl Delivery<'_> {
    /// Delivers to one subscription, unless it is the publisher's own without echo, has reached its
    /// maximum, or its client is gone.
    fn try_deliver(&mut self, sub: &Arc<Subscription>, batch: &mut Batch) -> bool {
        let client = &sub.client;
        if !client.echo.load(Ordering::Relaxed) && std::ptr::eq(self.from, Arc::as_ptr(client)) {
            return false;
        }
        let count = sub.delivered.fetch_add(1, Ordering::Relaxed) + 1;
        let max = sub.max.load(Ordering::Relaxed);
        if max > 0 && count >= max {
            if count > max {
                return false;
            }
            self.expired.push(Arc::clone(sub));
        }
        let put = self.put(sub, batch);
        self.delivered |= put;
        put
    }

    fn put(&self, sub: &Subscription, batch: &mut Batch) -> bool {
        let Publish {
            subject,
            reply,
            header_len,
            body,
        } = *self.msg;
        let with_headers = header_len > 0 && sub.client.headers.load(Ordering::Relaxed);
        // A client without header support gets only the payload.
        let body = if with_headers {
            body
        } else {
            body.get(header_len..).unwrap_or_default()
        };
        let mut line = std::mem::take(&mut batch.line);
        line.clear();
        line.extend_from_slice(if with_headers { b"HMSG " } else { b"MSG " });
        line.extend_from_slice(subject);
        line.push(b' ');
        line.extend_from_slice(&sub.sid);
        line.push(b' ');
        if let Some(reply) = reply {
            line.extend_from_slice(reply);
            line.push(b' ');
        }
        // Writing to a vector does not fail.
        let _ = if with_headers {
            write!(line, "{header_len} {}\r\n", body.len())
        } else {
            write!(line, "{}\r\n", body.len())
        };
        let put = batch.put(&sub.client, &[&line, body, b"\r\n"]);
        batch.line = line;
        put
    }
}
