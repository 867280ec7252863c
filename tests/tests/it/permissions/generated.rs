//! Users with exactly the generated permissions, on a real nats-server: all intended uses work.
//! Refused uses are in `generated_refused.rs`.

use nmfw::async_nats::ConnectionExt as _;
use std::{collections::BTreeMap, path::Path};

use nmfw::{
    Channel, Code, ConnectOptions, NatsChannel as _,
    permissions::{Export, Permissions, Rules},
    server::Limits,
};
use nmfw_tests::{
    NatsServer,
    calc::{AddRequest, CALC_SPEC, CalcClient, CalcServer, Calculator},
    permitted::{
        LIMIT, METHODS, NEVER, call, client, clients, connect, counted, denied, serve, server,
        service, start, stop, user, violations, works,
    },
    puppet::PUPPET_SPEC,
    srv,
    streams::{CountRequest, Flows, Item, STREAMS_SPEC, StreamsClient, StreamsServer, Total, item},
};

/// Without a single denial, not even a harmless one.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_and_its_clients_do_all_that_they_can() {
    let server = server(&[
        user("service", service()),
        user("client", client().wait_ready()),
    ])
    .await;
    let running = serve(&server, "service").await;
    let nats = connect(&server, "client").await;
    for client in clients(&nats) {
        client.wait_ready(LIMIT).await.unwrap();
        for method in METHODS {
            works(&client, method).await;
        }
    }

    // Calls in flight are answered when the service stops.
    let [client, _] = clients(&nats);
    let request = CountRequest {
        to: 500,
        pause_micros: 1_000,
        ..CountRequest::default()
    };
    let count = client.count(request).await.unwrap();
    let ((), total) = tokio::join!(stop(running), Total::of(count));
    assert_eq!(total.unwrap(), counted(500, 0).1);
    let status = client.echo(Item::default()).timeout(NEVER).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(violations(&server), [""; 0]);
}

/// A session with one instance cannot be used for methods of the other: each method gets its own.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_serve_a_part_each() {
    let part = |methods: &[&str]| service().methods(methods).unwrap();
    let parts = [("one", ["Echo", "Count"]), ("other", ["Sum", "Chat"])];
    let server = server(&[
        user("one", part(&parts[0].1)),
        user("other", part(&parts[1].1)),
        user("client", client()),
    ])
    .await;
    let mut running = Vec::new();
    for (user, methods) in parts {
        let served = StreamsServer::new(Flows::default()).only(methods);
        running.push(start(connect(&server, user).await, served).await.unwrap());
    }
    let nats = connect(&server, "client").await;
    for client in clients(&nats) {
        for method in METHODS {
            works(&client, method).await;
        }
    }
    for running in running {
        stop(running).await;
    }
    assert_eq!(violations(&server), [""; 0]);
}

/// A subscriber to everything prevents the short way of a service's round trips.
#[tokio::test(flavor = "multi_thread")]
async fn starting_and_stopping_under_somebodys_eyes() {
    let everything = "{ user: admin, password: x }\n".to_owned();
    let server = server(&[user("service", service()), everything]).await;
    let admin = connect(&server, "admin").await;
    let _all = admin.client().subscribe(">").await.unwrap();
    admin.client().flush().await.unwrap();
    let running = serve(&server, "service").await;
    stop(running).await;
    assert_eq!(violations(&server), [""; 0]);
}

/// An observer finds the service with the requests of `nats micro`, and cannot call it.
#[tokio::test(flavor = "multi_thread")]
async fn an_observer() {
    let observer = Permissions::observer(&STREAMS_SPEC).unwrap();
    let server = server(&[user("service", service()), user("observer", observer)]).await;
    let running = serve(&server, "service").await;
    let nats = connect(&server, "observer").await;
    let id = &running.services()[0].id;
    for verb in ["PING", "INFO", "STATS"] {
        for of in [
            String::new(),
            ".nmfw-streams".into(),
            format!(".nmfw-streams.{id}"),
        ] {
            let question = format!("$SRV.{verb}{of}");
            let answer = srv::ask_one(nats.client(), &question).await.unwrap();
            assert_eq!(answer["name"], "nmfw-streams", "{question}");
        }
    }
    StreamsClient::new(&nats).wait_ready(LIMIT).await.unwrap();
    assert_eq!(violations(&server), [""; 0]);
    for client in clients(&nats) {
        for method in METHODS {
            denied(call(&client, method, 3, 1), "nmfw.nmfw.streams.").await;
        }
    }
}

/// Private inboxes, which no other client can read.
#[tokio::test(flavor = "multi_thread")]
async fn private_inboxes() {
    let service = service()
        .inbox_prefix("_INBOX_streams")
        .unwrap()
        .callers_inbox_prefix("_INBOX_web")
        .unwrap()
        .callers_inbox_prefix("_INBOX_batch")
        .unwrap();
    let client = |prefix| client().inbox_prefix(prefix).unwrap().wait_ready();
    let server = server(&[
        user("service", service),
        user("web", client("_INBOX_web")),
        user("batch", client("_INBOX_batch")),
    ])
    .await;
    let connect = async |user: &str, prefix: &str| {
        let options = ConnectOptions::new().inbox_prefix(prefix);
        let url = format!("nats://{user}:x@127.0.0.1:{}", server.port());
        options.connect(url).await.unwrap()
    };
    let served = StreamsServer::new(Flows::default());
    let nats = connect("service", "_INBOX_streams").await;
    let running = start(nats, served).await.unwrap();
    for (user, prefix) in [("web", "_INBOX_web"), ("batch", "_INBOX_batch")] {
        let nats = connect(user, prefix).await;
        for client in clients(&nats) {
            client.wait_ready(LIMIT).await.unwrap();
            for method in METHODS {
                works(&client, method).await;
            }
        }
    }
    stop(running).await;
    assert_eq!(violations(&server), [""; 0]);
    let nats = connect("web", "_INBOX_batch").await;
    let spy = StreamsClient::new(&nats);
    denied(call(&spy, "Echo", 1, 1), "_INBOX_batch.").await;
}

