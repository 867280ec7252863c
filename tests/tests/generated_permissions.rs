//! Users with exactly the generated permissions, on a real nats-server: they can do all that they
//! are for, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::{collections::BTreeMap, fmt::Debug, future::IntoFuture, path::Path, time::Duration};

use nmfw::{
    Channel, Code, ConnectOptions, Connection, ConnectionEvent, ErrorKind, Server, Status,
    permissions::{Export, Permissions, Rules},
    server::{Running, Service},
};
use nmfw_tests::{
    NatsServer,
    calc::{AddRequest, CALC_SPEC, CalcClient, CalcServer, Calculator},
    eventually,
    foreign::{nsc, or_not_run},
    puppet::PUPPET_SPEC,
    srv,
    streams::{
        CountRequest, Flows, Item, STREAMS_SPEC, StreamsClient, StreamsServer, Total, item, items,
    },
};
use tokio::{sync::broadcast, time::timeout};

const LIMIT: Duration = Duration::from_secs(30);

/// Far above the limit: what is denied must not look like a time-out.
const NEVER: Duration = Duration::from_secs(500);

/// More than the NATS server takes in one message.
const LARGE: u32 = 3 << 20;

const METHODS: [&str; 4] = ["Echo", "Count", "Sum", "Chat"];

fn user(name: &str, rules: impl Into<Rules>) -> String {
    let rules = rules.into().nats_config();
    format!("{{ user: {name:?}, password: x\n{rules} }}\n")
}

async fn server(users: &[String]) -> NatsServer {
    let users = users.concat();
    NatsServer::builder()
        .config(format!("authorization {{ users: [\n{users}] }}"))
        .start()
        .await
        .unwrap()
}

async fn connect(server: &NatsServer, user: &str) -> Connection {
    nmfw::connect(format!("nats://{user}:x@127.0.0.1:{}", server.port()))
        .await
        .unwrap()
}

async fn start(nats: Connection, service: Service) -> Result<Running, nmfw::Error> {
    let starting = Server::new(nats).add_service(service).start();
    timeout(LIMIT, starting).await.expect("starting hangs")
}

async fn serve(server: &NatsServer, user: &str) -> Running {
    let service = StreamsServer::new(Flows::default());
    start(connect(server, user).await, service).await.unwrap()
}

fn violations(server: &NatsServer) -> Vec<String> {
    let log = server.log().text();
    let violations = log.lines().filter(|line| line.contains("Violation"));
    violations.map(str::to_owned).collect()
}

fn service() -> Permissions {
    Permissions::service(&STREAMS_SPEC).unwrap()
}

fn client() -> Permissions {
    Permissions::client(&STREAMS_SPEC).unwrap()
}

fn counted(to: u64, size: u32) -> (CountRequest, Total) {
    let mut expected = Total::default();
    for number in 0..to {
        expected.add(&item(number, size));
    }
    let request = CountRequest {
        to,
        size,
        ..CountRequest::default()
    };
    (request, expected)
}

/// A call of a method, with messages so many and so large.
async fn call(client: &StreamsClient, method: &str, to: u64, size: u32) -> Result<(), Status> {
    let (request, expected) = counted(to, size);
    let total = match method {
        "Echo" => {
            let sent = item(1, size);
            let got = client.echo(sent.clone()).timeout(NEVER).await?;
            assert!(got == sent);
            return Ok(());
        }
        "Count" => Total::of(client.count(request).timeout(NEVER).await?).await?,
        "Sum" => client.sum(items(0, to, size)).timeout(NEVER).await?,
        "Chat" => Total::of(client.chat(items(0, to, size)).timeout(NEVER).await?).await?,
        other => panic!("no method {other}"),
    };
    assert_eq!(total, expected, "{method}");
    Ok(())
}

/// In base mode where that is possible, multiplexed, few messages and many, small and large.
async fn works(client: &StreamsClient, method: &str) {
    for (to, size) in [(3, 1), (2_000, 1_000), (3, LARGE)] {
        timeout(LIMIT, call(client, method, to, size))
            .await
            .unwrap_or_else(|_| panic!("{method} hangs"))
            .unwrap_or_else(|status| panic!("{method} of {size} bytes: {status}"));
    }
}

/// Both kinds of clients on a connection.
fn clients(nats: &Connection) -> [StreamsClient; 2] {
    [
        StreamsClient::new(nats),
        StreamsClient::new(Channel::new(nats.clone()).multiplexed()),
    ]
}

