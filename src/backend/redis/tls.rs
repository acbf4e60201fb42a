//! From [`Tls`] to a rustls configuration; the certificate files are read here, once, by `build()`.

#[cfg(feature = "tls")]
pub(super) use enabled::connector;

#[cfg(not(feature = "tls"))]
pub(super) use disabled::connector;

/// With `tls`: rustls with the ring provider, named outright so that another crate's choice of a default provider
/// doesn't matter.
#[cfg(feature = "tls")]
mod enabled {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use fred::types::config::{TlsConfig, TlsConnector};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, RootCertStore};

    use crate::config::Tls;
    use crate::config::file::{self, Size};
    use crate::error::Error;

    /// Reads the files, all of them within `patience`.
    pub(crate) fn connector(tls: &Tls, patience: Duration) -> Result<TlsConfig, Error> {
        let files = Files { deadline: Instant::now() + patience, patience };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("tls", format!("can't be set up: {error}")))?
            .with_root_certificates(roots(tls, &files)?);
        let config = match &tls.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let key = PrivateKeyDer::from_pem_slice(&files.read("tls.key_file", &client.key_file)?)
                    .map_err(|error| unreadable("tls.key_file", &client.key_file, &error))?;
                builder.with_client_auth_cert(files.certificates("tls.cert_file", &client.cert_file)?, key).map_err(
                    |error| {
                        Error::config("tls", format!("has a certificate and a key that don't belong together: {error}"))
                    },
                )?
            }
        };
        Ok(TlsConnector::from(config).into())
    }

    fn roots(tls: &Tls, files: &Files) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match &tls.ca_file {
            Some(path) => {
                for certificate in files.certificates("tls.ca_file", path)? {
                    roots.add(certificate).map_err(|error| unreadable("tls.ca_file", path, &error))?;
                }
            }
            None => {
                // A system with a damaged certificate among its roots still has the others.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    let problem = "found no root certificates on this system; accepts a PEM file by `Tls::ca_file`";
                    return Err(Error::config("tls", problem));
                }
            }
        }
        Ok(roots)
    }

    struct Files {
        deadline: Instant,
        patience: Duration,
    }

    impl Files {
        fn certificates(&self, option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
            let bytes = self.read(option, path)?;
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
                .collect::<Result<_, _>>()
                .map_err(|error| unreadable(option, path, &error))?;
            if certificates.is_empty() {
                let problem = format!("{} holds no certificate; accepts a PEM file", path.display());
                return Err(Error::config(option, problem));
            }
            Ok(certificates)
        }

        fn read(&self, option: &str, path: &Path) -> Result<Arc<[u8]>, Error> {
            file::read(path, Size::Certificates, self.deadline, self.patience)
                .map_err(|problem| Error::config(option, format!("{} {problem}; accepts a PEM file", path.display())))
        }
    }

    fn unreadable(option: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
        Error::config(option, format!("{} can't be used: {error}; accepts a PEM file", path.display()))
    }
}

/// Without `tls`: a configuration that asks for it is refused before it gets here.
#[cfg(not(feature = "tls"))]
mod disabled {
    use std::time::Duration;

    use crate::config::Tls;
    use crate::error::Error;

    pub(crate) fn connector(_: &Tls, _: Duration) -> Result<std::convert::Infallible, Error> {
        Err(Error::config("tls", "isn't in this build; turn on the feature `tls` of cache-house"))
    }
}
