//! Proofs of identity: credentials files, nkeys, and JWTs with their seeds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::AuthError;

use super::{
    credentials::{Credentials, Identity},
    user_jwt,
};
use nmfw_core::error::{Error, ErrorKind};

impl Credentials {
    /// Reads the files of `identity`, checks everything that can be checked without a server, and
    /// creates options that log in with it and with `self`.
    pub(super) async fn identified_by(
        self,
        identity: Identity,
    ) -> Result<async_nats::ConnectOptions, Error> {
        let options = match identity {
            Identity::CredsFile(path) => {
                // Read here only to report errors, which async-nats would hide.
                Creds::read(&path).await?;
                return Ok(self.reading_at_every_connect(path));
            }
            Identity::Creds(text) => sign_in(Creds::parse(text.expose(), "credentials")?),
            Identity::JwtAndSeed(jwt, seed) => sign_in(Creds {
                jwt: jwt.expose().to_owned(),
                key: key_pair(seed.expose(), "seed of the user JWT")?,
            }),
            Identity::Jwt(jwt, sign) => {
                async_nats::ConnectOptions::with_jwt(jwt.expose().to_owned(), move |n| sign(n))
            }
            Identity::Nkey(seed) => nkey(seed.expose(), "nkey seed")?,
            Identity::NkeyFile(path) => {
                let what = format!("nkey file {}", path.display());
                let text = read(&path).await?;
                let seed = seed_in(&text)
                    .ok_or_else(|| bad(format!("{what}: no nkey seed (S...) was found")))?;
                nkey(seed, &what)?
            }
            Identity::Callback(answer) => {
                async_nats::ConnectOptions::with_auth_callback(move |nonce| answer(nonce))
            }
        };
        Ok(self.log_in(options))
    }

    /// Reads the file on every connect, because JWTs expire and are renewed by replacing the file.
    fn reading_at_every_connect(self, path: PathBuf) -> async_nats::ConnectOptions {
        let this = Arc::new((self, path));
        async_nats::ConnectOptions::with_auth_callback(move |nonce| {
            let this = Arc::clone(&this);
            async move {
                let (login, path) = &*this;
                let creds = Creds::read(path).await.map_err(AuthError::new)?;
                // The callback's answer replaces all other credentials, so it has to include them.
                let mut auth = async_nats::Auth::new();
                if let Some((user, password)) = &login.user {
                    auth.username = Some(user.clone());
                    auth.password = Some(password.expose().to_owned());
                }
                auth.token = login.token.as_ref().map(|token| token.expose().to_owned());
                auth.signature = Some(creds.key.sign(&nonce).map_err(AuthError::new)?);
                auth.jwt = Some(creds.jwt);
                Ok(auth)
            }
        })
    }
}

impl Identity {
    /// Returns the prefix of the only inboxes that the JWT allows. A JWT that cannot be read is
    /// reported by the login.
    pub(super) async fn inbox_prefix(&self) -> Option<String> {
        match self {
            Self::CredsFile(path) => user_jwt::inbox_prefix(&Creds::read(path).await.ok()?.jwt),
            Self::Creds(text) => {
                user_jwt::inbox_prefix(&Creds::parse(text.expose(), "credentials").ok()?.jwt)
            }
            Self::JwtAndSeed(jwt, _) | Self::Jwt(jwt, _) => user_jwt::inbox_prefix(jwt.expose()),
            Self::Nkey(_) | Self::NkeyFile(_) | Self::Callback(_) => None,
        }
    }
}

/// The content of a credentials file.
struct Creds {
    jwt: String,
    key: nkeys::KeyPair,
}

impl Creds {
    async fn read(path: &Path) -> Result<Self, Error> {
        let text = read(path).await?;
        Self::parse(&text, &format!("credentials file {}", path.display()))
    }

    /// Parses the JWT from the first decorated block and the seed from the second, whatever the
    /// labels of the decorations.
    fn parse(text: &str, what: &str) -> Result<Self, Error> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut blocks = Vec::new();
        while let Some(line) = lines.next() {
            if line.starts_with("---") && line.contains("BEGIN") {
                blocks.extend(lines.next());
            }
        }
        let [jwt, seed, ..] = blocks.as_slice() else {
            return Err(bad(format!(
                "{what}: a user JWT or its nkey seed is missing; each must follow a line such as \
                 -----BEGIN NATS USER JWT-----"
            )));
        };
        let key = key_pair(seed, what)?;
        let base64url = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '.');
        if !jwt.chars().all(base64url) {
            return Err(bad(format!("{what}: the user JWT is malformed")));
        }
        let jwt = (*jwt).to_owned();
        Ok(Self { jwt, key })
    }
}

fn sign_in(creds: Creds) -> async_nats::ConnectOptions {
    let key = creds.key;
    async_nats::ConnectOptions::with_jwt(creds.jwt, move |nonce| {
        std::future::ready(key.sign(&nonce).map_err(AuthError::new))
    })
}

/// Checks a seed early. async-nats detects a bad seed only when connecting, and reports a signing
/// failure.
fn nkey(seed: &str, what: &str) -> Result<async_nats::ConnectOptions, Error> {
    key_pair(seed, what)?;
    Ok(async_nats::ConnectOptions::with_nkey(
        seed.trim().to_owned(),
    ))
}

fn key_pair(seed: &str, what: &str) -> Result<nkeys::KeyPair, Error> {
    nkeys::KeyPair::from_seed(seed.trim())
        .map_err(|error| bad(format!("{what}: not a valid nkey seed")).with_source(error))
}

/// Returns the seed in a file made by `nk` or `nsc`: alone on a line, with or without decoration.
fn seed_in(text: &str) -> Option<&str> {
    text.lines()
        .map(str::trim)
        .find(|line| ["SU", "SA", "SO"].iter().any(|kind| line.starts_with(kind)))
}

async fn read(path: &Path) -> Result<String, Error> {
    tokio::fs::read_to_string(path).await.map_err(|error| {
        bad(format!("cannot read credentials from {}", path.display())).with_source(error)
    })
}

fn bad(message: String) -> Error {
    Error::new(ErrorKind::Credentials, message)
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::*;

    const SEED: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY";

    fn creds(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\r\n\r\n\
             ***** IMPORTANT *****\r\n-----BEGIN USER NKEY SEED-----\r\n{seed}\r\n\
             ------END USER NKEY SEED------\r\n"
        )
    }

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

        let text = Secret::new(creds("ey.ey.x-_y=", SEED));
        assert!(apply(Identity::Creds(text)).await.is_ok());

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
            Identity::JwtAndSeed(Secret::new("jwt"), Secret::new("hush")),
            Identity::Creds(Secret::new(creds("hush hush", SEED))),
            Identity::Creds(Secret::new(creds("jwt", "hush"))),
        ] {
            let what = format!("{identity:?}");
            let error = apply(identity).await.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::Credentials);
            assert!(!format!("{error:?}{what}").contains("hush"), "{error:?}");
        }
    }
}
