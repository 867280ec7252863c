use super::*;

const MOST: usize = 256;

struct Test {
    places: Places,
    now: Instant,
    last: u64,
    usages: HashMap<u64, Arc<Usage>>,
}

impl Test {
    fn new() -> Self {
        let places = Places::default();
        let now = places.began;
        Self {
            places,
            now,
            last: 0,
            usages: HashMap::new(),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn half_open(&mut self, client: u64) -> Result<u64, Status> {
        let client = ClientId::numbered(client);
        let window = self.places.make_room(client, MOST, self.now)?;
        self.last += 1;
        let id = self.last;
        let new = NewSession {
            client,
            id,
            subject: "s".into(),
        };
        let granted = self.places.add(new, window, self.now);
        self.usages.insert(id, granted.usage);
        self.check();
        Ok(id)
    }

    fn open(&mut self, client: u64) -> Result<u64, Status> {
        let id = self.half_open(client)?;
        self.places.confirm(id);
        Ok(id)
    }

    fn busy(&self, id: u64, is_busy: bool) {
        self.usages[&id].set(is_busy, self.now);
    }

    fn fill(&mut self, client: u64) -> Vec<u64> {
        let mut ids = Vec::new();
        while let Ok(id) = self.open(client) {
            ids.push(id);
        }
        ids
    }

    fn is_evicted(&self, id: u64) -> bool {
        self.places.sessions[&id].stage == SessionStage::Evicted
    }

    fn evicted(&self) -> Vec<u64> {
        let mut ids: Vec<_> = self.places.sessions.keys().copied().collect();
        ids.retain(|id| self.is_evicted(*id));
        ids.sort_unstable();
        ids
    }

    /// Checks that all sums are consistent.
    fn check(&self) {
        let Places {
            sessions,
            half_open,
            window,
            leaving,
            clients,
            ..
        } = &self.places;
        let sum = |evicted: bool| {
            let of = sessions.values();
            let of = of.filter(|entry| (entry.stage == SessionStage::Evicted) == evicted);
            of.map(|entry| entry.window as usize).sum::<usize>()
        };
        assert_eq!((sum(false), sum(true)), (*window, *leaving));
        assert_eq!(clients.values().sum::<usize>(), *window);
        assert!(*window <= MOST);
        let opening = sessions.values();
        let opening = opening.filter(|entry| entry.stage == SessionStage::HalfOpen);
        assert_eq!(opening.count(), half_open.len());
    }
}

#[test]
fn an_idle_session_makes_room_first_the_one_that_was_never_used() {
    let mut test = Test::new();
    // One client each, so that none has more than its share.
    let mut ids = Vec::new();
    for client in 0..18 {
        ids.push(test.open(client).unwrap());
    }
    test.open(100).unwrap_err();
    for id in &ids {
        test.busy(*id, true);
    }
    test.wait(Duration::from_secs(1));
    test.open(100).unwrap_err();
    test.busy(ids[7], false);
    test.wait(Duration::from_secs(1));
    test.busy(ids[9], false);
    test.open(100).unwrap();
    assert!(test.is_evicted(ids[7]));
    test.open(101).unwrap();
    assert!(test.is_evicted(ids[9]));
    // The others are busy, and the newest may be about to be used.
    test.open(102).unwrap_err();
    // The newest are idle and were never used.
    test.busy(ids[2], false);
    test.wait(Duration::from_secs(1));
    let never_used = *test.usages.keys().max().unwrap() - 1;
    test.open(102).unwrap();
    assert!(test.is_evicted(never_used), "{:?}", test.evicted());
    for id in test.evicted() {
        test.places.remove(id);
    }
    test.check();
    assert_eq!(test.places.leaving, 0);
}

#[test]
fn a_client_that_fills_an_instance_makes_room_for_all_others() {
    let mut test = Test::new();
    let hog = test.fill(1);
    assert_eq!(hog.len(), 18);
    test.wait(Duration::from_secs(1));
    for client in 2..10 {
        let id = test.open(client).unwrap();
        test.busy(id, true);
        test.wait(Duration::from_millis(10));
    }
    // The client loses at most one of its own sessions per new one; other clients lose none.
    test.wait(Duration::from_secs(10));
    let before = test.evicted();
    test.open(1).unwrap();
    let after = test.evicted();
    assert!(after.len() > before.len());
    assert!(after.iter().all(|id| hog.contains(id)));
}

#[test]
fn busy_sessions_of_a_client_with_more_than_its_share_end_for_others() {
    let mut test = Test::new();
    let hog = test.fill(1);
    for id in &hog {
        test.busy(*id, true);
    }
    test.wait(Duration::from_secs(1));
    // Sessions are asked to end, oldest first, until the client is at its share. Their calls
    // continue meanwhile.
    test.open(2).unwrap_err();
    assert!(matches!(
        test.places.sessions[&hog[0]].stage,
        SessionStage::Leaving(_)
    ));
    test.wait(MAX_LEAVING);
    test.open(2).unwrap();
    assert!(test.is_evicted(hog[0]));
    test.check();
}

#[test]
fn sessions_that_are_never_confirmed_take_no_places_of_others() {
    let mut test = Test::new();
    let honest: Vec<_> = (0..2).map(|client| test.open(client).unwrap()).collect();
    for id in &honest {
        test.busy(*id, true);
    }
    for n in 0..1000 {
        // A different name each time.
        let id = test.half_open(1000 + n).unwrap();
        assert!(test.places.half_open.len() <= MIN_HALF_OPEN);
        let evicted = test.evicted();
        assert!(!evicted.contains(&id));
        for id in evicted {
            assert!(!honest.contains(&id));
            test.places.remove(id);
        }
    }
    test.open(5).unwrap();
}

#[test]
fn places_are_given_away_before_their_sessions_are_gone_but_not_all() {
    let mut test = Test::new();
    for client in 0..18 {
        test.open(client).unwrap();
    }
    test.wait(Duration::from_secs(1));
    // The first two hold half of the capacity, and make room for sixteen small ones.
    for client in 20..36 {
        let id = test.open(client).unwrap();
        test.busy(id, true);
    }
    assert_eq!(test.places.leaving, MOST / LEAVING);
    test.open(40).unwrap_err();
    let evicted = test.evicted();
    assert_eq!(evicted, [1, 2]);
    test.places.remove(evicted[0]);
    test.open(40).unwrap();
    test.check();
}

#[test]
fn a_client_gets_large_windows_up_to_its_share_if_there_are_others() {
    // Two windows of 64, then windows of 8. One more window may grow, which leaves a quarter.
    let sessions_of = |clients: [u64; 3]| {
        let mut test = Test::new();
        let ids = clients.map(|client| test.open(client).unwrap());
        (test, ids[2])
    };
    let (mut test, only) = sessions_of([1, 1, 1]);
    assert_eq!(test.places.widen(only, MOST), Some(WINDOW));
    test.check();
    let next = test.open(1).unwrap();
    assert_eq!(test.places.widen(next, MOST), None);

    let (mut test, greedy) = sessions_of([1, 2, 1]);
    assert_eq!(test.places.widen(greedy, MOST), None);
    let (mut test, modest) = sessions_of([1, 1, 2]);
    assert_eq!(test.places.widen(modest, MOST), Some(WINDOW));
    test.check();
}
