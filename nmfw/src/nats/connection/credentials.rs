//! Credentials of a client: user and password, token, nkey, JWT.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::AuthError;

use super::{secret::Secret, server_url::UrlLogin};
use nmfw_core::error::Error;

/// Default prefix of inboxes.
const INBOX_PREFIX: &str = "_INBOX";

/// Maximum length of a user name that is used in subjects.
const MAX_TOKEN: usize = 64;

type Signed = Pin<Box<dyn Future<Output = Result<Vec<u8>, AuthError>> + Send + Sync>>;
type Authenticated =
    Pin<Box<dyn Future<Output = Result<async_nats::Auth, AuthError>> + Send + Sync>>;

/// Signs a server's nonce.
pub(super) type SignFn = Arc<dyn Fn(Vec<u8>) -> Signed + Send + Sync>;
/// Returns complete credentials for a server's nonce.
pub(super) type AuthFn = Arc<dyn Fn(Vec<u8>) -> Authenticated + Send + Sync>;

/// All credentials for a server. They are combined: a user and an nkey are both sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    pub(super) user: Option<(String, Secret)>,
    pub(super) token: Option<Secret>,
    pub(super) identity: Option<Identity>,
}

/// A proof of identity by signature, at most one.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "nkeys"),
    allow(dead_code, reason = "only `signing` reads the fields")
)]
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
    /// Uses a JWT without a signature, which the server must allow (`bearer token`).
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

    /// Returns the inbox prefix of the user: the only prefix that its JWT allows, otherwise one
    /// that contains its name.
    pub(super) async fn inbox_prefix(&self) -> Option<String> {
        let allowed = match &self.identity {
            Some(identity) => identity.inbox_prefix().await,
            None => None,
        };
        allowed.or_else(|| self.named_inbox_prefix())
    }

    /// Returns the inbox prefix of a user whose name is known and valid in a subject. It is below
    /// the common prefix, so that permissions for the common prefix suffice.
    fn named_inbox_prefix(&self) -> Option<String> {
        let (user, _) = self.user.as_ref()?;
        let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let fits = (1..=MAX_TOKEN).contains(&user.len()) && user.chars().all(is_token);
        fits.then(|| format!("{INBOX_PREFIX}.{user}"))
    }

    /// Adds the login of a URL, which replaces any other user, password and token, as in all NATS
    /// clients.
    pub(super) fn with_url_login(mut self, login: &UrlLogin) -> Self {
        (self.user, self.token) = match login {
            UrlLogin::UserPassword(user, password) => {
                (Some((user.clone(), password.clone())), None)
            }
            UrlLogin::Token(token) => (None, Some(token.clone())),
        };
        self
    }

    /// Reads the files, checks everything that can be checked without a server, and creates the
    /// options.
    ///
    /// Other settings are added afterwards, because async-nats accepts an auth callback only in a
    /// constructor.
    pub(super) async fn into_options(mut self) -> Result<async_nats::ConnectOptions, Error> {
        match self.identity.take() {
            None => Ok(self.log_in(async_nats::ConnectOptions::new())),
            Some(identity) => self.identified_by(identity).await,
        }
    }

    pub(super) fn log_in(
        self,
        mut options: async_nats::ConnectOptions,
    ) -> async_nats::ConnectOptions {
        if let Some((user, password)) = self.user {
            options = options.user_and_password(user, password.expose().to_owned());
        }
        if let Some(token) = self.token {
            options = options.token(token.expose().to_owned());
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inboxes_of_users() {
        let of = |user: &str| {
            let user = Some((user.to_owned(), Secret::new("hush")));
            Credentials {
                user,
                ..Credentials::default()
            }
            .named_inbox_prefix()
        };
        assert_eq!(of("web-1_a").as_deref(), Some("_INBOX.web-1_a"));
        for user in [
            "",
            "a.b",
            "a b",
            "*",
            ">",
            "a>",
            "bj\u{f6}rn",
            "a@b",
            &"x".repeat(65),
        ] {
            assert_eq!(of(user), None, "{user:?}");
        }
        assert_eq!(Credentials::default().named_inbox_prefix(), None);
        let token = Some(Secret::new("hush"));
        assert_eq!(
            Credentials {
                token,
                ..Credentials::default()
            }
            .named_inbox_prefix(),
            None
        );
    }
}
