//! Tests of the memory held for the peer: the harness adds up what exists and compares it with the
//! session's accounting.

use crate::nats::session::protocol::Session;

impl Session {
    /// Checks that the accounting matches the actual memory and is within its limits.
    pub(in super::super) fn check_budget(&self) {
        let heads = self.streams.values().map(|stream| stream.head);
        assert_eq!(heads.sum::<u64>(), self.budget.heads());
        assert!(self.budget.heads() <= self.budget.most_heads());
        let outgoing = self.streams.values().map(|stream| stream.sending.held());
        assert_eq!(outgoing.sum::<u64>(), self.budget.outgoing());
        let answers = self.streams.values();
        let answers = answers.map(|stream| stream.sending.last_words());
        assert_eq!(answers.sum::<u64>(), self.budget.answers());
        let grown = self.streams.values().map(|stream| stream.receiving.grown());
        assert_eq!(grown.sum::<u64>(), self.budget.grown());
        assert!(self.budget.grown() <= self.budget.most_grown());
        let wide = self.streams.values().filter(|stream| !stream.is_narrow);
        assert_eq!(wide.count(), self.wide);
        assert!(self.wide <= self.wide_limit);
        // A client's outgoing data belongs to its application.
        let outgoing = if self.is_server {
            self.budget.outgoing()
        } else {
            0
        };
        let received = self
            .streams
            .values()
            .map(|stream| stream.receiving.unread());
        let partial = self.streams.values().map(|stream| stream.receiving.held());
        let left = u64::try_from(self.budget.left()).unwrap_or(0);
        let there = received.chain(partial).sum::<u64>() + left + outgoing + self.budget.heads();
        // One message may exceed the limit, and so may the end of each stream.
        let ends = 1024 * self.streams.len() as u64;
        // Answers that the peer accepts may use the room for unfinished messages.
        let turns = 2 * (self.hello.max_message + self.hello.stream_window);
        let most =
            self.budget.most() + self.agreed.max_message.min(25_000_000) as u64 + ends + turns;
        assert!(there <= most, "{there} bytes are kept, and not {most}");
        let (kept, spare) = self.outbound.kept();
        let packet = self.agreed.max_packet as u64;
        assert!(kept <= self.own_window.max(64) * packet);
        assert!(spare <= 2 * self.own_window.max(64) * packet);
    }

