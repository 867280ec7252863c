//! NATS contexts: the JSON files in which the `nats` program stores servers and credentials.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    credentials::{Credentials, Identity},
    environment::Environment,
    options::ConnectOptions,
    secret::Secret,
    server_url::{IntoServers, Servers},
};
use nmfw_core::error::{Error, ErrorKind};

const DEFAULT_URL: &str = "nats://localhost:4222";

/// A context, parsed and validated.
#[derive(Debug)]
pub(super) struct Context {
    servers: Servers,
    credentials: Credentials,
    certificate: Option<(PathBuf, PathBuf)>,
    ca: Option<PathBuf>,
    tls_first: bool,
    inbox_prefix: Option<String>,
}

/// The relevant keys. Other keys (description, JetStream, colours) are for other programs.
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

/// The `nats` program writes every key and leaves unset ones empty; null means the same.
type Text = Option<String>;

fn given(text: Text) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl Context {
    pub(super) fn parse(env: &Environment, path: &Path, json: &str) -> Result<Self, Error> {
        let what = || format!("NATS context {}", path.display());
        // serde would accept a list of values in place of an object.
        if !json.trim_start().starts_with('{') {
            return Err(context_error(format!("{}: not a JSON object", what())));
        }
        let file: File = serde_json::from_str(json).map_err(|error| {
            // The text of a serde_json error can quote a value, which can be a password.
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
                    format!("{}: `{key}` is not supported", what()),
                ));
            }
        }
        let certificate = match (given(file.cert), given(file.key)) {
            (Some(cert), Some(key)) => Some((env.expand(&cert), env.expand(&key))),
            (None, None) => None,
            _ => {
                return Err(context_error(format!(
                    "{}: `cert` and `key` must be set together, but one is missing",
                    what()
                )));
            }
        };
        let url = given(file.url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let servers = Servers::parse(&url.into_servers()).map_err(|error| {
            let message = format!("{}: `url`: {error}", what());
            Error::new(error.kind(), message)
        })?;

        // One of these applies, in the order of the `nats` program.
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
                    format!("{}: `creds` from 1Password are not supported", what()),
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

    /// Fills in settings that the options do not have.
    pub(super) fn merge_into(self, mut options: ConnectOptions) -> (ConnectOptions, Servers) {
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
        (options, self.servers)
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

/// Returns the servers according to the environment; see [`ConnectOptions::connect_env`].
pub(super) async fn from_env(
    env: &Environment,
    options: ConnectOptions,
) -> Result<(ConnectOptions, Servers), Error> {
    if let Some(name_or_path) = env.variable("NATS_CONTEXT") {
        return Ok(load(env, name_or_path).await?.merge_into(options));
    }
    if let Some(url) = env.variable("NATS_URL") {
        let servers = Servers::parse(&url.into_servers()).map_err(|error| {
            let message = format!("$NATS_URL: {error}");
            Error::new(error.kind(), message)
        })?;
        return Ok((options, servers));
    }
    if let Some(selected) = selected(env).await? {
        return Ok(load(env, &selected).await?.merge_into(options));
    }
    Ok((options, Servers::parse(&DEFAULT_URL.into_servers())?))
}

/// Returns the name in `context.txt`, which `nats context select` writes.
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
            "{name:?} is not the name of a NATS context: a name must not be empty or contain a \
             slash or `..`, and a path must end in .json"
        )));
    }
    let directory = env.nats_directory().ok_or_else(|| {
        context_error(format!(
            "cannot find NATS context {name:?}: neither $XDG_CONFIG_HOME nor a home directory is \
             set"
        ))
    })?;
    Ok(directory.join("context").join(format!("{name}.json")))
}

/// Lists the known contexts, as a sentence for errors.
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
        "there are no contexts; `nats context add` creates one".to_owned()
    } else {
        format!("known contexts: {}", names.join(", "))
    }
}

