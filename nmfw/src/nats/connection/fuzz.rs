//! Fuzz targets for the configuration of a connection: see [`fuzzing`](crate::fuzzing).
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "fuzz targets panic like tests"
)]

use std::path::Path;

use serde_json::{Map, Value};

use super::{environment::Environment, nats_context::Context, server_url::Servers};

/// Must not appear in any error, log line or list of servers.
const SECRET: &str = "s3cr3t";

/// Reads bytes as a list of servers. An accepted list is accepted again without its credentials,
/// and displayed without them.
pub fn servers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(servers) = Servers::parse(&[text.clone().into_owned()]) {
        let again = Servers::parse(&servers.addresses()).unwrap();
        assert!(again.login.is_none());
        assert_eq!(again.addresses(), servers.addresses());
        assert_eq!(
            (again.tls, again.websocket),
            (servers.tls, servers.websocket)
        );
        assert!(servers.len() > 0 && servers.len() <= text.len());
    }
    if text.contains(SECRET) {
        return;
    }
    // The text after a password, or after a token, which is a user name if a password follows.
    for given in [
        format!("nats://ann:{SECRET}@{text}"),
        format!("{SECRET}@{text}"),
    ] {
        let shown = match Servers::parse(&[given]) {
            Ok(servers) => format!("{servers} {:?}", servers.addresses()),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

/// Reads bytes as a context of the `nats` program. Errors about it contain no secrets from it.
pub fn context(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let path = Path::new("/contexts/x.json");
    let env = Environment::of(&[("DIR", "/d")], Path::new("/home/me"));
    let parsed = Context::parse(&env, path, &text);
    if let Err(error) = &parsed {
        assert!(error.to_string().contains("x.json"), "{error}");
    }
    // Adds secrets to the context.
    let Ok(Value::Object(mut file)) = serde_json::from_str::<Value>(&text) else {
        assert!(parsed.is_err(), "{text}");
        return;
    };
    if text.contains(SECRET) {
        return;
    }
    let set = |file: &mut Map<String, Value>, key: &str| {
        file.insert(key.to_owned(), Value::String(SECRET.to_owned()));
    };
    for key in ["password", "token", "user_jwt", "user_seed"] {
        set(&mut file, key);
    }
    let shown = match Context::parse(&env, path, &Value::Object(file).to_string()) {
        Ok(context) => format!("{context:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(SECRET), "{shown}");
}
