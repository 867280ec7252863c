//! Schemas that services serve.

use std::time::{Duration, Instant};

use nmfw::{Code, Server, schema};
use nmfw_tests::{
    TestBroker,
    calc::{self, CalcServer, Calculator},
    on_both_brokers, srv,
    streams::{self, Flows},
};

on_both_brokers! {
    async fn a_service_sends_its_schema(broker: TestBroker) {
        let _server = calc::serve(&broker.url()).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let info = srv::ask_one(&plain, "$SRV.INFO.calc").await.unwrap();
        let hash = info["metadata"]["nmfw.schema"].as_str().unwrap();
        let schema = schema::fetch(&nats, "nmfw.calc").await.unwrap();
        assert_eq!(schema.hash(), hash);
        let method = schema.method("calc.Calc.Add").unwrap();
        assert_eq!(method.input().full_name(), "calc.AddRequest");
        let id = info["id"].as_str().unwrap();
        let pinned = schema::fetch(&nats, "nmfw.calc").instance(id).hash(hash);
        assert_eq!(pinned.await.unwrap().hash(), hash);
        // A schema in the cache needs no service.
        let folder = tempfile::tempdir().unwrap();
        let cache = schema::Cache::open(folder.path()).unwrap();
        schema::fetch(&nats, "nmfw.calc").cache(cache.clone()).await.unwrap();
        let cached = schema::fetch(&nats, "nmfw.nobody").hash(hash).cache(cache);
        assert_eq!(cached.await.unwrap().hash(), hash);
        // The comments are there.
        let set = schema.pool().file_descriptor_protos().next().unwrap();
        let info = set.source_code_info.as_ref().unwrap();
        assert!(info.location.iter().any(|at| at.leading_comments() == " A calculator\n"));
        // A request can be typed.
        let reply = plain.request("nmfw.calc._schema", "".into()).await.unwrap();
        assert!(!reply.payload.is_empty());
    }

    async fn what_is_not_there_is_an_error(broker: TestBroker) {
        let _server = calc::serve(&broker.url()).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let status = schema::fetch(&nats, "nmfw.nobody").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let status = schema::fetch(&nats, "nmfw.calc").instance("another").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let status = schema::fetch(&nats, "nmfw.calc").hash("another").await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        let status = schema::fetch(&nats, "no subject").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }

    /// A peer that answers at the subject of a schema.
    async fn what_a_peer_sends_is_checked(broker: TestBroker) {
        use futures_util::StreamExt;
        use nmfw::prost::Message;
        let _server = calc::serve(&broker.url()).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let schema = schema::fetch(&nats, "nmfw.calc").await.unwrap();
        let response = |hash: &str, size: u64, part: &[u8]| {
            (hash.to_owned(), size, part.to_vec())
        };
        let compressed = schema.compressed();
        let (hash, len) = (schema.hash(), compressed.len() as u64);
        let mut damaged = compressed.to_vec();
        damaged[10] ^= 1;
        for (name, (hash, size, part)) in [
            ("nothing", response(hash, len, b"")),
            ("too large", response(hash, u64::MAX, compressed)),
            ("too long", response(hash, len - 1, compressed)),
            ("damaged", response(hash, len, &damaged)),
            ("other hash", response(&hash.replace(['a', '1'], "b"), len, compressed)),
        ] {
            #[derive(Clone, PartialEq, nmfw::prost::Message)]
            #[prost(prost_path = "nmfw::prost")]
            struct Response {
                #[prost(string, tag = "1")]
                hash: String,
                #[prost(uint64, tag = "2")]
                size: u64,
                #[prost(bytes = "vec", tag = "3")]
                part: Vec<u8>,
            }
            let peer = async_nats::connect(broker.url()).await.unwrap();
            let mut requests = peer.subscribe("nmfw.liar._schema").await.unwrap();
            nmfw_tests::round_trip(&peer, Duration::from_secs(10)).await.unwrap();
            let answer = Response { hash, size, part }.encode_to_vec();
            let lying = tokio::spawn(async move {
                while let Some(request) = requests.next().await {
                    peer.publish(request.reply.unwrap(), answer.clone().into()).await.unwrap();
                }
            });
            let status = schema::fetch(&nats, "nmfw.liar").await.unwrap_err();
            assert_eq!(status.code(), Code::DataLoss, "{name}: {status}");
            lying.abort();
        }
        let peer = async_nats::connect(broker.url()).await.unwrap();
        let _silent = peer.subscribe("nmfw.silent._schema").await.unwrap();
        nmfw_tests::round_trip(&peer, Duration::from_secs(10)).await.unwrap();
        let began = Instant::now();
        let limit = Duration::from_millis(700);
        let status = schema::fetch(&nats, "nmfw.silent").timeout(limit).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(began.elapsed() >= limit);
    }

    async fn any_of_several_services_is_asked(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let _one = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let service = CalcServer::new(Calculator).name("sums").subject("acme.sums");
        let _other = Server::new(&nats).add_service(service).start().await.unwrap();
        let sums = schema::fetch(&nats, "acme.sums").await.unwrap();
        assert!(sums.service("calc.Calc").is_some());
        let streams = schema::fetch(&nats, "nmfw.nmfw.streams").await.unwrap();
        assert!(streams.service("nmfw.streams.Streams").is_some());
        assert_ne!(sums.hash(), streams.hash());
    }
}
