//! NATS contexts: the JSON files in which the `nats` program keeps servers and credentials.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::credentials::{Credentials, Identity};
use super::environment::Environment;
use super::options::ConnectOptions;
use super::secret::Secret;
use super::server_url::{IntoServers, Servers};
use crate::error::{Error, ErrorKind};

const DEFAULT_URL: &str = "nats://localhost:4222";

/// A context, read and checked.
#[derive(Debug)]
pub(super) struct Context {
    servers: Servers,
    credentials: Credentials,
    certificate: Option<(PathBuf, PathBuf)>,
    ca: Option<PathBuf>,
    tls_first: bool,
    inbox_prefix: Option<String>,
}

/// The keys that matter here. Others (description, JetStream, colours) are for other programs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    url: Text,
    user: Text,
    password: Text,
    token: Text,
    creds: Text,
    nkey: Text,
    user_jwt: Text,
    user_seed: Text,
    cert: Text,
    key: Text,
    ca: Text,
    tls_first: Option<bool>,
    inbox_prefix: Text,
    nsc: Text,
    socks_proxy: Text,
    windows_cert_store: Text,
}

/// The `nats` program writes every key and leaves those not set empty; null is the same to it.
type Text = Option<String>;

fn given(text: Text) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl Context {
    fn parse(env: &Environment, path: &Path, json: &str) -> Result<Self, Error> {
        let what = || format!("NATS context {}", path.display());
        let file: File = serde_json::from_str(json).map_err(|error| {
            // The text of a serde_json error can quote a value, and a value can be a password.
            let problem = if error.is_data() {
                "a value has the wrong type"
            } else {
                "not valid JSON"
            };
            context_error(format!(
                "{}: {problem} at line {} column {}",
                what(),
                error.line(),
                error.column()
            ))
        })?;
        for (key, value) in [
            ("nsc", &file.nsc),
            ("socks_proxy", &file.socks_proxy),
            ("windows_cert_store", &file.windows_cert_store),
        ] {
            if value.as_ref().is_some_and(|value| !value.is_empty()) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{}: `{key}` is not supported here", what()),
                ));
            }
        }
        let certificate = match (given(file.cert), given(file.key)) {
            (Some(cert), Some(key)) => Some((env.expand(&cert), env.expand(&key))),
            (None, None) => None,
            _ => {
                return Err(context_error(format!(
                    "{}: `cert` and `key` belong together, one of them is missing",
                    what()
                )));
            }
        };
        let url = given(file.url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let servers = Servers::parse(&url.into_servers()).map_err(|error| {
            let message = format!("{}: `url`: {error}", what());
            Error::new(error.kind(), message)
        })?;

        // One of them, in the order in which the `nats` program looks at them.
        let mut credentials = Credentials {
            token: given(file.token).map(Secret::new),
            ..Credentials::default()
        };
        if let Some(user) = given(file.user) {
            let password = file.password.unwrap_or_default();
            credentials.user = Some((user, Secret::new(password)));
        } else if let Some(creds) = given(file.creds) {
            if creds.starts_with("op://") {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{}: `creds` from 1Password are not supported here", what()),
                ));
            }
            credentials.identity = Some(Identity::CredsFile(env.expand(&creds)));
        } else if let Some(nkey) = given(file.nkey) {
            credentials.identity = Some(Identity::NkeyFile(env.expand(&nkey)));
        } else if let Some(jwt) = given(file.user_jwt) {
            let jwt = Secret::new(jwt);
            credentials.identity = Some(match given(file.user_seed) {
                Some(seed) => Identity::JwtAndSeed(jwt, Secret::new(seed)),
                None => Identity::bearer(jwt),
            });
        }
        if let Some(login) = &servers.login {
            credentials = credentials.with_url_login(login);
        }
        Ok(Self {
            servers,
            credentials,
            certificate,
            ca: given(file.ca).map(|ca| env.expand(&ca)),
            tls_first: file.tls_first.unwrap_or_default(),
            inbox_prefix: given(file.inbox_prefix),
        })
    }

    /// Fills in what the options leave open.
    pub(super) fn merge_into(
        self,
        mut options: ConnectOptions,
    ) -> Result<(ConnectOptions, Servers), Error> {
        if options.credentials.is_empty() {
            options.credentials = self.credentials;
        }
        let tls = &mut options.tls;
        if tls.client.is_none() {
            tls.client = self.certificate;
        }
        if tls.roots.is_empty() {
            tls.roots.extend(self.ca);
        }
        if tls.first.is_none() {
            tls.first = Some(self.tls_first);
        }
        options.inbox_prefix = options.inbox_prefix.or(self.inbox_prefix);
        Ok((options, self.servers))
    }
}

