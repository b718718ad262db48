//! TLS as a client: with the host's certificate authorities, a given one, or none.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::net::ExchangeError;

/// What the certificate of the other side is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing: whatever it is.
    Anything,
    /// The host's certificate authorities.
    Host,
    /// The authorities in this PEM file.
    File(PathBuf),
}

/// Opens TLS connections of one kind. The authorities are read at the first one and kept.
#[derive(Clone)]
pub struct Tls {
    server_name: ServerName<'static>,
    trust: Trust,
    alpn: Option<&'static [u8]>,
    config: Option<Arc<ClientConfig>>,
}

/// Without the configuration, which is long and says nothing more.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({:?}, {:?})", self.server_name, self.trust)
    }
}

/// Two are the same that ask the same.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        (&self.server_name, &self.trust, self.alpn) == (&other.server_name, &other.trust, other.alpn)
    }
}

impl Tls {
    /// Connections to `server_name` (the name in the certificate, told by SNI if it is no address).
    pub fn new(server_name: ServerName<'static>, trust: Trust, alpn: Option<&'static [u8]>) -> Self {
        Tls { server_name, trust, alpn, config: None }
    }

    /// The name for an address.
    pub fn name_of(address: impl Into<IpAddr>) -> ServerName<'static> {
        ServerName::IpAddress(address.into().into())
    }

    /// A handshake over `stream`.
    pub async fn connect(&mut self, stream: TcpStream) -> Result<TlsStream<TcpStream>, ExchangeError> {
        let config = match &self.config {
            Some(config) => config.clone(),
            None => self.config.insert(Arc::new(self.configure()?)).clone(),
        };
        TlsConnector::from(config).connect(self.server_name.clone(), stream).await.map_err(|error| failure(&error))
    }

    fn configure(&self) -> Result<ClientConfig, ExchangeError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| ExchangeError::Local(format!("TLS: {error}")))?;
        let mut config = match &self.trust {
            Trust::Anything => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth()
            }
            trust => builder.with_root_certificates(authorities(trust)?).with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        // A resumed session would show the certificate of another day.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn authorities(trust: &Trust) -> Result<RootCertStore, ExchangeError> {
    let local = |message: String| ExchangeError::Local(message);
    let mut store = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'_>> = match trust {
        Trust::File(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| local(format!("{}: {error}", path.display())))?,
        _ => rustls_native_certs::load_native_certs().certs,
    };
    store.add_parsable_certificates(certificates);
    if store.is_empty() {
        let place = match trust {
            Trust::File(path) => path.display().to_string(),
            _ => "this host has no certificate authorities (SSL_CERT_FILE names them)".to_owned(),
        };
        return Err(local(format!("{place}: no certificate authority; `verify = false` does without")));
    }
    Ok(store)
}

fn failure(error: &io::Error) -> ExchangeError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        // Every client would be cut off alike, unless it is our clock that is wrong: more likely after a cold start.
        Some(Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => ExchangeError::Local("the certificate is not yet valid, or the clock of this host is wrong".into()),
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            ExchangeError::Peer("the certificate has expired; renew it".into())
        }
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            ExchangeError::Peer("the certificate is of an authority that is not trusted; `ca` names one that is".into())
        }
        _ => ExchangeError::of("TLS handshake", error),
    }
}

/// Believes every certificate, but not a broken handshake.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
