//! A TLS handshake and how long the certificate holds.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Found;
use crate::monitor::net::{self, ExchangeError};
use crate::monitor::tls::Tls;

const DAY: i64 = 86_400;

/// Shakes hands and hangs up.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsProbe {
    /// Where to.
    pub address: SocketAddr,
    /// With which name and whose trust.
    pub tls: Tls,
    /// The certificate must hold for so many days more.
    pub min_days: u16,
}

impl TlsProbe {
    /// One handshake.
    pub async fn ask(&mut self) -> Result<Found, ExchangeError> {
        let stream = net::tcp(self.address).await?;
        let mut stream = self.tls.connect(stream).await?;
        let (_, session) = stream.get_ref();
        let version = match session.protocol_version().map(|version| format!("{version:?}")) {
            Some(version) => version.replace("TLSv1_", "TLS 1."),
            None => "TLS".into(),
        };
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.ok_or_else(|| ExchangeError::Peer("no certificate".into()))?;
        let until = expiry(certificate)?;
        // The farewell is for the service's log alone.
        let _farewell = stream.shutdown().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        self.judge(&version, until - now)
    }

    /// `left` seconds before the certificate expires.
    fn judge(&self, version: &str, left: i64) -> Result<Found, ExchangeError> {
        let days = left.abs() / DAY;
        if left <= 0 {
            return Err(ExchangeError::Peer(format!("the certificate has expired {days} days ago; renew it")));
        }
        let found = Found::good(format!("{version}, certificate good for {days} days"));
        if left < i64::from(self.min_days) * DAY {
            // It works still: no reason for a farm with one certificate to go as a whole.
            let concern = format!("the certificate expires in {days} days, less than {}; renew it", self.min_days);
            return Ok(Found { concern: Some(concern), ..found });
        }
        Ok(found)
    }
}

/// Seconds since 1970.
fn expiry(certificate: &[u8]) -> Result<i64, ExchangeError> {
    let (_, certificate) = X509Certificate::from_der(certificate)
        .map_err(|error| ExchangeError::Peer(format!("a certificate that cannot be read: {error}")))?;
    Ok(certificate.validity().not_after.timestamp())
}