/// Loads a context by name, or by path if it ends in `.json`.
pub(super) async fn load(env: &Environment, name_or_path: &str) -> Result<Context, Error> {
    let path = if is_path(name_or_path) {
        env.expand(name_or_path)
    } else {
        named(env, name_or_path)?
    };
    match tokio::fs::read_to_string(&path).await {
        Ok(json) => Context::parse(env, &path, &json),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_path(name_or_path) => {
            Err(context_error(format!(
                "there is no NATS context {name_or_path:?}: {} does not exist; {}",
                path.display(),
                known(env).await
            )))
        }
        Err(error) => Err(context_error(format!(
            "cannot read the NATS context {}",
            path.display()
        ))
        .with_source(error)),
    }
}

/// What the environment says to connect to; see [`ConnectOptions::connect_env`].
pub(super) async fn from_env(
    env: &Environment,
    options: ConnectOptions,
) -> Result<(ConnectOptions, Servers), Error> {
    if let Some(name_or_path) = env.variable("NATS_CONTEXT") {
        return load(env, name_or_path).await?.merge_into(options);
    }
    if let Some(url) = env.variable("NATS_URL") {
        let servers = Servers::parse(&url.into_servers()).map_err(|error| {
            let message = format!("$NATS_URL: {error}");
            Error::new(error.kind(), message)
        })?;
        return Ok((options, servers));
    }
    if let Some(selected) = selected(env).await? {
        return load(env, &selected).await?.merge_into(options);
    }
    Ok((options, Servers::parse(&DEFAULT_URL.into_servers())?))
}

/// The name in `context.txt`, where `nats context select` puts it.
async fn selected(env: &Environment) -> Result<Option<String>, Error> {
    let Some(path) = env.nats_directory().map(|nats| nats.join("context.txt")) else {
        return Ok(None);
    };
    match tokio::fs::read_to_string(&path).await {
        Ok(name) => Ok(given(Some(name.trim().to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(context_error(format!(
            "cannot read {}, which names the selected NATS context",
            path.display()
        ))
        .with_source(error)),
    }
}

fn is_path(name_or_path: &str) -> bool {
    Path::new(name_or_path)
        .extension()
        .is_some_and(|extension| extension == "json")
}

fn named(env: &Environment, name: &str) -> Result<PathBuf, Error> {
    if name.is_empty() || name.contains("..") || name.contains(['/', '\\']) {
        return Err(context_error(format!(
            "{name:?} is not the name of a NATS context: it is empty or has a slash or .. in it; a \
             path must end in .json"
        )));
    }
    let directory = env.nats_directory().ok_or_else(|| {
        context_error(format!(
            "NATS context {name:?}: there is neither $XDG_CONFIG_HOME nor a home directory to look \
             in"
        ))
    })?;
    Ok(directory.join("context").join(format!("{name}.json")))
}

/// A sentence for errors.
async fn known(env: &Environment) -> String {
    let mut names = Vec::new();
    if let Some(directory) = env.nats_directory()
        && let Ok(mut entries) = tokio::fs::read_dir(directory.join("context")).await
    {
        while let Ok(Some(entry)) = entries.next_entry().await {
            let file = entry.file_name();
            if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".json")) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    if names.is_empty() {
        "there are no contexts, `nats context add` makes one".to_owned()
    } else {
        format!("known contexts: {}", names.join(", "))
    }
}

fn context_error(message: String) -> Error {
    Error::new(ErrorKind::Context, message)
}
