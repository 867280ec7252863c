//! Replaces `signing` in a build without the feature `nkeys`, in which async-nats sends no
//! signatures.

use async_nats::AuthError;

use super::credentials::{Credentials, Identity};
use nmfw_core::error::{Error, ErrorKind};

const NO_NKEYS: &str = "this program was built without support for nkeys and JWTs: enable nmfw's \
                        cargo feature `nkeys`";

impl Credentials {
    /// Creates options with an auth callback, and refuses any other identity.
    pub(super) async fn identified_by(
        self,
        identity: Identity,
    ) -> Result<async_nats::ConnectOptions, Error> {
        let what = match identity {
            Identity::Callback(answer) => {
                let options = async_nats::ConnectOptions::with_auth_callback(move |nonce| {
                    let answer = answer(nonce);
                    async move { unsigned(answer.await?) }
                });
                return Ok(self.log_in(options));
            }
            Identity::CredsFile(path) => format!("credentials file {}", path.display()),
            Identity::NkeyFile(path) => format!("nkey file {}", path.display()),
            Identity::Nkey(_) => "nkey seed".to_owned(),
            Identity::Creds(_) => "credentials".to_owned(),
            Identity::JwtAndSeed(..) | Identity::Jwt(..) => "user JWT".to_owned(),
        };
        let message = format!("{what}: {NO_NKEYS}");
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

impl Identity {
    /// Returns `None`, because identities with their own permissions need the feature.
    pub(super) async fn inbox_prefix(&self) -> Option<String> {
        None
    }
}

fn unsigned(auth: async_nats::Auth) -> Result<async_nats::Auth, AuthError> {
    if auth.signature.is_some() {
        return Err(AuthError::new(format!("auth callback: {NO_NKEYS}")));
    }
    Ok(auth)
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::*;

    #[tokio::test]
    async fn identities_that_sign_need_the_feature() {
        let hush = || Secret::new("hush");
        for identity in [
            Identity::CredsFile("user.creds".into()),
            Identity::Creds(hush()),
            Identity::Nkey(hush()),
            Identity::NkeyFile("user.nk".into()),
            Identity::JwtAndSeed(hush(), hush()),
            Identity::bearer(hush()),
        ] {
            let what = format!("{identity:?}");
            let credentials = Credentials {
                identity: Some(identity),
                ..Credentials::default()
            };
            let error = credentials.into_options().await.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{what}");
            let text = error.to_string();
            assert!(text.contains("feature `nkeys`"), "{text}");
            assert!(!text.contains("hush"), "{text}");
        }
    }

    #[test]
    fn callbacks_need_the_feature_for_signatures_only() {
        let mut auth = async_nats::Auth::new();
        auth.username = Some("ann".to_owned());
        assert!(unsigned(auth.clone()).is_ok());
        auth.signature = Some(vec![0; 64]);
        let error = unsigned(auth).map(|_| ()).expect_err("it has a signature");
        assert!(error.to_string().contains("feature `nkeys`"), "{error}");
    }
}
