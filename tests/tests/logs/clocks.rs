//! Callers and services whose clocks differ.

use std::time::Duration;

use nmfw::{Code, prost::Message as _};
use nmfw_tests::{
    TestBroker,
    foreign_peer::{headers, request, status_of},
    log::Log,
    on_both_brokers,
    puppet::{self, Seen, Strings},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const DEADLINE_EXCEEDED: &str = "4";

/// Returns the `Nmfw-Deadline` of a call with this much time left, by a clock that is ahead by some
/// seconds.
fn absolute(left: Duration, ahead: i64) -> String {
    let at = OffsetDateTime::now_utc() + left + time::Duration::seconds(ahead);
    at.format(&Rfc3339).unwrap()
}

on_both_brokers! {
    /// Only the relative time counts, as in sessions, which have no other.
    async fn a_call_of_ours_gets_its_time_whatever_the_clocks_say(broker: TestBroker) {
        let _running = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let left = Duration::from_secs(50);
        for ahead in [-86_400, -60, -9, -5, 0, 5, 60, 86_400] {
            let deadline = absolute(left, ahead);
            let headers = headers(&[("Nmfw", "1;t=50000"), ("Nmfw-Deadline", &deadline)]);
            let reply = request(&plain, "Inspect", headers, "").await.unwrap();
            assert_eq!(status_of(&reply), ("", ""), "{ahead}");
            let seen = Seen::decode(reply.payload).unwrap();
            // Allows for a slow machine.
            let given = seen.time_left_millis.unwrap();
            assert!((30_000..=50_000).contains(&given), "{ahead}: {given}");
        }
        // The absolute time is not even read.
        let headers = headers(&[("Nmfw", "1;t=50000"), ("Nmfw-Deadline", "yesterday")]);
        let reply = request(&plain, "Inspect", headers, "").await.unwrap();
        assert_eq!(status_of(&reply), ("", ""));
    }

    /// Calls of Go nmfw carry no relative time. Late ones are refused with a hint about the clocks.
    async fn a_call_of_go_nmfw_says_that_clocks_may_differ(broker: TestBroker) {
        let strings = Strings::default();
        let _running = puppet::serve(&broker.url(), &strings).await.unwrap();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let log = Log::start().unwrap();
        let deadline = absolute(Duration::ZERO, -60);
        for _ in 0..3 {
            let headers = headers(&[("Nmfw-Deadline", &deadline)]);
            let reply = request(&plain, "Inspect", headers, "").await.unwrap();
            let (status, text) = status_of(&reply);
            assert_eq!(status, DEADLINE_EXCEEDED, "{text}");
            for part in ["the deadline passed 60.", "waited in a buffer", "clocks of caller and service differ"] {
                assert!(text.contains(part), "{text}");
            }
        }
        assert_eq!(strings.started(), 0);
        // One line a minute for the whole process, which runs this test on both brokers.
        let lines = log.with("clocks of caller and service differ");
        assert!((1..=2).contains(&lines.len()), "{lines:?}");
        assert!(lines[0].contains("nmfw.puppet.Puppet.Inspect"), "{lines:?}");

        // If its clock is ahead, the handler gets more time than its caller.
        let deadline = absolute(Duration::from_secs(5), 60);
        let headers = headers(&[("Nmfw-Deadline", &deadline)]);
        let reply = request(&plain, "Inspect", headers, "").await.unwrap();
        let seen = Seen::decode(reply.payload).unwrap();
        assert!(seen.time_left_millis.unwrap() > 30_000);
        // With nmfw on both sides, the relative time counts.
        let client = puppet::client(&broker.url()).await.unwrap();
        let seen = client.inspect(()).timeout(Duration::from_secs(40)).await.unwrap();
        assert!(seen.time_left_millis.unwrap() <= 40_000);
        let request = puppet::SleepRequest { millis: 60_000 };
        let late = client.sleep(request).timeout(Duration::from_millis(50));
        assert_eq!(late.await.unwrap_err().code(), Code::DeadlineExceeded);
    }
}
