//! A service in one account and its callers in others, with exactly the generated exports, imports
//! and permissions: in the configuration of nats-server, and by `nsc`.

use nmfw::async_nats::ConnectionExt as _;
use nmfw::{
    Channel, Code, ConnectOptions, NatsChannel as _,
    permissions::{Export, Permissions},
};
use nmfw_tests::{
    NatsServer,
    foreign::{nsc, or_not_run},
    permitted::{
        LIMIT, METHODS, call, client, clients, connect, denied, serve, service, start, stop, user,
        violations, works,
    },
    srv,
    streams::{Flows, STREAMS_SPEC, StreamsClient, StreamsServer},
};
use tokio::time::timeout;

/// Returns accounts with exactly this export and its imports.
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

/// An export for some accounts is not available to others.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_for_one_account() {
    let export = Export::of(&STREAMS_SPEC).unwrap();
    let export = export.only_for(["CALLERS"]).unwrap();
    let config = accounts(&export);
    let refused = NatsServer::builder().config(&config).start().await;
    let refused = refused.expect_err("OTHERS imports it too").to_string();
    assert!(
        refused.contains("service import not authorized"),
        "{refused}"
    );

    let own = config.find("OTHERS").unwrap();
    let config = format!("{}\n}}", &config[..own]);
    let server = NatsServer::builder().config(config).start().await.unwrap();
    let running = serve(&server, "service").await;
    let client = StreamsClient::new(&connect(&server, "caller").await);
    for method in METHODS {
        works(&client, method).await;
    }
    stop(running).await;
    assert_eq!(violations(&server), [""; 0]);
    assert!(
        Export::of(&STREAMS_SPEC)
            .unwrap()
            .only_for([""; 0])
            .is_err()
    );
}

/// An export of one method shares no other method, even if users of the importer have permissions
/// for it.
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
        let status = outcome.expect("the call hangs").unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{other}: {status}");
    }
}

/// Runs the generated `nsc` commands, on a nats-server that knows its accounts.
#[tokio::test(flavor = "multi_thread")]
async fn by_nsc() {
    let Some(nsc) = or_not_run("by_nsc", nsc().await) else {
        return;
    };
    let export = Export::of(&STREAMS_SPEC).unwrap();
    let import = export.import_from("SERVICES");
    // An export that requires activations.
    let private = Export::of(&STREAMS_SPEC).unwrap();
    let private = private.only_for(["OTHERS"]).unwrap();
    let renamed = private.import_from("PRIVATE").to("bought.flows").unwrap();
    let bought = StreamsServer::new(Flows::default()).subject("bought.flows");
    let users = [
        ("SERVICES", "service", service().across_accounts()),
        ("PRIVATE", "service", service().across_accounts()),
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
         nsc add account --name PRIVATE\n\
         nsc add account --name CALLERS\n\
         nsc add account --name OTHERS\n"
        .to_owned();
    script += &export.nsc("SERVICES");
    script += &private.nsc("PRIVATE");
    // The script is the file that a build script writes.
    script += &format!(
        "cat > import.sh <<'END'\n{}END\nsh import.sh CALLERS SERVICES\n",
        import.nsc_script()
    );
    script += &renamed.nsc("OTHERS");
    for (account, user, permissions) in &users {
        script += &permissions.nsc(account, user);
    }
    nsc.sh(&script).await.unwrap();
    // nsc has interpreted every argument as intended.
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
    let mut running = Vec::new();
    for account in ["SERVICES", "PRIVATE"] {
        let served = StreamsServer::new(Flows::default());
        let nats = connect(account, "service").await;
        running.push(start(nats, served).await.unwrap());
    }
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
    for running in running {
        stop(running).await;
    }
}
