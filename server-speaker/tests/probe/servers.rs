//! Servers that answer well, badly, late or never.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, Record};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The answer to a query, with a TXT record if there is a text.
pub(crate) fn reply(query: &Message, code: ResponseCode, text: Option<&str>) -> Vec<u8> {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.response_code = code;
    for question in &query.queries {
        reply.add_query(question.clone());
        if let Some(text) = text {
            let data = RData::TXT(TXT::new(vec![text.to_owned()]));
            reply.add_answer(Record::from_rdata(question.name().clone(), 0, data));
        }
    }
    reply.to_vec().unwrap()
}

async fn serve_udp(socket: UdpSocket, delay: Duration, answers: impl Fn(&Message, SocketAddr) -> Vec<Vec<u8>>) {
    let mut buffer = [0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let query = Message::from_vec(&buffer[..length]).unwrap();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        for answer in answers(&query, from) {
            // Who asked may have gone.
            let _gone = socket.send_to(&answer, from).await;
        }
    }
}

/// A DNS server that answers each query, one after the other, with these datagrams; its port.
pub(crate) async fn dns_udp(delay: Duration, answers: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) -> u16 {
    let socket = UdpSocket::bind("[::1]:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(serve_udp(socket, delay, move |query, _| answers(query)));
    port
}

/// The same, at this port.
pub(crate) async fn dns_udp_at(port: u16, answers: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) {
    let socket = UdpSocket::bind(("::1", port)).await.unwrap();
    tokio::spawn(serve_udp(socket, Duration::ZERO, move |query, _| answers(query)));
}

/// The same, told who asks.
pub(crate) async fn dns_udp_from(answers: impl Fn(&Message, SocketAddr) -> Vec<Vec<u8>> + Send + 'static) -> u16 {
    let socket = UdpSocket::bind("[::1]:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(serve_udp(socket, Duration::ZERO, answers));
    port
}

/// A DNS server over TCP that answers one query for each connection with these messages.
pub(crate) async fn dns_tcp(answers: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut query = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut query).await.unwrap();
            for answer in answers(&Message::from_vec(&query).unwrap()) {
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    port
}

/// A port where nobody listens: one that was free a moment ago.
pub(crate) async fn closed_port() -> u16 {
    TcpListener::bind("[::1]:0").await.unwrap().local_addr().unwrap().port()
}

/// Accepts connections and says nothing.
pub(crate) async fn silent_tcp() -> u16 {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut all = Vec::new();
        loop {
            all.push(listener.accept().await.unwrap());
        }
    });
    port
}

/// Says this to everybody, and hangs up after the other side has said something.
pub(crate) async fn banner(text: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _gone = stream.write_all(text).await;
            let _gone = stream.read(&mut [0; 4096]).await;
        }
    });
    port
}

/// Answers every request with this.
pub(crate) async fn http(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _request = stream.read(&mut [0; 4096]).await;
            let _gone = stream.write_all(answer).await;
        }
    });
    port
}

/// A certificate authority and its file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

/// From now on, and twelve hours more, so that no test runs while a day ends.
#[derive(Clone, Copy)]
pub(crate) struct Days(pub(crate) i64);

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Two with one name would be the same authority with a wrong signature.
        let name = format!("authority {:x?}", &key.public_key_raw()[1..9]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(params.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
        Authority { issuer: Issuer::new(params, key), file }
    }

    pub(crate) fn path(&self) -> String {
        self.file.path().display().to_string()
    }
}

/// A TLS server with a certificate of this name and time, that answers every request with "200 OK".
pub(crate) async fn tls_server(authority: &Authority, (name, from, to): (&str, Days, Days)) -> u16 {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let date = |days: Days| date_time_ymd(1970, 1, 1) + Duration::from_secs((now + days.0 * 86_400 + 43_200) as u64);
    (params.not_before, params.not_after) = (date(from), date(to));
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us hangs up.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _request = stream.read(&mut [0; 4096]).await;
            let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let _gone = stream.shutdown().await;
        }
    });
    port
}