fn context_error(message: String) -> Error {
    Error::new(ErrorKind::Context, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A home with contexts in `.config`, isolated from this process.
    struct Home {
        dir: TempDir,
        variables: Vec<(&'static str, String)>,
    }

    impl Home {
        fn new(contexts: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join(".config/nats/context");
            std::fs::create_dir_all(&folder).unwrap();
            for (name, json) in contexts {
                std::fs::write(folder.join(format!("{name}.json")), json).unwrap();
            }
            Self {
                dir,
                variables: Vec::new(),
            }
        }

        fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
            self.variables.push((name, value.into()));
            self
        }

        fn select(self, name: &str) -> Self {
            let path = self.dir.path().join(".config/nats/context.txt");
            std::fs::write(path, name).unwrap();
            self
        }

        fn env(&self) -> Environment {
            let variables: Vec<_> = self
                .variables
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            Environment::of(&variables, self.dir.path())
        }

        async fn servers(&self) -> Result<String, Error> {
            let (_, servers) = from_env(&self.env(), ConnectOptions::new()).await?;
            Ok(servers.to_string())
        }

        async fn error(&self, name: &str, kind: ErrorKind) -> String {
            let error = load(&self.env(), name).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            format!("{error:?}")
        }
    }

    fn parse(json: &str) -> Result<Context, Error> {
        let env = Environment::of(&[("DIR", "/d")], Path::new("/home/me"));
        Context::parse(&env, Path::new("x.json"), json)
    }

    #[tokio::test]
    async fn the_first_source_counts_alone() {
        let contexts = [("a", r#"{"url":"from-a"}"#), ("b", r#"{"url":"from-b"}"#)];
        let home = || Home::new(&contexts);
        assert_eq!(home().servers().await.unwrap(), "nats://localhost:4222");
        let selected = home().select("b\n");
        assert_eq!(selected.servers().await.unwrap(), "nats://from-b:4222");
        let url = home().select("b").with("NATS_URL", "from-url,two");
        assert_eq!(
            url.servers().await.unwrap(),
            "nats://from-url:4222, nats://two:4222"
        );
        let comma = home().with("NATS_URL", "from-url, two,");
        assert_eq!(
            comma.servers().await.unwrap(),
            "nats://from-url:4222, nats://two:4222"
        );
        let context = url.with("NATS_CONTEXT", "a");
        assert_eq!(context.servers().await.unwrap(), "nats://from-a:4222");
        let empty = home()
            .with("NATS_URL", "")
            .with("NATS_CONTEXT", "")
            .select("");
        assert_eq!(empty.servers().await.unwrap(), "nats://localhost:4222");
    }

    #[tokio::test]
    async fn xdg_config_home_and_paths() {
        let other = tempfile::tempdir().unwrap();
        let folder = other.path().join("nats/context");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("x.json"), r#"{"url":"xdg"}"#).unwrap();
        std::fs::write(other.path().join("nats/context.txt"), "x").unwrap();
        let xdg = other.path().to_str().unwrap();
        let home = Home::new(&[("x", r#"{"url":"home"}"#)]).with("XDG_CONFIG_HOME", xdg);
        assert_eq!(home.servers().await.unwrap(), "nats://xdg:4222");
        let path = "~/.config/nats/context/x.json";
        let home = home.with("NATS_CONTEXT", path);
        assert_eq!(home.servers().await.unwrap(), "nats://home:4222");
    }

    #[tokio::test]
    async fn contexts_that_are_not_there() {
        let home = Home::new(&[("b", "{}"), ("a.x", "{}")]);
        let text = home.error("c", ErrorKind::Context).await;
        assert!(text.contains("known contexts: a.x, b"), "{text}");
        assert!(text.contains("context/c.json"), "{text}");
        for name in ["", "../b", "a/b", "a\\b", ".."] {
            home.error(name, ErrorKind::Context).await;
        }
        let text = home.error("/no/such/file.json", ErrorKind::Context).await;
        assert!(text.contains("/no/such/file.json"), "{text}");
        let text = Home::new(&[]).error("c", ErrorKind::Context).await;
        assert!(text.contains("nats context add"), "{text}");

        let gone = Home::new(&[]).select("gone").servers().await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Context);
        let bad = Home::new(&[]).with("NATS_URL", "http://u:hush@h");
        let text = bad.servers().await.unwrap_err().to_string();
        assert!(text.contains("$NATS_URL"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn bad_files_name_the_file_and_the_place_but_no_values() {
        for (json, kind, part) in [
            ("", ErrorKind::Context, "not a JSON object"),
            ("[]", ErrorKind::Context, "not a JSON object"),
            ("{", ErrorKind::Context, "not valid JSON"),
            (r#"{"password": "hush"#, ErrorKind::Context, "line 1"),
            (r#"{"tls_first": "hush"}"#, ErrorKind::Context, "wrong type"),
            (r#"{"user": ["hush"]}"#, ErrorKind::Context, "wrong type"),
            (r#"{"cert": "c"}"#, ErrorKind::Context, "`key`"),
            (r#"{"nsc": "nsc://x"}"#, ErrorKind::Unsupported, "`nsc`"),
            (
                r#"{"socks_proxy": "socks5://x"}"#,
                ErrorKind::Unsupported,
                "`socks_proxy`",
            ),
            (
                r#"{"creds": "op://x"}"#,
                ErrorKind::Unsupported,
                "1Password",
            ),
            (
                r#"{"url": "http://u:hush@h"}"#,
                ErrorKind::InvalidUrl,
                "scheme",
            ),
        ] {
            let error = parse(json).expect_err(json);
            let text = format!("{error:?}");
            assert_eq!(error.kind(), kind, "{text}");
            assert!(text.contains("x.json") && text.contains(part), "{text}");
            assert!(!text.contains("hush"), "{text}");
        }
    }

    #[test]
    fn what_the_nats_program_writes() {
        let context = parse(
            r#"{
              "description": "d", "url": "a,tls://b:1,", "socks_proxy": "", "token": "",
              "user": "me", "password": "hush", "creds": "", "nkey": "", "cert": "~/c.pem",
              "key": "$DIR/k.pem", "ca": "${DIR}/ca.pem", "nsc": "", "jetstream_domain": "x",
              "inbox_prefix": "_I", "user_jwt": "", "user_seed": "", "color_scheme": "",
              "tls_first": true, "windows_cert_store": "", "windows_ca_certs_match": null,
              "future": {"a": [1]}
            }"#,
        )
        .unwrap();
        assert!(!format!("{context:?}").contains("hush"));
        assert_eq!(context.servers.to_string(), "nats://a:4222, tls://b:1");
        let (options, _) = context.merge_into(ConnectOptions::new());
        let user = Some(("me".to_owned(), Secret::new("hush")));
        assert_eq!(options.credentials.user, user);
        let client = ("/home/me/c.pem".into(), "/d/k.pem".into());
        assert_eq!(options.tls.client, Some(client));
        assert_eq!(options.tls.roots, [Path::new("/d/ca.pem")]);
        assert_eq!(options.tls.first, Some(true));
        assert_eq!(options.inbox_prefix.as_deref(), Some("_I"));
    }

    #[test]
    fn credentials_in_the_order_of_the_nats_program() {
        let credentials = |json: &str| parse(json).unwrap().credentials;
        let all = r#"{"user":"u","creds":"c","nkey":"n","user_jwt":"j","token":"t"}"#;
        let found = credentials(all);
        assert_eq!(found.user, Some(("u".to_owned(), Secret::new(""))));
        assert_eq!(found.token, Some(Secret::new("t")));
        assert!(found.identity.is_none());
        for (json, identity) in [
            (r#"{"creds":"$DIR/c","nkey":"n"}"#, r#"CredsFile("/d/c")"#),
            (
                r#"{"nkey":"~/n","user_jwt":"j"}"#,
                r#"NkeyFile("/home/me/n")"#,
            ),
            (r#"{"user_jwt":"j","user_seed":"s"}"#, "JwtAndSeed(***)"),
            (r#"{"user_jwt":"j"}"#, "Jwt(***)"),
        ] {
            let found = credentials(json).identity.unwrap();
            assert_eq!(format!("{found:?}"), identity);
        }
        let found = credentials(r#"{"url":"nats://tok@h","user":"u","password":"p"}"#);
        assert_eq!(found.token, Some(Secret::new("tok")));
        assert_eq!(found.user, None);
    }

    #[test]
    fn options_win_over_the_context() {
        let context = parse(
            r#"{"user":"u","password":"p","ca":"/c","cert":"/a","key":"/b","inbox_prefix":"_I"}"#,
        );
        let options = ConnectOptions::new()
            .token("mine")
            .root_certificates("/mine")
            .client_certificate("/x", "/y")
            .inbox_prefix("_MINE");
        let (options, _) = context.unwrap().merge_into(options);
        assert_eq!(options.credentials.user, None);
        assert_eq!(options.credentials.token, Some(Secret::new("mine")));
        assert_eq!(options.tls.roots, [Path::new("/mine")]);
        assert_eq!(options.tls.client, Some(("/x".into(), "/y".into())));
        assert_eq!(options.inbox_prefix.as_deref(), Some("_MINE"));
    }
}