/// Denied, soon, with the subject in the text.
async fn denied<T: Debug>(call: impl Future<Output = Result<T, Status>>, subject: &str) {
    let status = timeout(LIMIT, call)
        .await
        .unwrap_or_else(|_| panic!("what is denied hangs: {subject}"))
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{subject}: {status}");
    assert!(status.message().contains(subject), "{subject} in {status}");
}

async fn stop(running: Running) {
    running.stop();
    timeout(LIMIT, running.join())
        .await
        .expect("stopping hangs")
        .unwrap();
}

/// Without a single denial, not even one that would do no harm.
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

    // What is under way when the service stops is answered.
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

/// Somebody who listens to everything takes the short way of a service's round trips away.
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

/// One method, whichever it is: that works by every way, and no other does.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_one_method() {
    let one = |method: &str| user(method, client().methods([method]).unwrap());
    let mut users = vec![user("service", service())];
    users.extend(METHODS.map(one));
    let server = server(&users).await;
    let flows = Flows::default();
    let served = StreamsServer::new(flows.clone());
    let _running = start(connect(&server, "service").await, served)
        .await
        .unwrap();
    for method in METHODS {
        let nats = connect(&server, method).await;
        for client in clients(&nats) {
            works(&client, method).await;
            let started = flows.started();
            for other in METHODS.into_iter().filter(|other| *other != method) {
                let subject = format!("nmfw.nmfw.streams.{other}");
                denied(call(&client, other, 3, 1), &subject).await;
                // What cannot go in one message either.
                let large = call(&client, other, 3, LARGE);
                let outcome = timeout(LIMIT, large).await.expect("it hangs");
                assert!(outcome.is_err(), "{method} opens {other}");
            }
            assert_eq!(flows.started(), started, "of what is denied nothing is run");
            // What was allowed is none the worse.
            works(&client, method).await;
        }
        denied(
            clients(&nats)[0].wait_ready(LIMIT),
            "$SRV.INFO.nmfw-streams",
        )
        .await;
    }
}

