//! Calls in JSON, as any NATS client makes them, and with a channel.

use async_nats::{Client, HeaderMap, Message};
use nmfw::{
    Channel, Code, NatsChannel as _, Server,
    middleware::{Encoding, Request},
    prost::bytes::Bytes,
};
use nmfw_tests::{
    TestBroker,
    calc::{self, AddRequest, CalcClient, CalcServer},
    foreign_peer::{headers, status_of},
    on_both_brokers,
    puppet::{self, FailRequest, PuppetClient, Strings},
};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Sends a request in JSON, and returns the reply and its body.
async fn ask(
    client: &Client,
    subject: &str,
    pairs: &[(&str, &str)],
    body: &str,
) -> (Message, Value) {
    let request =
        client.request_with_headers(subject.to_owned(), headers(pairs), body.to_owned().into());
    let reply = request.await.unwrap();
    let body = serde_json::from_slice(&reply.payload).unwrap_or(Value::Null);
    (reply, body)
}

fn content_type(reply: &Message) -> Option<&str> {
    let headers = reply.headers.as_ref()?;
    headers
        .get("Content-Type")
        .map(async_nats::HeaderValue::as_str)
}

on_both_brokers! {
    async fn a_request_in_json_is_answered_in_json(broker: TestBroker) {
        let _server = calc::serve(&broker.url()).await.unwrap();
        let client = async_nats::connect(broker.url()).await.unwrap();
        for pairs in [&[JSON][..], &[("Nmfw", "1;e=j;t=4000")], &[("content-type", "Application/JSON; charset=utf-8")]] {
            let (reply, body) = ask(&client, "nmfw.calc.Add", pairs, r#"{"Values": [1, 2.5]}"#).await;
            assert_eq!(body, json!({"Operation": "add", "Result": 3.5}), "{reply:?}");
            assert_eq!(content_type(&reply), Some("application/json"));
        }
        // Names of the document are those of the `.proto` or in camel case, and an empty message has all defaults.
        let (_, body) = ask(&client, "nmfw.calc.Add", &[JSON], "{}").await;
        assert_eq!(body["Operation"], "add");
    }

    async fn errors_are_in_json(broker: TestBroker) {
        let _server = calc::serve(&broker.url()).await.unwrap();
        let client = async_nats::connect(broker.url()).await.unwrap();
        for (body, text) in [
            (r#"{"Values": [1, "x"]}"#, "Values[1]: expected a number"),
            (r#"{"Values": [1], "values": [2]}"#, "values"),
            (r#"{"Numbers": []}"#, "Numbers"),
            ("{", "calc.Calc.Add"),
            ("", "calc.Calc.Add"),
            ("\0\u{1}", "calc.Calc.Add"),
        ] {
            let (reply, document) = ask(&client, "nmfw.calc.Add", &[JSON], body).await;
            let (status, message) = status_of(&reply);
            assert_eq!(status, "3", "{body}: {reply:?}");
            assert_eq!(content_type(&reply), Some("application/json"));
            assert_eq!(document["code"], 3, "{body}: {document}");
            let shown = document["message"].as_str().unwrap();
            assert!(shown.contains(text), "{body}: {shown}");
            assert!(message.contains(text), "{body}: {message}");
        }
        // Errors of the handler, and of headers.
        let (_, document) = ask(&client, "nmfw.calc.Expression", &[JSON], r#"{"Expression": "1/"}"#).await;
        assert_eq!(document, json!({"code": 3, "message": "cannot calculate 1/", "details": []}));
        let (_, document) = ask(&client, "nmfw.calc.Add", &[JSON, ("a/b", "x")], "{}").await;
        assert_eq!(document["code"], 3, "{document}");
    }

    async fn details_of_errors_pass(broker: TestBroker) {
        let _server = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let request = FailRequest {
            code: Code::Aborted.number(),
            message: "100 % broken:\nä".to_owned(),
            detail: "detail".to_owned(),
            not_started: false,
        };
        let client = PuppetClient::new(Channel::new(&nats).json());
        let status = client.fail(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Aborted, "100 % broken:\nä"));
        assert_eq!(status.detail::<String>().as_deref(), Some("detail"));
        assert_eq!(status.metadata().get("failed-by"), Some("puppet"));

        let client = async_nats::connect(broker.url()).await.unwrap();
        let body = r#"{"code": 10, "message": "broken", "detail": "x"}"#;
        let (_, document) = ask(&client, "nmfw.nmfw.puppet.Fail", &[JSON], body).await;
        // The schema does not have the type of the detail.
        let detail = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "CgF4"});
        assert_eq!(document["details"], json!([detail]), "{document}");
    }

    async fn a_tool_calls_with_json_only(broker: TestBroker) {
        let _server = calc::serve(&broker.url()).await.unwrap();
        let nats = nmfw::connect(broker.url()).await.unwrap();
        for channel in [Channel::new(&nats), Channel::new(&nats).multiplexed(), Channel::new(&nats).json()] {
            let mut request = Request::new(CalcServer::ADD, Bytes::from_static(br#"{"Values":[1,2]}"#));
            request.set_encoding(Encoding::Json);
            let response = channel.call(request).await.unwrap();
            let body: Value = serde_json::from_slice(response.body().unwrap()).unwrap();
            assert_eq!(body["Result"], 3.0);
        }
    }

    /// Calls a service that reads only JSON, as one in another language may.
    async fn a_channel_calls_foreign_services_in_json(broker: TestBroker) {
        use futures_util::StreamExt;
        let foreign = async_nats::connect(broker.url()).await.unwrap();
        let mut requests = foreign.subscribe("nmfw.calc.Add").await.unwrap();
        nmfw_tests::round_trip(&foreign, std::time::Duration::from_secs(10)).await.unwrap();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let sent: Value = serde_json::from_slice(&request.payload).unwrap_or_default();
                let (kind, body) = match sent["Values"].as_array().map(Vec::len) {
                    Some(2) if content_type(&request) == Some("application/json") => {
                        (JSON.1, json!({"Result": 7, "newer": true}).to_string())
                    }
                    Some(1) => (JSON.1, "{\"Result\": \"many\"}".to_owned()),
                    _ => ("text/plain", format!("unexpected: {request:?}")),
                };
                let mut headers = HeaderMap::new();
                headers.insert("Content-Type", kind);
                let reply = request.reply.unwrap();
                foreign.publish_with_headers(reply, headers, body.into()).await.unwrap();
            }
        });
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let client = CalcClient::new(Channel::new(&nats).json());
        // A field that a newer service has added is skipped.
        let response = client.add(AddRequest { values: vec![3.0, 4.0] }).await.unwrap();
        assert_eq!(response.result, 7.0);
        let status = client.add(AddRequest { values: vec![3.0] }).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("Result: expected a number"), "{status}");
    }

    async fn without_a_schema_json_is_refused(broker: TestBroker) {
        static BARE: nmfw::ServiceSpec = nmfw::ServiceSpec::new("calc", "Calc")
            .with_subject("nmfw.calc")
            .with_methods(&[nmfw::MethodSpec::unary("Add")]);
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let service = nmfw::codegen::v1::ServiceBuilder::new(&BARE, std::sync::Arc::new(calc::Calculator))
            .unary(BARE.method_named("Add"), calc::Calc::add)
            .build();
        let _running = Server::new(&nats).add_service(service).start().await.unwrap();
        let client = async_nats::connect(broker.url()).await.unwrap();
        let (reply, document) = ask(&client, "nmfw.calc.Add", &[JSON], "{}").await;
        let (status, message) = status_of(&reply);
        assert_eq!(status, "12", "{reply:?}");
        assert!(message.contains("embed_schema"), "{message}");
        assert_eq!(document["code"], 12, "{document}");
        let channel = Channel::new(&nats).json();
        let client = nmfw::codegen::v1::Client::new(channel);
        let call: nmfw::client::Call<calc::CalcResponse> =
            client.unary(BARE.method_named("Add"), AddRequest { values: vec![] });
        let status = call.await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert!(status.is_not_started());
    }
}
