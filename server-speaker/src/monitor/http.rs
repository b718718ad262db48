//! One HTTP/1.1 GET: over TCP or TLS, with a bounded body, without redirects and without a name lookup (the name server may
//! be the very service that is watched).

use std::error::Error;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::pki_types::ServerName;

use super::net::{self, ExchangeError};
use super::reading::Unreadable;
use super::tls::{Tls, Trust};

/// What is fetched, and from where.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTarget {
    address: SocketAddr,
    /// Host and port as in the URL.
    authority: String,
    /// Path and query.
    path: String,
    tls: Option<Tls>,
}

/// An answer. The body ends early if it is longer than was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// There would have been more.
    pub cut: bool,
}

impl HttpTarget {
    /// The target of a URL, over `address` where the URL names its host; `trust` is for https. The error says what is
    /// allowed.
    pub fn new(url: &str, address: Option<IpAddr>, trust: Trust) -> Result<Self, String> {
        let example = "a URL such as \"http://[::1]:8053/status\"";
        let uri: Uri = url.parse().map_err(|error| format!("\"{url}\" is not allowed ({error}); {example}"))?;
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
            return Err(format!("\"{url}\" is not allowed; {example}"));
        };
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("\"{url}\" is not allowed; {example}, or one with https")),
        };
        if authority.as_str().contains('@') {
            return Err(format!("\"{url}\" is not allowed: a user in a URL is not sent; {example}"));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let Some(address) = address.or_else(|| bare.parse().ok()) else {
            return Err(format!("\"{url}\" names its host, and no name is looked up; an `address` beside it"));
        };
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| format!("\"{host}\" in \"{url}\" is no name of a server; {example}"))?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(HttpTarget {
            address: SocketAddr::new(address, port),
            authority: authority.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            tls: secure.then(|| Tls::new(name, trust, Some(b"http/1.1"))),
        })
    }

    /// Where it connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it does so by TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Fetches it, with at most `limit` bytes of the body. Takes as long as the other side likes: to be run under a time
    /// limit; dropping it ends the connection.
    pub async fn ask(&mut self, limit: usize) -> Result<Answer, ExchangeError> {
        let stream = net::tcp(self.address).await?;
        let request = self.request()?;
        match &mut self.tls {
            None => exchange(stream, request, limit).await,
            Some(tls) => exchange(tls.connect(stream).await?, request, limit).await,
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, ExchangeError> {
        Request::get(&self.path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, concat!("server-speaker/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| ExchangeError::Local(format!("HTTP request: {error}")))
    }
}

/// Status and whole body of the target; a body of more than `limit` bytes is an error. To be run under a time limit, as
/// [`HttpTarget::ask`].
pub async fn get(target: &mut HttpTarget, limit: usize) -> Result<(u16, Vec<u8>), ExchangeError> {
    let answer = target.ask(limit).await?;
    if answer.cut {
        return Err(ExchangeError::Peer(format!("an answer of more than {limit} bytes")));
    }
    Ok((answer.status, answer.body))
}

/// The most that a page of numbers may be; those of large resolvers are some hundred kilobytes.
const TEXT_MAX: usize = 4 << 20;

/// The text of a page that is there, for those who want numbers of it.
pub async fn text(target: &mut HttpTarget) -> Result<String, Unreadable> {
    let (status, body) = get(target, TEXT_MAX).await?;
    if status != 200 {
        return Err(Unreadable(format!("status {status} of {}", target.path)));
    }
    String::from_utf8(body).map_err(|_| Unreadable(format!("{} is no text", target.path)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
    limit: usize,
) -> Result<Answer, ExchangeError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure("HTTP", &error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| failure("HTTP", &error))?;
        read(response, limit).await
    };
    // The connection may end before its last bytes are taken over: the answer decides, and has the error too.
    let drive = async {
        let _ended = connection.await;
        pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = drive => never,
    }
}

async fn read(response: Response<Incoming>, limit: usize) -> Result<Answer, ExchangeError> {
    let status = response.status().as_u16();
    let mut answer = Answer { status, body: Vec::new(), cut: false };
    let mut body = response.into_body();
    if limit == 0 {
        return Ok(answer);
    }
    loop {
        let Some(frame) = body.frame().await else { return Ok(answer) };
        let Ok(data) = frame.map_err(|error| failure("HTTP body", &error))?.into_data() else { continue };
        let room = limit - answer.body.len();
        answer.body.extend(data.iter().take(room));
        if data.len() > room {
            answer.cut = true;
            return Ok(answer);
        }
    }
}

/// Whose fault it is: that of the system error underneath, if there is one, else of who sent something strange.
fn failure(operation: &str, error: &hyper::Error) -> ExchangeError {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return ExchangeError::of(operation, error);
        }
        cause = inner.source();
    }
    ExchangeError::Peer(format!("{operation}: {error}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every connection with these bytes, after reading the request.
    async fn server(answer: &'static [u8]) -> HttpTarget {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let url = format!("http://{}/status?x=1", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                assert!(request.starts_with(b"GET /status?x=1 HTTP/1.1\r\nhost: [::1]:"), "{request:?}");
                stream.write_all(answer).await.unwrap();
            }
        });
        HttpTarget::new(&url, None, Trust::Host).unwrap()
    }

    #[tokio::test]
    async fn status_and_body_arrive_however_the_body_ends() {
        for answer in [
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".as_slice(),
            b"HTTP/1.1 200 OK\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ] {
            let mut target = server(answer).await;
            assert_eq!(get(&mut target, 5).await, Ok((200, b"hello".to_vec())));
            assert_eq!(get(&mut target, 4).await, Err(ExchangeError::Peer("an answer of more than 4 bytes".into())));
            let cut = target.ask(4).await;
            assert_eq!(cut, Ok(Answer { status: 200, body: b"hell".to_vec(), cut: true }));
            assert_eq!(target.ask(0).await, Ok(Answer { status: 200, body: Vec::new(), cut: false }));
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_the_other_sides_fault() {
        for answer in [
            b"SSH-2.0-OpenSSH_9.9\r\n".as_slice(),
            b"",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let result = get(&mut server(answer).await, 100).await;
            assert!(matches!(result, Err(ExchangeError::Peer(_))), "{answer:?}: {result:?}");
        }
        let closed = TcpListener::bind("[::1]:0").await.unwrap().local_addr().unwrap();
        let mut target = HttpTarget::new(&format!("http://{closed}"), None, Trust::Host).unwrap();
        assert_eq!(get(&mut target, 100).await, Err(ExchangeError::Peer("refused".into())));
    }

    #[test]
    fn a_url_says_where_to_connect_or_why_not() {
        let new = |url: &str, address: Option<&str>| {
            let target = HttpTarget::new(url, address.map(|address| address.parse().unwrap()), Trust::Host)?;
            Ok::<_, String>((target.address().to_string(), target.is_secure(), target.path))
        };
        let ok = |address: &str, secure, path: &str| Ok((address.to_owned(), secure, path.to_owned()));
        assert_eq!(new("http://127.0.0.1:8053", None), ok("127.0.0.1:8053", false, "/"));
        assert_eq!(new("https://[::1]/a?b", None), ok("[::1]:443", true, "/a?b"));
        assert_eq!(new("http://www.example.org/", Some("2001:db8::1")), ok("[2001:db8::1]:80", false, "/"));
        for url in ["", "/status", "ftp://[::1]/", "http://www.example.org/", "http://a:b@[::1]/", "http://[::1", "::1"]
        {
            assert!(new(url, None).is_err(), "{url}");
        }
    }
}
