//! TLS options, checked before the first attempt, when an error can still name the file.

use std::fmt;
use std::path::{Path, PathBuf};

use async_nats::rustls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use nmfw_core::error::{Error, ErrorKind};

#[derive(Clone, Default)]
pub(super) struct Tls {
    pub(super) required: Option<bool>,
    pub(super) first: Option<bool>,
    pub(super) roots: Vec<PathBuf>,
    /// The client certificate and its key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    pub(super) config: Option<Box<rustls::ClientConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("required", &self.required)
            .field("first", &self.first)
            .field("roots", &self.roots)
            .field("client", &self.client)
            // Not formatted, because it is long and may contain keys.
            .field("config", &self.config.is_some())
            .finish()
    }
}

impl Tls {
    fn is_set(&self) -> bool {
        self.required == Some(true)
            || self.first == Some(true)
            || !self.roots.is_empty()
            || self.client.is_some()
    }

    /// Applies the options. `url_asks` means that a server URL is `tls://` or `wss://`.
    pub(super) async fn apply(
        self,
        mut options: async_nats::ConnectOptions,
        url_asks: bool,
    ) -> Result<async_nats::ConnectOptions, Error> {
        if self.required == Some(false) && url_asks {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "require_tls(false) contradicts a server URL that starts with tls:// or wss://",
            ));
        }
        if self.config.is_none() && (url_asks || self.is_set()) {
            ensure_crypto_provider();
        }
        self.check_files().await?;
        for path in self.roots {
            options = options.add_root_certificates(path);
        }
        if let Some((certificate, key)) = self.client {
            options = options.add_client_certificate(certificate, key);
        }
        if let Some(config) = self.config {
            options = options.tls_client_config(*config);
        }
        if self.first == Some(true) {
            options = options.tls_first();
        }
        // Applies to all servers, including discovered ones, whose URLs do not specify TLS.
        Ok(
            options
                .require_tls(url_asks || self.required == Some(true) || self.first == Some(true)),
        )
    }

    /// Checks the files. async-nats reads them when connecting and on every reconnect, so that
    /// renewed ones are used, but treats a file without a certificate as an empty list.
    async fn check_files(&self) -> Result<(), Error> {
        for path in &self.roots {
            check_certificates(path).await?;
        }
        if let Some((certificate, key)) = &self.client {
            check_certificates(certificate).await?;
            let pem = read(key).await?;
            PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
                tls_error(format!("{}: no private key in PEM format", key.display()))
                    .with_source(error)
            })?;
        }
        Ok(())
    }
}

/// Installs a crypto provider. Otherwise rustls panics if another crate of the program has pulled
/// in a second one.
fn ensure_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that a provider is already installed.
        _ = rustls::crypto::ring::default_provider().install_default();
    }
}

async fn check_certificates(path: &Path) -> Result<(), Error> {
    let pem = read(path).await?;
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate.map_err(|error| {
            tls_error(format!(
                "{}: not a certificate in PEM format",
                path.display()
            ))
            .with_source(error)
        })?;
        found += 1;
    }
    if found == 0 {
        return Err(tls_error(format!(
            "{}: no certificate in PEM format",
            path.display()
        )));
    }
    Ok(())
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(path)
        .await
        .map_err(|error| tls_error(format!("cannot read {}", path.display())).with_source(error))
}

fn tls_error(message: String) -> Error {
    Error::new(ErrorKind::Tls, message)
}