    /// Returns the messages that were passed to the application but not taken, as counted by this
    /// side.
    pub(super) fn untaken(&self) -> i64 {
        let unread = self
            .streams
            .values()
            .map(|stream| stream.receiving.unread());
        unread.sum::<u64>().cast_signed() + self.budget.left()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{
        super::{
            super::{
                CallHead, Config, Event, SendError, StreamId,
                frame::{Header, flag, kind, put_frame},
            },
            network::{METHOD, Network, SERVER, UNARY, check, head},
        },
        *,
    };
    use crate::{Code, Metadata, Status};
    use nmfw_core::call::body::{chunk::Tally, wire::put_varint};

    fn packet(seq: u64, frames: &[u8]) -> Bytes {
        let mut out = Vec::new();
        let header = Header {
            seq,
            ack: 0,
            go_back: false,
        };
        header.put(&mut out);
        out.extend_from_slice(frames);
        out.into()
    }

    fn call(stream: u64, head: &CallHead) -> Vec<u8> {
        let mut body = Vec::new();
        put_varint(&mut body, 0);
        body.extend_from_slice(&head.encode());
        let mut frame = Vec::new();
        let flags = if stream > 8 { flag::NARROW } else { 0 };
        put_frame(&mut frame, stream, kind::CALL | flags, &body);
        frame
    }

    fn with_metadata(method: &str, len: usize) -> CallHead {
        let mut head = head(method);
        head.metadata.append("a", "x".repeat(len)).unwrap();
        head
    }

    /// Returns the number of started calls, and the errors of refused ones.
    fn outcomes(network: &mut Network) -> (usize, Vec<Status>) {
        network.run_ms(50);
        let mut begun = 0;
        let mut refused = Vec::new();
        for event in network.take(0) {
            if let Event::Finished { outcome, .. } = event {
                refused.push(outcome.unwrap_err());
            }
        }
        for event in network.take(SERVER) {
            begun += usize::from(matches!(event, Event::Call { .. }));
        }
        (begun, refused)
    }

    #[test]
    fn heads_that_wait_for_their_messages_have_a_bound() {
        let mut network = Network::both(Config::default());
        let len = Metadata::MAX_SIZE - 100;
        let open = |network: &mut Network, method| {
            let head = with_metadata(method, len);
            network.sides[0].open_call(head, true, None).unwrap()
        };
        let most = network.sides[SERVER].budget.most_heads();
        let most = (most / Metadata::MAX_SIZE as u64) as usize;
        let ids: Vec<StreamId> = (0..200).map(|_| open(&mut network, UNARY)).collect();
        let (begun, refused) = outcomes(&mut network);
        assert!((most - 1..=most).contains(&begun), "{begun}");
        assert_eq!(begun + refused.len(), 200);
        for status in refused {
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(status.is_not_started(), "{status}");
        }
        // Calls whose messages arrive make room for others.
        for id in &ids[..10] {
            let message = Bytes::from_static(b"x");
            network.sides[0].send_message(*id, message, true).unwrap();
        }
        outcomes(&mut network);
        for _ in 0..10 {
            open(&mut network, UNARY);
        }
        assert_eq!(outcomes(&mut network).0, 10);
        // Calls that end without their message make room, too.
        for id in &ids[10..20] {
            network.sides[0].reset(*id, &Status::cancelled(""));
        }
        for id in &ids[20..30] {
            network.sides[SERVER].send_status(*id, Err(&Status::aborted("")));
        }
        outcomes(&mut network);
        for _ in 0..20 {
            open(&mut network, UNARY);
        }
        assert_eq!(outcomes(&mut network).0, 20);
        // Handlers with request streams start at once.
        for _ in 0..100 {
            open(&mut network, METHOD);
        }
        assert_eq!(outcomes(&mut network).0, 100);
    }

    /// 1,000 calls with 1 MB of metadata and no message used to hold 1 GB.
    #[test]
    fn metadata_of_a_peer_that_keeps_to_no_limit_is_refused() {
        let mut network = Network::both(Config::default());
        let mut frames = Vec::new();
        let mut body = vec![0];
        body.extend_from_slice(&head(UNARY).encode());
        // Field 3 with 900,000 bytes of metadata.
        let mut metadata = Vec::new();
        nmfw_core::call::body::wire::put_bytes(&mut metadata, b"a");
        nmfw_core::call::body::wire::put_bytes(&mut metadata, &vec![b'x'; 900_000]);
        nmfw_core::call::body::wire::put_bytes_field(&mut body, 3, &metadata);
        put_frame(&mut frames, 1, kind::CALL, &body);
        let now = network.now;
        let server = &mut network.sides[SERVER];
        server.hear(now, packet(1, &frames));
        assert!(server.poll_event().is_none(), "the call begins");
        check(server);
        while server.poll_transmit(now).is_some() {}
        assert_eq!(server.open_streams(), 0, "it is refused");
        assert!(!server.is_closed());
    }

    #[test]
    fn metadata_up_to_the_limit_is_carried() {
        let mut network = Network::both(Config::default());
        let len = Metadata::MAX_SIZE - "a".len() - 32;
        for method in [UNARY, METHOD] {
            let now = network.now;
            let server = &mut network.sides[SERVER];
            let stream = server.highest + 1;
            let mut frames = call(stream, &with_metadata(method, len));
            put_frame(&mut frames, stream, kind::MESSAGE | flag::END, b"");
            let seq = server.received() + 1;
            server.hear(now, packet(seq, &frames));
            let Some(Event::Call { head, .. }) = server.poll_event() else {
                panic!("{method} does not begin");
            };
            assert_eq!(head.metadata.size(), Metadata::MAX_SIZE);
            while server.poll_event().is_some() {}
        }
    }

    /// A client that sends hand-made packets.
    struct Raw {
        network: Network,
        seq: u64,
        /// Number of bytes sent and received.
        sent: usize,
        got: usize,
        events: Vec<Event>,
    }

    impl Raw {
        fn new() -> Self {
            Self {
                network: Network::both(Config::default()),
                seq: 0,
                sent: 0,
                got: 0,
                events: Vec::new(),
            }
        }

        fn server(&mut self) -> &mut Session {
            &mut self.network.sides[SERVER]
        }

        fn hear(&mut self, packet: &Bytes) {
            self.sent += packet.len();
            let now = self.network.now;
            self.server().hear(now, packet.clone());
            self.pump();
        }

        fn pump(&mut self) {
            let now = self.network.now;
            self.server().handle_timeout(now);
            while let Some(transmit) = self.server().poll_transmit(now) {
                self.got += transmit.packet.len();
            }
            while let Some(event) = self.server().poll_event() {
                self.events.push(event);
            }
            check(self.server());
        }

        fn send(&mut self, frames: &[u8]) {
            self.seq += 1;
            let mut out = Vec::new();
            let header = Header {
                seq: self.seq,
                ack: self.server().last_sent(),
                go_back: false,
            };
            header.put(&mut out);
            out.extend_from_slice(frames);
            self.hear(&out.into());
        }

        fn send_bare(&mut self, ack: u64, go_back: bool) {
            let mut out = Vec::new();
            let header = Header {
                seq: 0,
                ack,
                go_back,
            };
            header.put(&mut out);
            self.hear(&out.into());
        }

        fn events(&mut self) -> Vec<Event> {
            std::mem::take(&mut self.events)
        }

        fn wait(&mut self, time: Duration) {
            self.network.now += time;
            self.pump();
        }

        /// Returns the error with which the service has ended the session.
        fn reason(&mut self) -> Option<Status> {
            self.events().into_iter().find_map(|event| match event {
                Event::Closed(status) => Some(status.unwrap()),
                _ => None,
            })
        }
    }

    /// Requests resending a whole window, at 24 kB/s and as fast as possible.
    #[test]
    fn going_back_is_not_had_for_nothing() {
        for pause in [Duration::from_micros(160), Duration::from_millis(5)] {
            let mut raw = Raw::new();
            raw.send(&call(1, &head(METHOD)));
            for _ in 0..4 {
                let message = vec![0; 60_000].into();
                let id = raw.server().id(1);
                raw.server().send_message(id, message, false).unwrap();
            }
            raw.pump();
            assert!(raw.got > 240_000);
            (raw.sent, raw.got) = (0, 0);
            let begin = raw.network.now;
            while raw.network.now < begin + Duration::from_secs(20) && !raw.server().is_closed() {
                raw.wait(pause);
                // With the other credits, about 24 kB/s at the slower rate.
                for _ in 0..40 {
                    raw.send_bare(0, true);
                }
            }
            // The initial amount, and the amount added by time.
            let most = (2 << 20) + 20 * 64 * 1024;
            assert!(raw.got < most, "{} bytes for {}", raw.got, raw.sent);
            assert!(
                raw.got < 20 * raw.sent,
                "{} bytes for {}",
                raw.got,
                raw.sent
            );
        }
    }

    /// Each acknowledgement makes the next request a different one.
    #[test]
    fn going_back_with_each_acknowledgement_has_a_bound() {
        let mut raw = Raw::new();
        raw.send(&call(1, &head(METHOD)));
        for _ in 0..4 {
            let message = vec![0; 60_000].into();
            let id = raw.server().id(1);
            raw.server().send_message(id, message, false).unwrap();
        }
        raw.pump();
        let first = raw.got;
        for ack in 0..raw.server().last_sent() {
            for _ in 0..100 {
                raw.wait(Duration::from_millis(30));
                raw.send_bare(ack, true);
            }
        }
        let again = raw.got - first;
        let most = 2 * first + (2 << 20) + 12 * 64 * 1024;
        assert!(again < most, "{again} bytes for {first}");
    }

    fn reset(stream: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        put_frame(&mut frame, stream, kind::RESET, &[1]);
        frame
    }

    fn is_excess(status: &Status) -> bool {
        status.code() == Code::ResourceExhausted && status.message().contains("without an effect")
    }

    #[test]
    fn rapid_resets_end_the_session() {
        let mut raw = Raw::new();
        let mut begun = 0;
        let reason = (1..100_000).find_map(|stream| {
            raw.send(&[call(stream, &head(METHOD)), reset(stream)].concat());
            begun = stream;
            raw.reason()
        });
        assert!(is_excess(&reason.unwrap()));
        assert!((9_000..11_000).contains(&begun), "{begun} calls began");
    }

    /// Thousands of callers cancel at once, repeatedly, while others are answered.
    #[test]
    fn callers_that_give_up_end_no_session() {
        let mut raw = Raw::new();
        let mut stream = 0;
        for _ in 0..60 {
            for _ in 0..1_000 {
                stream += 1;
                raw.send(&[call(stream, &head(METHOD)), reset(stream)].concat());
            }
            raw.wait(Duration::from_millis(500));
        }
        // Hedged calls: one of two is cancelled, at any rate.
        for _ in 0..50_000 {
            stream += 2;
            let (answered, lost) = (stream - 1, stream);
            raw.send(&[call(answered, &head(METHOD)), call(lost, &head(METHOD))].concat());
            raw.events();
            let id = raw.server().id(answered);
            raw.server().finish(id);
            raw.pump();
            raw.send(&reset(lost));
            assert_eq!(raw.reason().map(|status| status.to_string()), None);
        }
        // Calls whose answers had begun cost nothing.
        for _ in 0..50_000 {
            stream += 1;
            raw.send(&call(stream, &head(METHOD)));
            let headers = Metadata::new();
            let id = raw.server().id(stream);
            raw.server().send_headers(id, &headers).unwrap();
            raw.pump();
            raw.send(&reset(stream));
            assert_eq!(raw.reason().map(|status| status.to_string()), None);
        }
    }

    /// Frames that are decoded without an effect.
    #[test]
    fn frames_that_say_nothing_end_the_session() {
        let number = |kind: u8, stream: u64, value: u8| {
            let mut frame = Vec::new();
            put_frame(&mut frame, stream, kind, &[value]);
            frame
        };
        let numbered: [(&str, Vec<u8>); 4] = [
            ("nothing", vec![]),
            ("a frame of an unknown type", number(20, 0, 0)),
            ("a window that grants nothing", number(kind::WINDOW, 1, 5)),
            (
                "the reset of a stream that is over",
                number(kind::RESET, 2, 1),
            ),
        ];
        for (what, frames) in numbered {
            let mut raw = Raw::new();
            raw.send(&[call(1, &head(METHOD)), call(2, &head(METHOD)), reset(2)].concat());
            let frames = frames.repeat(10);
            let reason = (0..200_000).find_map(|_| {
                raw.send(&frames);
                raw.reason()
            });
            assert!(is_excess(&reason.expect(what)), "{what}");
        }
        for kind in [kind::PING, kind::PONG] {
            let mut raw = Raw::new();
            let mut frames = Vec::new();
            Header::BARE.put(&mut frames);
            frames.extend(number(kind, 0, 0).repeat(50));
            let frames = Bytes::from(frames);
            let reason = (0..200_000).find_map(|_| {
                raw.hear(&frames);
                raw.reason()
            });
            assert!(is_excess(&reason.unwrap()), "{kind}");
            // A packet gets one answer, even if it contains several PINGs.
            assert!(raw.got < raw.sent / 10, "{} for {}", raw.got, raw.sent);
        }
        for stream in [None, Some(7)] {
            let mut raw = Raw::new();
            let reason = (0..200_000).find_map(|i| {
                match stream {
                    // A repeated packet.
                    Some(seq) if i > 10 => raw.hear(&packet(seq, b"")),
                    Some(_) => raw.send(&reset(1).repeat(0)),
                    None => raw.send_bare(0, false),
                }
                raw.reason()
            });
            assert!(is_excess(&reason.unwrap()), "{stream:?}");
        }
    }

    /// Parts of one byte each, which take hardly any credit.
    #[test]
    fn messages_in_crumbs_end_the_session() {
        let mut raw = Raw::new();
        raw.send(&call(1, &head(METHOD)));
        let mut crumb = Vec::new();
        put_frame(&mut crumb, 1, kind::MESSAGE | flag::MORE, b"x");
        let crumbs = crumb.repeat(1000);
        let reason = (0..1000).find_map(|_| {
            raw.send(&crumbs);
            raw.reason()
        });
        assert!(is_excess(&reason.unwrap()));
    }

    /// Calls that end without their message, and calls of unknown methods.
    #[test]
    fn useless_calls_end_the_session() {
        for method in [UNARY, "None"] {
            let mut raw = Raw::new();
            let reason = (1..100_000).find_map(|stream| {
                let mut frames = call(stream, &head(method));
                put_frame(&mut frames, stream, kind::END, b"");
                raw.send(&frames);
                for event in raw.events() {
                    match event {
                        Event::End { stream } => {
                            raw.server().send_status(stream, Err(&Status::aborted("")));
                        }
                        Event::Closed(status) => return status,
                        _ => {}
                    }
                }
                raw.pump();
                None
            });
            assert!(is_excess(&reason.unwrap()), "{method}");
        }
    }

    /// Creates a service with these settings, with an open stream for each method in `methods`.
    fn small(config: Config, methods: &[&str]) -> Raw {
        let mut raw = Raw::new();
        raw.network = Network::both(config);
        for (i, method) in methods.iter().enumerate() {
            let stream = i as u64 + 1;
            let mut frames = call(stream, &head(method));
            if *method == UNARY {
                put_frame(&mut frames, stream, kind::MESSAGE | flag::END, b"");
            }
            raw.send(&frames);
        }
        raw.events();
        raw
    }

    /// A peer that requested answers without reading them used to hold 392 MB for 28 kB.
    #[test]
    fn answers_that_are_not_taken_have_a_bound() {
        let mut raw = small(Config::default(), &[UNARY; 1000]);
        let most = raw.server().budget.most();
        let answer = Bytes::from(vec![0; 400_000]);
        let mut refused = 0;
        for stream in 1..=1000 {
            let id = raw.server().id(stream);
            match raw.server().send_message(id, answer.clone(), true) {
                Ok(()) => {}
                Err(SendError::Full(_)) => {
                    let status = raw.server().refuse_answer(id);
                    assert_eq!(status.code(), Code::ResourceExhausted);
                    assert!(
                        status.message().contains("does not read its responses"),
                        "{status}"
                    );
                    refused += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
            raw.pump();
        }
        assert!((850..1000).contains(&refused), "{refused} were refused");
        assert!(raw.server().budget.outgoing() <= most);
        // A moment later, it cannot start further calls either.
        raw.wait(Duration::from_secs(2));
        raw.seq += 1;
        let frames = packet(raw.seq, &call(1001, &head(METHOD)));
        raw.hear(&frames);
        assert!(!raw.events().iter().any(|e| matches!(e, Event::Call { .. })));
        // Then the session ends.
        raw.wait(Duration::from_secs(9));
        let reason = raw.reason().unwrap();
        assert_eq!(reason.code(), Code::ResourceExhausted);
        assert!(
            reason.message().contains("does not read its responses"),
            "{reason}"
        );
    }

    /// For a caller that is slow but reads its answers, no answer is refused, and the session
    /// continues.
    #[test]
    fn answers_that_are_taken_are_not_refused() {
        let mut network = Network::both(Config::default());
        for round in 0..30 {
            for _ in 0..20 {
                let client = &mut network.sides[0];
                let id = client.open_call(head(UNARY), true, None).unwrap();
                client.send_message(id, Bytes::new(), true).unwrap();
            }
            network.run_ms(5);
            let mut answered = 0;
            for event in network.take(SERVER) {
                if let Event::Message { stream, .. } = event {
                    let answer = Bytes::from(vec![0; 1_000_000]);
                    network.sides[SERVER]
                        .send_message(stream, answer, true)
                        .unwrap();
                    answered += 1;
                }
            }
            assert_eq!(answered, 20, "{round}");
            network.run_ms(20_000);
            for event in network.take(0) {
                assert!(!matches!(event, Event::Closed(_)));
                if let Event::Message { stream, message } = event {
                    network.sides[0].consume(stream, Tally::of(message.len()));
                }
            }
            network.run_ms(1000);
            network.take(0);
        }
    }

    /// Streams whose callers pause for minutes hold little memory, and others continue beside them.
    #[test]
    fn paused_streams_hold_up_no_others() {
        let mut network = Network::both(Config::default());
        let open = |network: &mut Network| {
            let id = network.sides[0]
                .open_call(head(METHOD), false, None)
                .unwrap();
            network.run_ms(5);
            id
        };
        let paused: Vec<_> = (0..50).map(|_| open(&mut network)).collect();
        for _ in 0..20 {
            for id in &paused {
                let message = Bytes::from(vec![0; 50_000]);
                _ = network.sides[SERVER].send_message(*id, message, false);
            }
            network.run_ms(20);
        }
        let server = &network.sides[SERVER];
        assert!(server.budget.outgoing() > 50 * 50_000 / 2);
        network.run_ms(600_000);
        network.take(0);
        network.take(SERVER);
        let busy = open(&mut network);
        for _ in 0..100 {
            let message = Bytes::from(vec![0; 20_000]);
            network.sides[SERVER]
                .send_message(busy, message, false)
                .unwrap();
            network.run_ms(5);
            let events = network.take(0);
            let [Event::Message { stream, message }] = &events[..] else {
                panic!("{events:?}")
            };
            assert_eq!((*stream, message.len()), (busy, 20_000));
            network.sides[0].consume(busy, Tally::of(20_000));
        }
    }

    /// A stream without data that found no room continues when there is room.
    #[test]
    fn streams_without_room_wait_for_it() {
        let mut raw = small(
            Config {
                memory: 1 << 20,
                stream_window: 8192,
                max_message: 200_000,
                max_streams: 16,
                ..Config::default()
            },
            &[METHOD; 12],
        );
        // Larger than any window, so that most of it stays.
        let message = Bytes::from(vec![0; 150_000]);
        let mut starved = vec![];
        for stream in 1..=12 {
            let id = raw.server().id(stream);
            match raw.server().send_message(id, message.clone(), false) {
                Ok(()) => {}
                Err(SendError::Full(_)) => starved.push(stream),
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(starved.len() > 8, "{starved:?}");
        // One stream is cancelled, and the others find room when streams with data do so as well.
        raw.events();
        let full: Vec<_> = (1..=12).filter(|id| !starved.contains(id)).collect();
        raw.send(&reset(starved[0]));
        let frames: Vec<_> = full.into_iter().map(reset).collect();
        raw.send(&frames.concat());
        let mut writable = 0;
        for event in raw.events() {
            if let Event::Writable { stream } = event {
                assert!(starved.contains(&stream.number));
                writable += 1;
            }
        }
        assert_eq!(writable, starved.len() - 1);
    }

    /// Statuses and metadata count as well.
    #[test]
    fn ends_that_are_not_taken_have_a_bound() {
        let mut raw = small(Config::default(), &[METHOD; 1000]);
        let details = "x".repeat(60_000);
        let status = Status::aborted("so").with_detail(&details);
        let mut metadata = Metadata::new();
        metadata.insert("a", details).unwrap();
        let mut refused = 0;
        for stream in 1..=1000 {
            let id = raw.server().id(stream);
            let sent = raw.server().send_headers(id, &metadata);
            refused += usize::from(sent.is_err());
            raw.server().send_status(id, Err(&status));
            check(raw.server());
        }
        assert!(refused > 500, "{refused}");
        let most = raw.server().budget.most();
        assert!(raw.server().budget.outgoing() < most);
    }

    /// A service that accepts nothing gets no further requests to hold.
    #[test]
    fn requests_that_are_not_taken_have_a_bound() {
        let mut network = Network::both(Config::default());
        network.weather.is_cut = true;
        let mut refused = None;
        for i in 0..70 {
            let client = &mut network.sides[0];
            match client.open_call(head(UNARY), true, None) {
                Ok(id) => {
                    assert!(i < 60);
                    let message = vec![0; 1 << 20].into();
                    client.send_message(id, message, true).unwrap();
                }
                Err(status) => refused = Some(status),
            }
            if i == 59 {
                network.run_ms(1500);
            }
        }
        let status = refused.unwrap();
        assert!(status.is_not_started(), "{status}");
        assert!(
            status.message().contains("does not accept requests"),
            "{status}"
        );
    }

    #[test]
    fn by_default_it_is_64_mib() {
        let network = Network::both(Config::default());
        for side in &network.sides {
            let most = side.budget.most();
            assert!((60 << 20..=64 << 20).contains(&most), "{most}");
        }
        // Larger messages have room, too.
        let config = Config {
            max_message: 100 << 20,
            ..Config::default()
        };
        let network = Network::both(config);
        let most = network.sides[SERVER].budget.most();
        assert!((200 << 20..240 << 20).contains(&most), "{most}");
    }

    /// 1,024 streams with a window each used to hold 256 MB, and large messages on some of them
    /// more.
    #[test]
    fn unfinished_messages_have_a_bound() {
        let mut raw = Raw::new();
        let part = |stream, len| {
            let mut frame = Vec::new();
            put_frame(
                &mut frame,
                stream,
                kind::MESSAGE | flag::MORE,
                &vec![0; len],
            );
            frame
        };
        for stream in 1..=1024 {
            let method = if stream % 2 == 0 { METHOD } else { UNARY };
            raw.send(&call(stream, &head(method)));
        }
        // Each stream repeatedly uses all of its credit.
        let mut rounds = 0;
        for _ in 0..60 {
            let mut sent = 0;
            for stream in 1..=1024 {
                // Messages that are too large end their streams.
                let id = raw.server().id(stream);
                let Some(state) = raw.server().streams.get(id) else {
                    continue;
                };
                let credit = state.receiving.late_credit();
                if credit > 0 {
                    sent += credit;
                    let len = credit.min(60_000) as usize;
                    raw.send(&part(stream, len));
                }
            }
            rounds += 1;
            if sent == 0 {
                break;
            }
        }
        assert!(rounds > 10, "{rounds}");
        let held = raw.server().streams.values().map(|s| s.receiving.held());
        let held: u64 = held.sum();
        assert!(held > 16 << 20, "{held}");
        assert!(held < 64 << 20, "{held}");
        assert!(!raw.server().is_closed());
    }

    /// A client whose application reads nothing holds no more than this for any service.
    #[test]
    fn what_a_client_has_not_read_has_a_bound() {
        let mut network = Network::both(Config::default());
        let mut refused = None;
        for i in 0..2000 {
            let id = match network.sides[0].open_call(head(METHOD), false, None) {
                Ok(id) => id,
                Err(status) => {
                    refused = Some(status);
                    break;
                }
            };
            network.run_ms(2);
            let end = i % 2 == 0;
            let message = Bytes::from(vec![0; 100_000]);
            _ = network.sides[SERVER].send_message(id, message, end);
            network.run_ms(20);
        }
        let status = refused.unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.is_not_started(), "{status}");
        assert!(status.message().contains("has not read"), "{status}");
        // The call continues when the application has read some messages.
        let untaken = network.sides[0].untaken();
        assert!(untaken < 64 << 20);
        network.sides[0].release(untaken.unsigned_abs() / 2);
        network.sides[0]
            .open_call(head(METHOD), false, None)
            .unwrap();
    }

    /// Two correct sides under load: paused streams, large uploads, a thousand concurrent callers.
    /// No call is refused or delayed.
    #[test]
    fn honest_sides_with_much_to_do() {
        let mut network = Network::both(Config::default());
        let mut paused = Vec::new();
        for _ in 0..60 {
            let id = network.sides[0]
                .open_call(head(METHOD), false, None)
                .unwrap();
            network.run_ms(2);
            for _ in 0..3 {
                let message = Bytes::from(vec![0; 30_000]);
                network.sides[SERVER]
                    .send_message(id, message, false)
                    .unwrap();
            }
            paused.push(id);
            network.run_ms(5);
        }
        network.take(0);
        network.take(SERVER);
        let unary = |network: &mut Network, request: usize| {
            let client = &mut network.sides[0];
            let id = client.open_call(head(UNARY), true, None).unwrap();
            let request = vec![0; request].into();
            client.send_message(id, request, true).unwrap();
        };
        for _ in 0..3 {
            unary(&mut network, 10 << 20);
        }
        let (mut begun, mut answered) = (3, 0);
        for _ in 0..5_000 {
            while begun < 900 && begun - answered < 800 {
                unary(&mut network, 20);
                begun += 1;
            }
            network.run_ms(1);
            for event in network.take(SERVER) {
                if let Event::Message { stream, message } = event {
                    network.sides[SERVER].consume(stream, Tally::of(message.len()));
                    let answer = Bytes::from(vec![0; 30_000]);
                    network.sides[SERVER]
                        .send_message(stream, answer, true)
                        .unwrap();
                }
            }
            for event in network.take(0) {
                match event {
                    Event::Message { stream, message } if !paused.contains(&stream) => {
                        network.sides[0].consume(stream, Tally::of(message.len()));
                    }
                    Event::Finished { outcome, .. } => {
                        outcome.unwrap();
                        answered += 1;
                    }
                    Event::Closed(status) => panic!("{status:?}"),
                    _ => {}
                }
            }
            if answered == 900 {
                return;
            }
        }
        panic!("{answered} of 900 were answered");
    }

    /// The end of a stream may be held by an application that does not read it.
    #[test]
    fn the_end_of_a_stream_has_a_bound() {
        let mut network = Network::both(Config::default());
        let id = network.sides[0].open_call(head(UNARY), true, None).unwrap();
        network.run_ms(50);
        let details = "x".repeat(90_000);
        let status = Status::aborted("so").with_detail(&details);
        let long = status.clone().with_detail(&details);
        network.sides[SERVER].send_status(id, Err(&long));
        let (_, refused) = outcomes(&mut network);
        assert_eq!(refused[0].message(), "so");
        assert!(
            refused[0].details().is_empty(),
            "details beyond the limit were sent"
        );
        let id = network.sides[0].open_call(head(UNARY), true, None).unwrap();
        network.run_ms(50);
        network.sides[SERVER].send_status(id, Err(&status));
        let (_, refused) = outcomes(&mut network);
        assert_eq!(refused[0].details().len(), 1);
    }
}
