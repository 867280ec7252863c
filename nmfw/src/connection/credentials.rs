//! Who the client is: user and password, token, nkey, JWT.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use async_nats::AuthError;

use super::secret::Secret;
use super::server_url::UrlLogin;
use crate::error::{Error, ErrorKind};

type Signed = Pin<Box<dyn Future<Output = Result<Vec<u8>, AuthError>> + Send + Sync>>;
type Authenticated =
    Pin<Box<dyn Future<Output = Result<async_nats::Auth, AuthError>> + Send + Sync>>;

/// Signs a server's nonce.
pub(super) type SignFn = Arc<dyn Fn(Vec<u8>) -> Signed + Send + Sync>;
/// Answers a server's nonce with complete credentials.
pub(super) type AuthFn = Arc<dyn Fn(Vec<u8>) -> Authenticated + Send + Sync>;

/// All that is told to a server. The parts add up: a user and an nkey are both sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    pub(super) user: Option<(String, Secret)>,
    pub(super) token: Option<Secret>,
    pub(super) identity: Option<Identity>,
}

/// A proof of identity by signature. There is at most one.
#[derive(Clone)]
pub(super) enum Identity {
    CredsFile(PathBuf),
    Creds(Secret),
    Nkey(Secret),
    NkeyFile(PathBuf),
    JwtAndSeed(Secret, Secret),
    Jwt(Secret, SignFn),
    Callback(AuthFn),
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CredsFile(path) => f.debug_tuple("CredsFile").field(path).finish(),
            Self::NkeyFile(path) => f.debug_tuple("NkeyFile").field(path).finish(),
            Self::Creds(_) => f.write_str("Creds(***)"),
            Self::Nkey(_) => f.write_str("Nkey(***)"),
            Self::JwtAndSeed(..) => f.write_str("JwtAndSeed(***)"),
            Self::Jwt(..) => f.write_str("Jwt(***)"),
            Self::Callback(_) => f.write_str("Callback"),
        }
    }
}

impl Identity {
    /// A JWT that needs no proof; the server must allow it (`bearer token`).
    pub(super) fn bearer(jwt: Secret) -> Self {
        Self::Jwt(
            jwt,
            Arc::new(|_nonce| Box::pin(std::future::ready(Ok(Vec::new())))),
        )
    }
}

impl Credentials {
    pub(super) fn is_empty(&self) -> bool {
        self.user.is_none() && self.token.is_none() && self.identity.is_none()
    }

    /// What a URL says, for the methods it names; the others stay.
    pub(super) fn with_url_login(mut self, login: &UrlLogin) -> Self {
        match login {
            UrlLogin::UserPassword(user, password) => {
                self.user = Some((user.clone(), password.clone()));
            }
            UrlLogin::Token(token) => self.token = Some(token.clone()),
        }
        self
    }

    /// Reads the files, checks everything that can be checked without a server, and makes options
    /// to which everything else is added.
    ///
    /// It makes them, because async-nats takes an auth callback in a constructor only.
    pub(super) async fn into_options(self) -> Result<async_nats::ConnectOptions, Error> {
        let mut options = match &self.identity {
            Some(Identity::Callback(answer)) => {
                let answer = Arc::clone(answer);
                async_nats::ConnectOptions::with_auth_callback(move |nonce| answer(nonce))
            }
            _ => async_nats::ConnectOptions::new(),
        };
        if let Some((user, password)) = self.user {
            options = options.user_and_password(user, password.expose().to_owned());
        }
        if let Some(token) = self.token {
            options = options.token(token.expose().to_owned());
        }
        match self.identity {
            None | Some(Identity::Callback(_)) => Ok(options),
            Some(Identity::CredsFile(path)) => {
                let text = read(&path).await?;
                let what = format!("credentials file {}", path.display());
                set_creds(options, &text, &what)
            }
            Some(Identity::Creds(text)) => set_creds(options, text.expose(), "credentials"),
            Some(Identity::Nkey(seed)) => set_nkey(options, seed.expose(), "nkey seed"),
            Some(Identity::NkeyFile(path)) => {
                let text = read(&path).await?;
                let what = format!("nkey file {}", path.display());
                let seed = seed_in(&text).ok_or_else(|| {
                    credentials_error(format!("{what}: there is no nkey seed in it (S...)"))
                })?;
                set_nkey(options, seed, &what)
            }
            Some(Identity::JwtAndSeed(jwt, seed)) => {
                let text = creds_text(jwt.expose(), seed.expose());
                set_creds(options, &text, "user JWT and seed")
            }
            Some(Identity::Jwt(jwt, sign)) => {
                Ok(options.jwt(jwt.expose().to_owned(), move |nonce| sign(nonce)))
            }
        }
    }
}

