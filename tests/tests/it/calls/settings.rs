//! Invalid settings are errors when the server starts, and the error names the setting.

use std::time::Duration;

use nmfw::{
    Channel, Code, ErrorKind, NatsChannel as _, Server,
    middleware::{self, Next, Request},
    server::Service,
};
use nmfw_tests::{
    TestBroker,
    calc::CalcServer,
    on_both_brokers,
    puppet::{Blob, PuppetClient, PuppetServer, Strings},
};

/// Changes a setting; the text has 2,000 characters.
type Set = fn(Service, &str) -> Service;

const LIMIT: Duration = Duration::from_secs(10);

on_both_brokers! {
    async fn wrong_settings(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let long = "n".repeat(2000);
        let wrong: [(Set, &str); 15] = [
            (|s, _| s.only(Vec::<String>::new()), "without a method"),
            (|s, _| s.only(["Ecoh"]), "\"Ecoh\""),
            (|s, _| s.method("Ecoh", |limits| limits), "\"Ecoh\""),
            // Methods of another service.
            (|s, _| s.only([CalcServer::ADD]), "\"calc.Calc.Add\""),
            (|s, _| s.method(CalcServer::ADD, |limits| limits), "\"calc.Calc.Add\""),
            (|s, _| s.concurrency(0), "from 1 to"),
            (|s, _| s.concurrency(usize::MAX), "from 1 to"),
            (|s, _| s.timeout(Duration::ZERO), "timeout"),
            (|s, _| s.max_request_size(0), "0 bytes"),
            (|s, _| s.metadata("nmfw.service", "x"), "reserved"),
            (|s, _| s.name("a b"), "ADR-32"),
            (|s, long| s.name(long), "too long"),
            (|s, long| s.subject(long), "too long"),
            (|s, _| s.version("1.0"), "SemVer"),
            (|s, _| s.queue_group("a b"), "white space"),
        ];
        for (set, text) in wrong {
            let service = set(PuppetServer::new(Strings::default()), &long);
            let error = Server::new(&nats).add_service(service).start().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            let shown = error.to_string();
            assert!(shown.contains(text), "{shown:?} does not contain {text:?}");
            assert!(shown.contains("nmfw.puppet.Puppet"), "{shown}");
        }
        let error = Server::new(&nats).start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }

    async fn a_server_is_limited_to_methods_of_its_services(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let puppet = || PuppetServer::new(Strings::default());
        let both = || {
            let other = puppet().subject("other").name("other").only(["Fail", "Sleep"]);
            Server::new(&nats).add_service(puppet()).add_service(other)
        };
        let served = async |server: Server| {
            let running = server.start().await.unwrap();
            let services = running.services().iter();
            let subjects: Vec<_> = services.flat_map(|s| s.subjects.clone()).collect();
            running.stop();
            running.join().await.unwrap();
            subjects
        };
        let subjects = served(both().only(["Echo"]).only(["nmfw.puppet.Puppet.Sleep"])).await;
        assert_eq!(subjects, ["nmfw.nmfw.puppet.Echo", "nmfw.nmfw.puppet.Sleep", "other.Sleep"]);
        let (echo, sleep) = (PuppetServer::ECHO, PuppetClient::SLEEP);
        assert_eq!(served(both().only([echo, sleep])).await, subjects);
        let limited = puppet().only([echo, sleep]).only(["nmfw.puppet.Puppet.Fail"]);
        // The settings of a method do not depend on the name used.
        let limited = limited
            .method(echo, |limits| limits.queue_group("a"))
            .method("nmfw.puppet.Puppet.Echo", |limits| limits.concurrency(2));
        let subjects = served(Server::new(&nats).add_service(limited)).await;
        assert_eq!(subjects.len(), 3, "{subjects:?}");
        // A service without methods is not served.
        assert_eq!(served(both().only(["Echo"])).await, ["nmfw.nmfw.puppet.Echo"]);

        for (server, text) in [
            (both().only(["Echo", "Ecoh"]), "\"Ecoh\" to serve; there are: nmfw.puppet.Puppet.Echo,"),
            (both().only(Vec::<String>::new()), "the list of methods to serve is empty"),
            // Methods that the service itself excludes do not exist.
            (
                Server::new(&nats).add_service(puppet().only(["Fail", "Sleep"])).only(["Echo"]),
                "\"Echo\" to serve; there are: Sleep, Fail",
            ),
        ] {
            let error = server.start().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    async fn layers_of_a_server_hold_for_services_added_later(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let refuse = |_: Request, _: Next| async {
            Err(nmfw::Status::unauthenticated("no caller is admitted"))
        };
        let _server = Server::new(&nats)
            .layer(middleware::from_fn(refuse))
            .add_service(PuppetServer::new(Strings::default()))
            .start()
            .await
            .unwrap();
        let status = PuppetClient::new(&nats).echo(Blob::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }

    async fn a_service_is_found_whatever_it_is_called(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let service = || PuppetServer::new(Strings::default());
        let mut server = Server::new(&nats).add_service(service().name("renamed"));
        for n in 0..5 {
            server = server.add_service(service().subject(format!("other{n}")));
        }
        let _server = server.add_service(service().subject("mine")).start().await.unwrap();
        for channel in [Channel::new(&nats), Channel::new(&nats).subject("mine")] {
            PuppetClient::new(channel).wait_ready(LIMIT).await.unwrap();
        }
        let nowhere = PuppetClient::new(Channel::new(&nats).subject("min"));
        let status = nowhere.wait_ready(Duration::from_millis(1500)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }

    async fn stopping_without_a_broker_takes_little_time(broker: TestBroker) {
        let mut broker = broker;
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let server = Server::new(&nats)
            .add_service(PuppetServer::new(Strings::default()))
            .start()
            .await
            .unwrap();
        broker.stop().await.unwrap();
        nats.wait_for_state(|state| !state.is_connected()).await;
        server.stop();
        let begin = std::time::Instant::now();
        server.join().await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}
