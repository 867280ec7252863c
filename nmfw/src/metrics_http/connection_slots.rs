//! [`ConnectionSlots`]: the open connections of a monitor, and the choice of the one to close.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::AbortHandle;

/// Whether a connection has sent its request.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionSlot(Arc<AtomicBool>);

impl ConnectionSlot {
    pub(super) fn requested(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// The open connections, oldest first.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    taken: Vec<(AbortHandle, ConnectionSlot)>,
    max: usize,
}

impl ConnectionSlots {
    pub(super) const fn new(max: usize) -> Self {
        let taken = Vec::new();
        Self { taken, max }
    }

    /// Adds a connection. If there are too many, closes the oldest one without a request, or else
    /// the oldest one. Returns whether one was closed.
    pub(super) fn add(&mut self, task: AbortHandle, slot: ConnectionSlot) -> bool {
        self.taken.retain(|(task, _)| !task.is_finished());
        let is_full = self.taken.len() >= self.max;
        if is_full {
            let idle = self.taken.iter().position(|(_, slot)| slot.is_idle());
            let (task, _) = self.taken.remove(idle.unwrap_or(0));
            task.abort();
        }
        self.taken.push((task, slot));
        is_full
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn the_oldest_idle_connection_gives_way() {
        let mut tasks = JoinSet::new();
        let mut slots = ConnectionSlots::new(3);
        let connections: Vec<_> = (0..3).map(|_| ConnectionSlot::default()).collect();
        connections[0].requested();
        let mut ids = Vec::new();
        for slot in &connections {
            let task = tasks.spawn(pending::<()>());
            ids.push(task.id());
            assert!(!slots.add(task, slot.clone()));
        }
        for expected in [ids[1], ids[2]] {
            let new = ConnectionSlot::default();
            new.requested();
            assert!(slots.add(tasks.spawn(pending()), new));
            let ended = tasks.join_next().await.unwrap().unwrap_err();
            assert_eq!(ended.id(), expected);
        }
        // All connections have sent a request.
        assert!(slots.add(tasks.spawn(pending()), ConnectionSlot::default()));
        let ended = tasks.join_next().await.unwrap().unwrap_err();
        assert_eq!(ended.id(), ids[0]);
    }

    #[tokio::test]
    async fn ended_connections_take_no_slot() {
        let mut tasks = JoinSet::new();
        let mut slots = ConnectionSlots::new(1);
        for _ in 0..3 {
            let task = tasks.spawn(async {});
            assert!(!slots.add(task, ConnectionSlot::default()));
            tasks.join_next().await.unwrap().unwrap();
        }
    }
}
