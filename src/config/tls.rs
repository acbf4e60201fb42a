//! Which authorities a TLS connection trusts, and its own certificate.

use std::path::PathBuf;

/// TLS for the connections of a handle: which authorities to trust, and which certificate to show.
///
/// Without more, the system's root certificates are trusted. The host name of the endpoint is always
/// checked. Files are read by `build()`, which reports what is wrong with them: one that is longer than 1 MiB, or that can't be read
/// within `connect_timeout`, is an error.
///
/// ```no_run
/// use cache_house::{CacheHouse, Tls};
///
/// let cache = CacheHouse::builder()
///     .standalone("cache.example:6380")
///     .tls(Tls::default().ca_file("/etc/ssl/cache-ca.pem"))
///     .build()?;
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("ssl", "rediss", "certificate"))]
#[must_use = "hand this to the builder's `tls`"]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client: Option<ClientIdentity>,
}

/// The client's certificate chain and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientIdentity {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Tls {
    /// Trusts the authorities in this PEM file, and no others.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Shows the server this certificate chain, with its private key; both are PEM files.
    pub fn client_cert(mut self, cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        self.client = Some(ClientIdentity { cert_file: cert_file.into(), key_file: key_file.into() });
        self
    }
}
