//! Calls over both brokers: answers, errors, metadata, deadlines, and context passed to further
//! calls.

use std::time::{Duration, Instant};

use nmfw::{Channel, Code, Context, Metadata, NatsChannel as _, Server, Status};
use nmfw_tests::{
    TestBroker,
    calc::{AddRequest, Calc, CalcClient, CalcServer, Calculator},
    on_both_brokers,
    puppet::{self, Blob, FailRequest, Puppet, PuppetClient, PuppetServer, SleepRequest, Strings},
};

const SHORT: Duration = Duration::from_millis(100);

/// Long enough that only a hanging call reaches it.
const LONG: Duration = Duration::from_secs(30);

on_both_brokers! {
    async fn an_answer_and_its_metadata(broker: TestBroker) {
        let _server = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        let blob = Blob { data: b"\0\xff\r\n".to_vec() };
        assert_eq!(client.echo(blob.clone()).await.unwrap(), blob);
        // A message of defaults has an empty body.
        assert_eq!(client.echo(Blob::default()).await.unwrap(), Blob::default());

        let call = client.inspect(()).metadata("Tenant", "acme").metadata("tag", "ä").metadata("tag", "b");
        let (seen, metadata) = call.timeout(LONG).send_with_metadata().await.unwrap();
        assert_eq!(metadata.get("Inspected-By"), Some("puppet"));
        assert_eq!(seen.metadata["Tenant"], "acme");
        assert_eq!(seen.metadata["tag"], "b", "a map keeps the last of several values");
        assert_eq!(seen.client_version, "1.2.3-test");
        assert_eq!(seen.subject, "nmfw.nmfw.puppet.Inspect");
        assert_eq!(seen.method, "nmfw.puppet.Puppet.Inspect");
        assert!(seen.reply.starts_with("_INBOX."), "{}", seen.reply);
        let left = Duration::from_millis(seen.time_left_millis.unwrap());
        assert!(left <= LONG && left > LONG - Duration::from_secs(10), "{left:?}");
    }

    async fn an_error_with_all_it_has(broker: TestBroker) {
        let _server = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let client = puppet::client(&broker.url()).await.unwrap();
        for code in Code::ALL.into_iter().skip(1) {
            let request = FailRequest {
                code: code.number(),
                message: "100 % broken:\nä".to_owned(),
                detail: "detail".to_owned(),
                not_started: false,
            };
            let status = client.fail(request).await.unwrap_err();
            assert_eq!(status.code(), code);
            assert_eq!(status.message(), "100 % broken:\nä");
            assert_eq!(status.detail::<String>().as_deref(), Some("detail"));
            assert_eq!(status.metadata().get("failed-by"), Some("puppet"));
            assert!(!status.is_not_started());
        }
        // A handler that fails with OK has still failed.
        let status = client.fail(FailRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("nmfw.puppet.Puppet.Fail returned an error with the code OK"), "{status}");
    }

    async fn deadlines(broker: TestBroker) {
        let strings = Strings::default();
        let _server = puppet::serve(&broker.url(), &strings).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let client = PuppetClient::new(Channel::new(nats).timeout(SHORT));
        let sleep = |millis| client.sleep(SleepRequest { millis });

        // The channel's timeout, then the call's own, each with a handler that never ends.
        let begin = Instant::now();
        let status = sleep(60_000).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(begin.elapsed() >= SHORT && begin.elapsed() < LONG);
        sleep(200).timeout(LONG).await.unwrap();
        let status = sleep(60_000).timeout(Duration::ZERO).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");

        // The server's side of the call ends too.
        nmfw_tests::eventually(LONG, || async { strings.dropped() == 1 }).await;
        // Without either, the method's own timeout applies: 30 s in the `.proto`.
        let client = puppet::client(&broker.url()).await.unwrap();
        client.sleep(SleepRequest { millis: 1 }).await.unwrap();
    }

    async fn a_context_hands_on_what_is_left(broker: TestBroker) {
        let strings = Strings::default();
        let _server = puppet::serve(&broker.url(), &strings).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let inner = PuppetClient::new(&nats);
        let relay = Server::new(nats.clone())
            .add_service(PuppetServer::new(Relay(inner)).subject("relay").name("relay"))
            .start()
            .await
            .unwrap();
        let client = PuppetClient::new(Channel::new(nats).subject("relay"));
        let time = Duration::from_secs(3);
        let seen = client.inspect(()).timeout(time).await.unwrap();
        let left = Duration::from_millis(seen.time_left_millis.unwrap());
        assert!(left <= time, "the inner call got {left:?}");
        assert_eq!(seen.subject, "nmfw.nmfw.puppet.Inspect", "the inner service ended the call");

        // The shorter of the two applies, whichever it is.
        let status = client.sleep(SleepRequest { millis: 60_000 }).timeout(SHORT).await;
        assert_eq!(status.unwrap_err().code(), Code::DeadlineExceeded);
        nmfw_tests::eventually(LONG, || async { strings.dropped() == 1 }).await;
        drop(relay);
    }

    async fn a_client_is_an_implementation(broker: TestBroker) {
        async fn three(calc: &impl Calc) -> Result<f32, Status> {
            let request = AddRequest { values: vec![1.0, 2.0] };
            Ok(calc.add(Context::default(), request).await?.result)
        }
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _server = Server::new(nats.clone())
            .add_service(CalcServer::new(Calculator))
            .start()
            .await
            .unwrap();
        assert_eq!(three(&Calculator).await.unwrap(), 3.0);
        assert_eq!(three(&CalcClient::local(Calculator)).await.unwrap(), 3.0);
        assert_eq!(three(&CalcClient::new(&nats)).await.unwrap(), 3.0);
    }

    async fn nobody_there(broker: TestBroker) {
        let client = puppet::client(&broker.url()).await.unwrap();
        let begin = Instant::now();
        let status = client.echo(Blob::default()).timeout(LONG).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.is_not_started());
        assert!(status.message().contains("nmfw.puppet.Echo"), "{status}");
        assert!(begin.elapsed() < LONG / 2, "the call timed out");

        let status = client.wait_ready(SHORT).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }

    async fn waiting_for_a_service(broker: TestBroker) {
        let client = puppet::client(&broker.url()).await.unwrap();
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.wait_ready(LONG).await }
        });
        tokio::time::sleep(SHORT).await;
        assert!(!waiting.is_finished());
        let _server = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        waiting.await.unwrap().unwrap();
        client.echo(Blob::default()).await.unwrap();
    }

    async fn bad_settings_are_statuses_and_send_nothing(broker: TestBroker) {
        let strings = Strings::default();
        let _server = puppet::serve(&broker.url(), &strings).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        for channel in [
            Channel::new(&nats).metadata("Nmfw-Deadline", "x"),
            Channel::new(&nats).metadata("a", "two\nlines"),
            Channel::new(&nats).subject("a..b"),
        ] {
            let status = PuppetClient::new(channel).echo(Blob::default()).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
        let call = PuppetClient::new(&nats).echo(Blob::default()).metadata("ä", "x");
        assert_eq!(call.await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(strings.started(), 0);
    }

    async fn metadata_of_channel_and_call(broker: TestBroker) {
        let _server = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let client = PuppetClient::new(Channel::new(nats).metadata("a", "channel").metadata("b", "channel"));
        let mut more = Metadata::new();
        more.insert_bin("c-bin", vec![1, 2]).unwrap();
        let seen = client.inspect(()).metadata("A", "call").merge_metadata(&more).await.unwrap();
        assert_eq!(seen.metadata["A"], "call");
        assert!(!seen.metadata.contains_key("a"));
        assert_eq!(seen.metadata["b"], "channel");
        assert_eq!(seen.metadata["c-bin"], "b\"\\x01\\x02\"");
    }
}

/// Passes calls on, on behalf of its caller.
struct Relay(PuppetClient);

impl Puppet for Relay {
    async fn echo(&self, ctx: Context, request: Blob) -> Result<Blob, Status> {
        self.0.echo(request).context(&ctx).await
    }

    async fn sleep(&self, ctx: Context, request: SleepRequest) -> Result<Blob, Status> {
        self.0.sleep(request).timeout(LONG).context(&ctx).await
    }

    async fn fail(&self, ctx: Context, request: FailRequest) -> Result<(), Status> {
        self.0.fail(request).context(&ctx).await
    }

    async fn panic(&self, ctx: Context, (): ()) -> Result<(), Status> {
        self.0.panic(()).context(&ctx).await
    }

    async fn inspect(&self, ctx: Context, (): ()) -> Result<puppet::Seen, Status> {
        self.0.inspect(()).context(&ctx).await
    }
}
