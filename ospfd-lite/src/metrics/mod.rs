//! Metrics for Prometheus, by HTTP: `GET /metrics`. The server runs in a task of its own and asks the daemon's loop for the text,
//! so that a figure is that of one moment and nothing is shared.

mod engine;
mod router;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::error;

pub use engine::{EngineMetrics, set};
pub use router::{RouterMetrics, Routing};

/// So many scrapes may wait for the loop.
const WAITING: usize = 4;
/// The loop answers within milliseconds; a scrape that waits longer is given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of the OpenMetrics text format.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A request for the text of the metrics.
pub type Scrape = oneshot::Sender<String>;

/// The HTTP server. It ends with this value.
#[derive(Debug)]
pub struct MetricsServer {
    scrapes: mpsc::Receiver<Scrape>,
    task: JoinHandle<()>,
}

impl MetricsServer {
    /// Listens. Needs a tokio runtime.
    pub fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for the connections of the life before.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(16)?;
        let listener = TcpListener::from_std(socket.into())?;
        let (sender, scrapes) = mpsc::channel(WAITING);
        let router = Router::new().route("/metrics", get(answer)).with_state(sender);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                error!("no more metrics: {error}");
            }
        });
        Ok(MetricsServer { scrapes, task })
    }

    /// The next scrape; never, if the server has ended.
    pub async fn next(&mut self) -> Scrape {
        match self.scrapes.recv().await {
            Some(scrape) => scrape,
            None => std::future::pending().await,
        }
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(sender): State<mpsc::Sender<Scrape>>) -> Response {
    let (scrape, text) = oneshot::channel();
    let busy = (StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at once, or the daemon is busy\n");
    if sender.try_send(scrape).is_err() {
        return busy.into_response();
    }
    match timeout(PATIENCE, text).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        _ => busy.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_scrape_gets_the_text_of_the_loop_and_another_path_nothing() {
        let free = std::net::TcpListener::bind("[::1]:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut server = MetricsServer::bind(address).unwrap();
        let scraped = tokio::spawn(request(address, "/metrics"));
        server.next().await.send("x 1\n# EOF\n".into()).unwrap();
        let answer = scraped.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("x 1\n# EOF\n"), "{answer}");
        assert!(answer.contains("application/openmetrics-text"), "{answer}");
        assert!(request(address, "/").await.starts_with("HTTP/1.1 404"));
        assert_eq!(MetricsServer::bind(address).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    }
}
