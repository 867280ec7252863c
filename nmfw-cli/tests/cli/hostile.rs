//! Services that lie, flood or send what acts on a terminal.

use std::time::{Duration, Instant};

use async_nats::Client;
use futures_util::StreamExt;
use nmfw_tests::{TestBroker, calc, on_both_brokers};

use crate::program::{Output, Program};

/// Answers all of discovery with what `answer` makes of the verb.
async fn answer(url: &str, answers: impl Fn(&str) -> Vec<String> + Send + 'static) -> Client {
    let client = async_nats::connect(url).await.unwrap();
    let mut queries = client.subscribe("$SRV.>").await.unwrap();
    client.flush().await.unwrap();
    let publisher = client.clone();
    tokio::spawn(async move {
        while let Some(query) = queries.next().await {
            let verb = query
                .subject
                .split('.')
                .nth(1)
                .unwrap_or_default()
                .to_lowercase();
            for answer in answers(&verb) {
                let reply = query.reply.clone().unwrap();
                // The reader may be gone.
                _ = publisher.publish(reply, answer.into()).await;
            }
        }
    });
    client
}

fn is_harmless(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        let acts = |c: char| c != '\n' && nmfw_core::escape::acts(c);
        assert!(!text.contains(acts), "{output:?}");
        assert!(text.len() < 100_000, "{} bytes", text.len());
    }
}

const LINES: [&str; 6] = [
    "ls",
    "ls --json",
    "info evil",
    "stats",
    "ping --json",
    "call evil.boom x",
];

on_both_brokers! {
    async fn control_characters_do_not_reach_the_terminal(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let evil = "\\u001b]0;owned\\u0007\\u202e\\u009b31m\\n\\r\\u0000";
        let _evil = answer(&broker.url(), move |verb| {
            vec![format!(
                r#"{{"type":"io.nats.micro.v1.{verb}_response","name":"evil","id":"1{evil}",
                    "version":"{evil}","description":"{evil}","metadata":{{"{evil}":"{evil}",
                    "nmfw.health":"{evil}"}},"endpoints":[{{"name":"{evil}","subject":"{evil}",
                    "queue_group":"{evil}","last_error":"{evil}","num_requests":18446744073709551615,
                    "num_errors":1,"processing_time":18446744073709551615,
                    "data":{{"health":{{"status":"NOT_SERVING","checks":[{{"name":"{evil}",
                    "status":"NOT_SERVING","error":"{evil}"}}]}}}}}}]}}"#
            )]
        })
        .await;
        for line in LINES {
            is_harmless(&program.run(line).await);
        }
        let json = program.run("ls --json").await.json();
        assert_eq!(json["services"][0]["versions"][0].as_str().unwrap().chars().next(), Some('\u{1b}'));
    }

    async fn invalid_answers_are_counted_and_others_shown(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let _evil = answer(&broker.url(), |_| {
            let deep = format!(r#"{{"name":"a","id":"1","data":{}"#, "[".repeat(100_000));
            let large = format!(r#"{{"name":"{}","id":"1"}}"#, "x".repeat(500_000));
            vec![String::new(), "null".to_owned(), deep, large, "\u{1b}[31m".to_owned()]
        })
        .await;
        for line in ["ls", "stats", "ping"] {
            let output = program.run(line).await;
            is_harmless(&output);
            assert!(output.stdout.contains("calc"), "{output:?}");
            assert!(output.stderr.contains("answers were left out"), "{output:?}");
        }
        let json = program.run("ls --json").await.json();
        assert_eq!(json["invalid_answers"], 10, "five answers to each of two verbs");
    }

    /// A service that answers to a ping only delays others by little, and is named.
    async fn silent_services_are_named(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let _silent = answer(&broker.url(), |verb| match verb {
            "ping" => vec![r#"{"name":"mute","id":"M1"}"#.to_owned()],
            _ => vec![],
        })
        .await;
        let output = program.run("ls").await;
        assert!(output.stdout.contains("mute") && output.stdout.contains("calc"), "{output:?}");
        assert!(output.stderr.contains("M1 of mute answered, but not to INFO"), "{output:?}");
    }

    async fn endless_answers_end(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _flood = answer(&broker.url(), |_| {
            (0..30_000).map(|id| format!(r#"{{"name":"flood","id":"{id}"}}"#)).collect()
        })
        .await;
        let started = Instant::now();
        let output = program.run("ls --timeout 10s").await;
        assert!(output.stdout.contains("flood"), "{output:?}");
        assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
        is_harmless(&output);
    }

    async fn lying_schemas_are_refused(broker: TestBroker) {
        let program = Program::new(&broker.url());
        for (part, why) in [
            (vec![], "sent a part of its schema that does not fit"),
            (vec![7; 100], "is damaged"),
        ] {
            let hash = "ab".repeat(32);
            let info_hash = hash.clone();
            let evil = answer(&broker.url(), move |verb| {
                vec![format!(
                    r#"{{"type":"io.nats.micro.v1.{verb}_response","name":"evil","id":"E1",
                        "metadata":{{"nmfw.service":"evil.Evil","nmfw.schema":"{info_hash}"}},
                        "endpoints":[{{"name":"Boom","subject":"nmfw.evil.Boom",
                        "metadata":{{"nmfw.method":"evil.Evil.Boom"}}}}]}}"#
                )]
            })
            .await;
            let mut requests = evil.subscribe("nmfw.evil._i.E1.schema").await.unwrap();
            evil.flush().await.unwrap();
            let publisher = evil.clone();
            let task = tokio::spawn(async move {
                while let Some(request) = requests.next().await {
                    // SchemaResponse: the hash, a size of 100, the part.
                    let mut answer = vec![0x0a, 64];
                    answer.extend(hash.as_bytes());
                    answer.extend([0x10, 100]);
                    if !part.is_empty() {
                        answer.extend([0x1a, 100]);
                        answer.extend(&part);
                    }
                    publisher.publish(request.reply.unwrap(), answer.into()).await.unwrap();
                }
            });
            let output = program.run("call evil.Boom").await;
            assert_eq!(output.status, 1, "{output:?}");
            assert!(output.stderr.contains(why), "{output:?}");
            task.abort();
            evil.drain().await.unwrap();
        }
    }
}
