//! Users with exactly the generated permissions, on a real nats-server: all other uses are soon
//! refused.

use nmfw::async_nats::ConnectionExt as _;
use nmfw::{Connection, ConnectionEvent, ConnectionEvents, ErrorKind, permissions::Permissions};
use nmfw_tests::{
    calc::{CALC_SPEC, CalcServer, Calculator},
    permitted::{
        LARGE, LIMIT, METHODS, call, client, clients, connect, denied, serve, server, service,
        start, stop, user, works,
    },
    streams::{Flows, StreamsServer},
};
use tokio::time::timeout;

/// Permissions for one method, whichever it is: it works in every mode, and no other does.
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
                // Nor with a message that needs a session.
                let large = call(&client, other, 3, LARGE);
                let outcome = timeout(LIMIT, large).await.expect("the call hangs");
                assert!(outcome.is_err(), "a permission for {method} allows {other}");
            }
            assert_eq!(flows.started(), started, "a denied call ran");
            // The allowed method still works.
            works(&client, method).await;
        }
        denied(
            clients(&nats)[0].wait_ready(LIMIT),
            "$SRV.INFO.nmfw-streams",
        )
        .await;
    }
}

/// A caller cannot serve, and a service cannot call.
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
            // The service cannot receive the answer, either.
            denied(call(&client, method, 3, 1), "_INBOX.").await;
        }
    }
    for user in ["client", "add"] {
        let nats = connect(&server, user).await;
        let error = start(nats, StreamsServer::new(Flows::default())).await;
        let error = error.expect_err(user);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    // Some methods of a service can be served alone.
    let nats = connect(&server, "add").await;
    let error = start(nats.clone(), CalcServer::new(Calculator)).await;
    let error = error.expect_err("all methods");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let add = CalcServer::new(Calculator).only(["Add"]);
    stop(start(nats, add).await.unwrap()).await;
    stop(running).await;
}

/// Returns the denials of a connection up to the marker, in the server's order.
async fn denials(events: &mut ConnectionEvents, marker: &str) -> Vec<String> {
    let mut denied = Vec::new();
    loop {
        let event = timeout(LIMIT, events.recv()).await;
        let subject = match event.expect("the marker is not reported").unwrap() {
            ConnectionEvent::PublishDenied { subject, .. } => subject,
            ConnectionEvent::SubscribeDenied { subject, queue, .. } => match queue {
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

/// Returns those of the subjects to which this user may publish, and to which it may subscribe.
async fn allowed<'a>(
    nats: &Connection,
    publish: &[&'a str],
    subscribe: &[&'a str],
) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut events = nats.events();
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

/// Every kind of subject, one by one, for every role.
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
        "nmfw.calc._i.I1.health",
        "nmfw.calc._health",
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
        "nmfw.calc._i.I1.health",
        "nmfw.calc._health q",
        "nmfw.calc._health",
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
        "nmfw.calc._i.I1.health",
        "nmfw.calc._health q",
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
                "nmfw.calc._i.I1.health",
                "nmfw.calc._health",
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