async fn read(path: &Path) -> Result<String, Error> {
    tokio::fs::read_to_string(path).await.map_err(|error| {
        credentials_error(format!("cannot read credentials from {}", path.display()))
            .with_source(error)
    })
}

fn set_creds(
    options: async_nats::ConnectOptions,
    text: &str,
    what: &str,
) -> Result<async_nats::ConnectOptions, Error> {
    options.credentials(text).map_err(|error| {
        credentials_error(format!("{what}: not a user JWT with its nkey seed")).with_source(error)
    })
}

/// async-nats finds out that a seed is bad when it connects, and calls it a failure to sign. This
/// finds out now.
fn set_nkey(
    options: async_nats::ConnectOptions,
    seed: &str,
    what: &str,
) -> Result<async_nats::ConnectOptions, Error> {
    let seed = seed.trim();
    async_nats::ConnectOptions::with_credentials(&creds_text("none", seed)).map_err(|error| {
        credentials_error(format!("{what}: not a valid nkey seed")).with_source(error)
    })?;
    Ok(options.nkey(seed.to_owned()))
}

/// The text of a credentials file, which is what async-nats parses and signs from.
fn creds_text(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// The seed in a file made by `nk` or `nsc`: alone on a line, decorated or not.
fn seed_in(text: &str) -> Option<&str> {
    text.lines()
        .map(str::trim)
        .find(|line| ["SU", "SA", "SO"].iter().any(|kind| line.starts_with(kind)))
}

fn credentials_error(message: String) -> Error {
    Error::new(ErrorKind::Credentials, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY";

    async fn apply(identity: Identity) -> Result<async_nats::ConnectOptions, Error> {
        let credentials = Credentials {
            identity: Some(identity),
            ..Credentials::default()
        };
        credentials.into_options().await
    }

    #[tokio::test]
    async fn good_seeds_and_creds() {
        assert!(apply(Identity::Nkey(Secret::new(SEED))).await.is_ok());
        let jwt = Secret::new("eyJ0eXAi.eyJqdGki.x-_y");
        assert!(
            apply(Identity::JwtAndSeed(jwt, Secret::new(SEED)))
                .await
                .is_ok()
        );

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user.nk");
        std::fs::write(&path, format!("# mine\n{SEED}\n")).unwrap();
        assert!(apply(Identity::NkeyFile(path)).await.is_ok());
    }

    #[tokio::test]
    async fn bad_ones_are_found_before_connecting_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "hush").unwrap();
        for identity in [
            Identity::Nkey(Secret::new("hush")),
            Identity::Nkey(Secret::new("")),
            Identity::Creds(Secret::new("hush")),
            Identity::NkeyFile(empty.clone()),
            Identity::CredsFile(empty.clone()),
            Identity::CredsFile(dir.path().join("missing")),
            Identity::JwtAndSeed(Secret::new("a b"), Secret::new(SEED)),
        ] {
            let what = format!("{identity:?}");
            let error = apply(identity).await.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::Credentials);
            assert!(!format!("{error:?}{what}").contains("hush"), "{error:?}");
        }
    }
}
