//! The server: a unix socket, a task per connection, and a channel of requests to the daemon.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::{Request, Response};
use crate::netio::Error;

/// The longest request, in bytes.
const REQUEST: u64 = 64 * 1024;
/// How long a client may take to send its request or to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once; more wait in the listen queue.
const CONNECTIONS: usize = 32;
/// Who may use the socket: owner and group.
const MODE: u32 = 0o660;

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Pending {
    /// The request.
    pub request: Request,
    answer: oneshot::Sender<Response>,
}

impl Pending {
    /// Answers; a client that has gone away is no matter.
    pub fn answer(self, response: Response) {
        if self.answer.send(response).is_err() {
            debug!("a control client went away before its answer");
        }
    }
}

/// The listening socket; removed with this value.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    requests: mpsc::Receiver<Pending>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens at `path`; a socket that a dead daemon left is replaced, that of a living one is not.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let what = || Error::io(format!("listening on the control socket {}", path.display()), "");
        remove_stale(path)?;
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(what())?;
        }
        let listener = UnixListener::bind(path).map_err(what())?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(what())?;
        let (sender, requests) = mpsc::channel(CONNECTIONS);
        let task = tokio::spawn(listen(listener, sender));
        Ok(Server { path: path.to_owned(), requests, task })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a request. Cancel-safe.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Pending> {
        match self.requests.poll_recv(cx) {
            Poll::Ready(Some(pending)) => Poll::Ready(pending),
            // The listener lives as long as this value; without it nobody asks.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = std::fs::remove_file(&self.path) {
            warn!("{}: the control socket cannot be removed: {error}", self.path.display());
        }
    }
}

/// Removes what a dead daemon left at `path`.
fn remove_stale(path: &Path) -> Result<(), Error> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(Error::ControlInUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let what = format!("removing the stale control socket {}", path.display());
            std::fs::remove_file(path).map_err(Error::io(what, ""))
        }
        Err(error) => Err(Error::io(format!("looking at the control socket {}", path.display()), "")(error)),
    }
}

async fn listen(listener: UnixListener, requests: mpsc::Sender<Pending>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, requests).await {
                        debug!("a control connection failed: {error}");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Such as too many open files: it may pass.
                warn!("the control socket cannot accept: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Serves one connection: a line asks, a line answers, until the client closes.
async fn serve(stream: UnixStream, requests: mpsc::Sender<Pending>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(REQUEST);
        tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let response = if line.ends_with(b"\n") {
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) => forward(&requests, request).await?,
                Err(error) => Response::Error(format!("not a request: {error}")),
            }
        } else {
            Response::Error(format!("a request is one line of at most {REQUEST} bytes"))
        };
        let mut answer = serde_json::to_vec(&response)?;
        answer.push(b'\n');
        tokio::time::timeout(PATIENCE, writer.write_all(&answer)).await??;
    }
}

async fn forward(requests: &mpsc::Sender<Pending>, request: Request) -> io::Result<Response> {
    let gone = || io::Error::other("the daemon is leaving");
    let (answer, response) = oneshot::channel();
    requests.send(Pending { request, answer }).await.map_err(|_| gone())?;
    response.await.map_err(|_| gone())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::control::client;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_request_is_answered_over_the_socket() {
        run(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("sub/control.sock");
            let mut server = Server::bind(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
            let asked = path.clone();
            let client = tokio::task::spawn_blocking(move || {
                let good = client::ask(&asked, &Request::new("show", ["neighbor"])).unwrap();
                let refused = client::ask(&asked, &Request::new("x", [])).unwrap_err().to_string();
                (good, refused)
            });
            let pending = poll_fn(|cx| server.poll_request(cx)).await;
            assert_eq!(pending.request.words(), ["show", "neighbor"]);
            pending.answer(Response::of(&[1, 2]));
            let pending = poll_fn(|cx| server.poll_request(cx)).await;
            pending.answer(Response::Error("no such command".into()));
            assert_eq!(client.await.unwrap(), (serde_json::json!([1, 2]), "no such command".to_owned()));
            drop(server);
            assert!(!path.exists());
        });
    }

    #[test]
    fn garbage_is_answered_with_an_error_and_the_next_line_is_served() {
        run(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("control.sock");
            let server = Server::bind(&path).unwrap();
            let mut stream = BufReader::new(UnixStream::connect(server.path()).await.unwrap());
            for text in ["nonsense\n", "{\"command\":\"x\",\"extra\":1}\n"] {
                stream.write_all(text.as_bytes()).await.unwrap();
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                assert!(matches!(serde_json::from_str(&line).unwrap(), Response::Error(_)), "{line}");
            }
        });
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_refused() {
        run(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("control.sock");
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            assert!(path.exists());
            let server = Server::bind(&path).unwrap();
            assert!(matches!(Server::bind(&path).unwrap_err(), Error::ControlInUse { .. }));
            assert!(path.exists());
            drop(server);
        });
    }
}