/// Settings made at run time, not in the `.proto`.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_program_count() {
    let flows = Flows::default();
    let served = StreamsServer::new(flows)
        .subject("acme.flows")
        .name("flows")
        .queue_group("mine")
        .method("Count", |limits| limits.queue_group("counters"))
        .method("Echo", Limits::no_queue_group);
    let permissions = Permissions::service(&served).unwrap();
    let client = Permissions::client(&served).unwrap();
    let server = server(&[user("service", permissions), user("client", client)]).await;
    let running = start(connect(&server, "service").await, served)
        .await
        .unwrap();
    let nats = connect(&server, "client").await;
    let channel = Channel::new(nats).subject("acme.flows");
    for channel in [channel.clone(), channel.multiplexed()] {
        let client = StreamsClient::new(channel);
        for method in ["Count", "Sum", "Chat"] {
            works(&client, method).await;
        }
        // Every instance gets the request, so there are no sessions for large messages.
        call(&client, "Echo", 1, 1).await.unwrap();
    }
    stop(running).await;
    assert_eq!(violations(&server), [""; 0]);
}

/// A user that serves one service and calls another.
#[tokio::test(flavor = "multi_thread")]
async fn several_roles_of_a_user() {
    let calc = Permissions::client(&CALC_SPEC).unwrap();
    let both = service().rules().and(calc.rules());
    let calc = Permissions::service(&CALC_SPEC).unwrap();
    let server = server(&[user("both", both), user("calc", calc)]).await;
    let nats = connect(&server, "calc").await;
    let calc = start(nats, CalcServer::new(Calculator)).await.unwrap();
    let running = serve(&server, "both").await;
    let client = CalcClient::new(connect(&server, "both").await);
    let sum = client.add(AddRequest {
        values: vec![1.0, 2.0],
    });
    assert_eq!(sum.await.unwrap().result, 3.0);
    stop(running).await;
    stop(calc).await;
    assert_eq!(violations(&server), [""; 0]);
}

/// A separate file is included where a user is described.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_included() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().file_name().unwrap().to_str().unwrap();
    let write = |name: &str, permissions: Permissions| {
        std::fs::write(dir.path().join(name), permissions.nats_config()).unwrap();
        // Paths are relative to the folder of the server's own file, which is beside this one.
        format!("../{folder}/{name}")
    };
    let service = write("service.conf", service());
    let client = write("client.conf", client());
    let config = format!(
        "authorization {{ users: [\n\
         {{ user: service, password: x\ninclude {service:?}\n }}\n\
         {{ user: client, password: x\ninclude {client:?}\n }}\n\
         ] }}"
    );
    let server = NatsServer::builder().config(config).start().await.unwrap();
    let _running = serve(&server, "service").await;
    let [client, _] = clients(&connect(&server, "client").await);
    assert_eq!(client.echo(item(1, 1)).await.unwrap(), item(1, 1));
    denied(client.wait_ready(LIMIT), "$SRV.INFO.nmfw-streams").await;
}

/// The output of `nmfw-build`, from the `.proto`, equals that of `nmfw`, from generated code.
#[test]
fn build_scripts_write_the_same() {
    let written = Path::new(env!("OUT_DIR")).join("permissions");
    let mut known = BTreeMap::new();
    let mut user = |name: String, rules: Rules| {
        known.insert(format!("{name}.conf"), rules.nats_config());
        known.insert(format!("{name}.nsc.sh"), rules.nsc_script());
    };
    let specs = [&CALC_SPEC, &STREAMS_SPEC, &PUPPET_SPEC];
    let mut shared = Vec::new();
    for spec in specs {
        let name = spec.discovery_name();
        let service = Permissions::service(spec).unwrap().across_accounts();
        let client = Permissions::client(spec).unwrap();
        let observer = Permissions::observer(spec).unwrap();
        user(format!("{name}.service"), service.rules());
        user(format!("{name}.client"), client.rules());
        user(format!("{name}.observer"), observer.rules());
        user(format!("{name}.importer"), client.across_accounts().rules());
        let export = Export::of(spec).unwrap();
        let import = export.import_from("SERVICES");
        let export = (export.nats_config(), export.nsc_script());
        shared.push((format!("{name}.exports"), export));
        let import = (import.nats_config(), import.nsc_script());
        shared.push((format!("{name}.imports"), import));
    }
    let add = Permissions::client(&CALC_SPEC).unwrap();
    let add = add.methods(["Add"]).unwrap();
    let count = client().methods(["Count"]).unwrap();
    user("reporting".to_owned(), add.rules().and(count.rules()));
    let [add, count] = [add, count].map(Permissions::across_accounts);
    let both = add.rules().and(count.rules());
    user("reporting.importer".to_owned(), both);
    for (name, (config, script)) in shared {
        known.insert(format!("{name}.conf"), config);
        known.insert(format!("{name}.nsc.sh"), script);
    }
    let files = std::fs::read_dir(&written).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    });
    let files: BTreeMap<_, _> = files.collect();
    assert_eq!(files, known);
}