/// Who calls does not serve, and who serves does not call.
#[tokio::test(flavor = "multi_thread")]
async fn roles_are_not_exchanged() {
    let server = server(&[
        user("service", service()),
        user("client", client()),
        user("add", {
            let calc = Permissions::service(&CALC_SPEC).unwrap();
            calc.methods(["Add"]).unwrap()
        }),
    ])
    .await;
    let running = serve(&server, "service").await;
    for client in clients(&connect(&server, "service").await) {
        for method in METHODS {
            // It has nowhere to hear the answer either.
            denied(call(&client, method, 3, 1), "_INBOX.").await;
        }
    }
    for user in ["client", "add"] {
        let nats = connect(&server, user).await;
        let error = start(nats, StreamsServer::new(Flows::default())).await;
        let error = error.expect_err(user);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    // Of a service some methods can be served alone.
    let nats = connect(&server, "add").await;
    let error = start(nats.clone(), CalcServer::new(Calculator)).await;
    let error = error.expect_err("all methods");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let add = CalcServer::new(Calculator).only(["Add"]);
    stop(start(nats, add).await.unwrap()).await;
    stop(running).await;
}

/// What a connection is denied until the marker is, in the order of the server's words.
async fn denials(events: &mut broadcast::Receiver<ConnectionEvent>, marker: &str) -> Vec<String> {
    let mut denied = Vec::new();
    loop {
        let event = timeout(LIMIT, events.recv()).await;
        let subject = match event.expect("no word of the marker").unwrap() {
            ConnectionEvent::PublishDenied { subject } => subject,
            ConnectionEvent::SubscribeDenied { subject, queue } => match queue {
                Some(queue) => format!("{subject} {queue}"),
                None => subject,
            },
            _ => continue,
        };
        if subject == marker {
            return denied;
        }
        denied.push(subject);
    }
}

/// What this user may publish to, of these subjects, and what it may subscribe to.
async fn allowed<'a>(
    nats: &Connection,
    publish: &[&'a str],
    subscribe: &[&'a str],
) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut events = nats.subscribe_events();
    let client = nats.client();
    for subject in publish {
        client
            .publish((*subject).to_owned(), "".into())
            .await
            .unwrap();
    }
    client.publish("marker.a", "".into()).await.unwrap();
    let not_published = denials(&mut events, "marker.a").await;
    let mut subscribers = Vec::new();
    for subject in subscribe {
        let subscriber = match subject.split_once(' ') {
            Some((subject, queue)) => {
                client
                    .queue_subscribe(subject.to_owned(), queue.to_owned())
                    .await
            }
            None => client.subscribe((*subject).to_owned()).await,
        };
        subscribers.push(subscriber.unwrap());
    }
    subscribers.push(client.subscribe("marker.b").await.unwrap());
    let not_subscribed = denials(&mut events, "marker.b").await;
    let left = |all: &[&'a str], denied: &[String]| {
        let is_denied = |subject: &&str| denied.iter().any(|denied| denied == *subject);
        all.iter()
            .filter(|subject| !is_denied(subject))
            .copied()
            .collect()
    };
    (
        left(publish, &not_published),
        left(subscribe, &not_subscribed),
    )
}

/// Every kind of subject there is, one by one, for every role.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_allowed() {
    const PUBLISH: &[&str] = &[
        "nmfw.calc.Add",
        "nmfw.calc.Average",
        "nmfw.calc.Expression",
        "nmfw.calc.Other",
        "nmfw.calc",
        "nmfw.calc._open",
        "nmfw.calc._i.I1.s.1",
        "nmfw.calc._i.I1.fence.1",
        "nmfw.calc._i.I1.x.1",
        "nmfw.calc._m.Add.I1.1",
        "nmfw.calc._m.Average.I1.1",
        "nmfw.calc2.Add",
        "nmfw.other.Add",
        "$SRV.PING",
        "$SRV.INFO",
        "$SRV.INFO.calc",
        "$SRV.INFO.other",
        "$SRV.STATS.calc.I1",
        "$SRV.STATS.other.I1",
        "_INBOX.a",
        "_INBOX.a.b.c",
        "_INBOX_other.a",
        "_R_.a.b",
        "$JS.API.INFO",
        "$SYS.REQ.USER.INFO",
        "a",
    ];
    const SUBSCRIBE: &[&str] = &[
        "nmfw.calc.Add q",
        "nmfw.calc.Add",
        "nmfw.calc.Add other",
        "nmfw.calc.Average q",
        "nmfw.calc.Other q",
        "nmfw.calc._open q",
        "nmfw.calc._open",
        "nmfw.calc._i.I1.s.*",
        "nmfw.calc._i.I1.fence.*",
        "nmfw.calc._i.>",
        "nmfw.calc._m.*.I1.*",
        "nmfw.calc.>",
        "nmfw.>",
        "$SRV.PING",
        "$SRV.INFO.calc",
        "$SRV.STATS.calc.I1",
        "$SRV.INFO.other",
        "$SRV.>",
        "_INBOX.a",
        "_INBOX.a.>",
        "_INBOX_other.>",
        "_R_.>",
        ">",
    ];
    let client = || Permissions::client(&CALC_SPEC).unwrap();
    let service = || Permissions::service(&CALC_SPEC).unwrap();
    let served: &[&str] = &[
        "nmfw.calc.Add q",
        "nmfw.calc.Average q",
        "nmfw.calc._open q",
        "nmfw.calc._i.I1.s.*",
        "nmfw.calc._i.I1.fence.*",
        "nmfw.calc._m.*.I1.*",
        "$SRV.PING",
        "$SRV.INFO.calc",
        "$SRV.STATS.calc.I1",
    ];
    let inbox: &[&str] = &["_INBOX.a", "_INBOX.a.>"];
    let replies: &[&str] = &["nmfw.calc._i.I1.fence.1", "_INBOX.a", "_INBOX.a.b.c"];
    let cases: &[(&str, Permissions, &[&str], &[&str])] = &[
        ("service", service(), replies, served),
        (
            "exported",
            service().across_accounts(),
            &[
                "nmfw.calc._i.I1.fence.1",
                "_INBOX.a",
                "_INBOX.a.b.c",
                "_R_.a.b",
            ],
            served,
        ),
        (
            "answers-others",
            service().callers_inbox_prefix("_INBOX_other").unwrap(),
            &["nmfw.calc._i.I1.fence.1", "_INBOX_other.a"],
            served,
        ),
        (
            "client",
            client(),
            &[
                "nmfw.calc.Add",
                "nmfw.calc.Average",
                "nmfw.calc.Expression",
                "nmfw.calc._open",
                "nmfw.calc._i.I1.s.1",
                "nmfw.calc._m.Add.I1.1",
                "nmfw.calc._m.Average.I1.1",
            ],
            inbox,
        ),
        (
            "adder",
            client().methods(["Add"]).unwrap(),
            &["nmfw.calc.Add", "nmfw.calc._m.Add.I1.1"],
            inbox,
        ),
        (
            "waiter",
            client().methods(["Add"]).unwrap().wait_ready(),
            &["nmfw.calc.Add", "nmfw.calc._m.Add.I1.1", "$SRV.INFO.calc"],
            inbox,
        ),
        (
            "importer",
            client().methods(["Add"]).unwrap().across_accounts(),
            &["nmfw.calc.Add", "_R_.a.b"],
            inbox,
        ),
        (
            "private",
            client()
                .methods(["Add"])
                .unwrap()
                .inbox_prefix("_INBOX_other")
                .unwrap(),
            &["nmfw.calc.Add", "nmfw.calc._m.Add.I1.1"],
            &["_INBOX_other.>"],
        ),
        (
            "observer",
            Permissions::observer(&CALC_SPEC).unwrap(),
            &[
                "$SRV.PING",
                "$SRV.INFO",
                "$SRV.INFO.calc",
                "$SRV.STATS.calc.I1",
            ],
            inbox,
        ),
    ];
    let users: Vec<_> = cases
        .iter()
        .map(|case| user(case.0, case.1.rules()))
        .collect();
    let server = server(&users).await;
    for (user, _, publish, subscribe) in cases {
        let nats = connect(&server, user).await;
        let (published, subscribed) = allowed(&nats, PUBLISH, SUBSCRIBE).await;
        let in_order = |all: &[&'static str], expected: &[&'static str]| -> Vec<&'static str> {
            let all = all.iter().filter(|subject| expected.contains(subject));
            all.copied().collect()
        };
        assert_eq!(published, in_order(PUBLISH, publish), "{user} publishes");
        assert_eq!(
            subscribed,
            in_order(SUBSCRIBE, subscribe),
            "{user} subscribes"
        );
    }
}

