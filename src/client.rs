//! The API's client: over the daemon's Unix socket, or into a router in this very process.
//!
//! The commands speak HTTP either way, so that there is one path for both.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use journeyman_web::types::{Problem, ProblemDetail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::failure::Failure;

/// Where requests go.
#[derive(Clone)]
pub enum Client {
    /// A daemon's socket.
    Socket(PathBuf),
    /// A runtime in this process.
    Process(journeyman_web::Api),
}

/// A body that arrives piece by piece.
pub enum Body {
    /// From the socket.
    Socket(Incoming),
    /// From this process.
    Process(journeyman_web::Body),
}

impl Client {
    /// A daemon that answers on this socket, if there is one.
    pub async fn connect(socket: &Path) -> Option<Self> {
        UnixStream::connect(socket).await.ok().map(|_| Self::Socket(socket.to_owned()))
    }

    /// Gets a document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, &()).await
    }

    /// Sends a document and gets one.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call(Method::POST, path, body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let (status, answer) = self.send(method, path, body).await?;
        let bytes = answer.whole().await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| {
                Failure::broken(format!("the daemon's answer is not understood: {error}"))
            });
        }
        Err(problem(status, &bytes))
    }

    /// Gets a stream; a refusal is an error already here.
    pub async fn stream(&self, path: &str) -> Result<Body, Failure> {
        let (status, answer) = self.send(Method::GET, path, &()).await?;
        if status.is_success() {
            return Ok(answer);
        }
        let bytes = answer.whole().await?;
        Err(problem(status, &bytes))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(StatusCode, Body), Failure> {
        let body = if method == Method::GET {
            Bytes::new()
        } else {
            Bytes::from(serde_json::to_vec(body).map_err(Failure::from_error)?)
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(Failure::from_error)?;
        match self {
            Self::Process(api) => {
                let response = api.call(request).await;
                Ok((response.status(), Body::Process(response.into_body())))
            }
            Self::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| {
                    Failure::broken(format!("the daemon does not answer: {error}"))
                })?;
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream))
                        .await
                        .map_err(Failure::from_error)?;
                tokio::spawn(async move {
                    // Its end is seen by the body, which then ends too.
                    let _ = connection.await;
                });
                let response = sender.send_request(request).await.map_err(Failure::from_error)?;
                Ok((response.status(), Body::Socket(response.into_body())))
            }
        }
    }
}

impl Body {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            let frame = match self {
                Self::Socket(body) => body.frame().await?.map_err(Failure::from_error),
                Self::Process(body) => body.frame().await?.map_err(Failure::from_error),
            };
            match frame {
                Err(failure) => return Some(Err(failure)),
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
            }
        }
    }

    async fn whole(mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }
}

fn problem(status: StatusCode, bytes: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(Problem { error }) => Failure::from_problem(status.as_u16(), error),
        Err(_) => Failure::from_problem(
            status.as_u16(),
            ProblemDetail {
                code: "internal".to_owned(),
                message: format!("the daemon answered {status}"),
                hint: None,
            },
        ),
    }
}
