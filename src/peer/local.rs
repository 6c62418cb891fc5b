//! `Local`: the server that runs on this host, asked through its administration socket.
//!
//! Knows the socket and the form of an answer. Does not know what is asked. Whoever can open the socket may
//! do everything, so nothing is signed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header::ACCEPT;
use http::header::CONTENT_TYPE;
use http::header::HOST;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

mod events;

pub use events::Events;

/// The server on this host.
#[derive(Clone, Debug)]
pub struct Local {
    socket: PathBuf,
    limit: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// Nothing listens there.
    #[error("no server answers at `{}`", socket.display())]
    Absent {
        /// Where it was looked for.
        socket: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something listens, and does not answer as a server does.
    #[error("the server does not answer as it should")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not answer in time.
    #[error("the server did not answer within {} s", limit.as_secs())]
    TimedOut {
        /// How long was waited.
        limit: Duration,
    },
    /// It refused.
    #[error("the server refused: {message}")]
    Refused {
        /// In its words.
        message: String,
    },
}

/// The largest answer, in bytes: an inventory page or a list of jobs is far below.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// How long an answer may take. The server looks at its disk for some, and a disk may be busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

impl Local {
    /// The server whose administration socket lies at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, limit: ANSWER_LIMIT }
    }

    /// Waits so long for an answer: some work takes as long as the store is large.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// What it answers to a GET.
    ///
    /// # Errors
    /// No server is there, or it does not answer with success.
    pub async fn get(&self, path: &str) -> Result<Bytes, LocalError> {
        self.send(Request::get(path).header(HOST, "localhost").body(Full::default())).await
    }

    /// What it answers to a POST of JSON.
    ///
    /// # Errors
    /// No server is there, or it does not answer with success.
    pub async fn post(&self, path: &str, json: Vec<u8>) -> Result<Bytes, LocalError> {
        let request = Request::post(path).header(HOST, "localhost").header(CONTENT_TYPE, "application/json");
        self.send(request.body(Full::from(json))).await
    }

    /// What it answers to a DELETE.
    ///
    /// # Errors
    /// No server is there, or it does not answer with success.
    pub async fn delete(&self, path: &str) -> Result<Bytes, LocalError> {
        self.send(Request::delete(path).header(HOST, "localhost").body(Full::default())).await
    }

    /// What it tells at `path` as it happens (server-sent events).
    ///
    /// # Errors
    /// No server is there, or it does not answer with success.
    pub async fn follow(&self, path: &str) -> Result<Events, LocalError> {
        let request = Request::get(path).header(HOST, "localhost").header(ACCEPT, "text/event-stream");
        let request = request.body(Full::default()).map_err(|error| LocalError::Protocol(error.into()))?;
        let timed_out = LocalError::TimedOut { limit: self.limit };
        let (response, connection) =
            timeout(self.limit, self.exchange(request)).await.unwrap_or(Err(timed_out))?;
        if response.status().is_success() {
            return Ok(Events::new(response.into_body(), connection));
        }
        read(response).await?;
        Err(LocalError::Protocol("it refuses with success".into()))
    }

    async fn send(&self, request: Result<Request<Full<Bytes>>, http::Error>) -> Result<Bytes, LocalError> {
        let request = request.map_err(|error| LocalError::Protocol(error.into()))?;
        let timed_out = LocalError::TimedOut { limit: self.limit };
        timeout(self.limit, self.ask(request)).await.unwrap_or(Err(timed_out))
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Bytes, LocalError> {
        let (response, _connection) = self.exchange(request).await?;
        read(response).await
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<Result<(), hyper::Error>>), LocalError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| LocalError::Absent { socket: self.socket.clone(), source })?;
        let protocol = |error: hyper::Error| LocalError::Protocol(error.into());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let response = sender.send_request(request).await.map_err(protocol)?;
        Ok((response, connection))
    }
}

async fn read(response: Response<Incoming>) -> Result<Bytes, LocalError> {
    let status = response.status();
    let body =
        Limited::new(response.into_body(), BODY_LIMIT).collect().await.map_err(LocalError::Protocol)?;
    let body = body.to_bytes();
    if status.is_success() { Ok(body) } else { Err(LocalError::Refused { message: message(status, &body) }) }
}

/// The first error's message of the specification's form, or the text as it stands.
fn message(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let errors = serde_json::from_slice::<Errors>(body).ok();
    let first = errors.and_then(|it| it.errors.into_iter().next()).map(|it| it.message);
    first.unwrap_or_else(|| match std::str::from_utf8(body).map(str::trim) {
        Ok("") | Err(_) => status.to_string(),
        Ok(text) => text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixListener;

    use super::*;

    async fn answered(answer: &'static str) -> Result<Bytes, LocalError> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let len = stream.read(&mut request).await.unwrap();
            assert!(request.get(..len).unwrap().starts_with(b"GET /x?y HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let answered = Local::new(socket).get("/x?y").await;
        server.join_next().await.unwrap().unwrap();
        answered
    }

    #[tokio::test]
    async fn answers_and_refusals() {
        let answer = answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(answer.unwrap(), "ok");
        for (answer, message) in [
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\ngone\n", "the server refused: gone"),
            (
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
                "the server refused: 503 Service Unavailable",
            ),
            (
                "HTTP/1.1 403 Forbidden\r\ncontent-length: 46\r\n\r\n{\"errors\":[{\"code\":\"X\",\"message\":\"it is so\"}]}",
                "the server refused: it is so",
            ),
            ("nonsense", "the server does not answer as it should"),
        ] {
            let error = answered(answer).await.unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[tokio::test]
    async fn nobody_there() {
        let error = Local::new("/nonexistent/admin.sock".into()).get("/").await.unwrap_err();
        assert_eq!(error.to_string(), "no server answers at `/nonexistent/admin.sock`");
    }
}