/// Who may look finds the service with `nats micro`'s questions, and cannot call it.
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

/// Inboxes of their own, which no other client can read.
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

/// What is set when the program runs, not in the `.proto`.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_program_count() {
    let flows = Flows::default();
    let served = StreamsServer::new(flows)
        .subject("acme.flows")
        .name("flows")
        .queue_group("mine")
        .method("Count", |limits| limits.queue_group("counters"));
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
        for method in METHODS {
            works(&client, method).await;
        }
    }
    stop(running).await;
    assert_eq!(violations(&server), [""; 0]);
}

/// A user that serves one thing and calls another.
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

/// The service in an account, exactly its exports, exactly these imports.
fn accounts(export: &Export) -> String {
    let service = service().across_accounts();
    let callers = client().across_accounts();
    let count = client().across_accounts().methods(["Count"]).unwrap();
    let bought = StreamsServer::new(Flows::default()).subject("bought.flows");
    let bought = Permissions::client(&bought).unwrap().across_accounts();
    let import = export.import_from("SERVICES");
    let renamed = import.clone().to("bought.flows").unwrap();
    format!(
        "accounts {{\n\
         SERVICES {{ users: [ {} ]\n{} }}\n\
         CALLERS {{ users: [ {}{} ]\n{} }}\n\
         OTHERS {{ users: [ {} ]\n{} }}\n\
         STRANGERS {{ users: [ {{ user: stranger, password: x }} ] }}\n\
         }}",
        user("service", service),
        export.nats_config(),
        user("caller", callers),
        user("count", count),
        import.nats_config(),
        user("other", bought),
        renamed.nats_config(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn between_accounts() {
    let export = Export::of(&STREAMS_SPEC).unwrap();
    let server = NatsServer::builder().config(accounts(&export));
    let server = server.start().await.unwrap();
    let running = serve(&server, "service").await;
    for (user, subject) in [("caller", "nmfw.nmfw.streams"), ("other", "bought.flows")] {
        let nats = connect(&server, user).await;
        let channel = Channel::new(nats).subject(subject);
        for channel in [channel.clone(), channel.multiplexed()] {
            let client = StreamsClient::new(channel);
            for method in METHODS {
                works(&client, method).await;
            }
        }
    }
    assert_eq!(violations(&server), [""; 0]);

    let client = StreamsClient::new(&connect(&server, "count").await);
    works(&client, "Count").await;
    for other in ["Echo", "Sum", "Chat"] {
        let subject = format!("nmfw.nmfw.streams.{other}");
        denied(call(&client, other, 3, 1), &subject).await;
    }
    let [stranger, _] = clients(&connect(&server, "stranger").await);
    let status = call(&stranger, "Echo", 1, 1).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    stop(running).await;
}

/// An export of one method shares no other, whatever its importers' users may do.
#[tokio::test(flavor = "multi_thread")]
async fn one_method_between_accounts() {
    let export = Export::of(&STREAMS_SPEC).unwrap();
    let export = export.methods(["Count"]).unwrap();
    let server = NatsServer::builder().config(accounts(&export));
    let server = server.start().await.unwrap();
    let _running = serve(&server, "service").await;
    let client = StreamsClient::new(&connect(&server, "count").await);
    works(&client, "Count").await;
    let client = StreamsClient::new(&connect(&server, "caller").await);
    works(&client, "Count").await;
    for other in ["Echo", "Sum", "Chat"] {
        let outcome = timeout(LIMIT, call(&client, other, 3, 1)).await;
        let status = outcome.expect("it hangs").unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{other}: {status}");
    }
}

/// A file of its own is included where a user is described.
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
    eventually(LIMIT, || client.echo(item(1, 1)).into_future()).await;
    denied(client.wait_ready(LIMIT), "$SRV.INFO.nmfw-streams").await;
}

/// The commands that `nsc` is given, on a nats-server that knows its accounts.
#[tokio::test(flavor = "multi_thread")]
async fn by_nsc() {
    let Some(nsc) = or_not_run("by_nsc", nsc().await) else {
        return;
    };
    let export = Export::of(&STREAMS_SPEC).unwrap();
    let import = export.import_from("SERVICES");
    let renamed = import.clone().to("bought.flows").unwrap();
    let bought = StreamsServer::new(Flows::default()).subject("bought.flows");
    let users = [
        ("SERVICES", "service", service().across_accounts()),
        ("SERVICES", "neighbour", client().wait_ready()),
        (
            "SERVICES",
            "observer",
            Permissions::observer(&STREAMS_SPEC).unwrap(),
        ),
        ("CALLERS", "caller", client().across_accounts()),
        (
            "CALLERS",
            "count",
            client().across_accounts().methods(["Count"]).unwrap(),
        ),
        (
            "OTHERS",
            "other",
            Permissions::client(&bought).unwrap().across_accounts(),
        ),
    ];
    let mut script = "nsc add operator --name OP\n\
         nsc add account --name SERVICES\n\
         nsc add account --name CALLERS\n\
         nsc add account --name OTHERS\n"
        .to_owned();
    script += &export.nsc("SERVICES");
    // As the file that a build script writes.
    script += &format!(
        "cat > import.sh <<'END'\n{}END\nsh import.sh CALLERS SERVICES\n",
        import.nsc_script()
    );
    script += &renamed.nsc("OTHERS");
    for (account, user, permissions) in &users {
        script += &permissions.nsc(account, user);
    }
    nsc.sh(&script).await.unwrap();
    // nsc has taken every word as it was meant.
    for (account, user, permissions) in &users {
        let user = nsc.user(account, user).await.unwrap();
        let rules = permissions.rules();
        for (what, rules) in [("pub", rules.publish()), ("sub", rules.subscribe())] {
            let allowed = user["nats"][what]["allow"].as_array().unwrap();
            let mut allowed: Vec<_> = allowed.iter().map(|rule| rule.as_str().unwrap()).collect();
            let mut rules: Vec<_> = rules.iter().map(String::as_str).collect();
            allowed.sort_unstable();
            rules.sort_unstable();
            assert_eq!(allowed, rules, "{user}");
        }
    }

    let config = nsc.server_config().await.unwrap();
    let server = NatsServer::builder().config(config).start().await.unwrap();
    let connect = async |account: &str, user: &str| {
        let credentials = nsc.credentials(account, user).await.unwrap();
        let options = ConnectOptions::new().credentials_file(credentials);
        options.connect(server.url()).await.unwrap()
    };
    let served = StreamsServer::new(Flows::default());
    let nats = connect("SERVICES", "service").await;
    let running = start(nats, served).await.unwrap();
    for (account, user, subject) in [
        ("SERVICES", "neighbour", "nmfw.nmfw.streams"),
        ("CALLERS", "caller", "nmfw.nmfw.streams"),
        ("OTHERS", "other", "bought.flows"),
    ] {
        let channel = Channel::new(connect(account, user).await).subject(subject);
        for channel in [channel.clone(), channel.multiplexed()] {
            let client = StreamsClient::new(channel);
            for method in METHODS {
                works(&client, method).await;
            }
        }
    }
    let observer = connect("SERVICES", "observer").await;
    srv::ask_one(observer.client(), "$SRV.INFO.nmfw-streams")
        .await
        .unwrap();
    assert_eq!(violations(&server), [""; 0]);

    let client = StreamsClient::new(&connect("CALLERS", "count").await);
    works(&client, "Count").await;
    denied(call(&client, "Sum", 3, 1), "nmfw.nmfw.streams.Sum").await;
    stop(running).await;
}

/// What `nmfw-build` writes, from the `.proto`, is what `nmfw` gives, from generated code.
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
