//! JSON over HTTP for verifiers that ask someone else: every request has a deadline and every answer a limit.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::runtime::Runtime;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be used.
    #[error("`{0}` is no address; it starts with http:// or https://")]
    Address(String),
    /// There was none in time.
    #[error("no answer within {0:.1} s")]
    Timeout(f64),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
    /// The server refused.
    #[error("HTTP status {status}: {body}")]
    Status {
        /// The status.
        status: u16,
        /// The beginning of what it said.
        body: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl HttpError {
    /// Whether the same question may be answered later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Connection(_) => true,
            Self::Status { status, .. } => matches!(status, 408 | 409 | 425 | 429 | 500..),
            Self::Address(_) | Self::TooLong(_) => false,
        }
    }
}

/// Whether `url` can be asked.
///
/// # Errors
/// [`HttpError::Address`].
pub fn check_address(url: &str) -> Result<(), HttpError> {
    let parsed = reqwest::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    parsed.map(drop).ok_or_else(|| HttpError::Address(url.into()))
}

/// A client with one pool of connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    bearer: Option<String>,
}

impl Client {
    /// A client that sends `bearer` as its key, where there is one. Redirects are not followed: a key goes where it was
    /// meant to go and nowhere else.
    ///
    /// # Errors
    /// [`HttpError::Connection`] where TLS cannot be set up.
    pub fn new(bearer: Option<String>) -> Result<Self, HttpError> {
        // Another part of the process may have chosen one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let inner = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Ok(Self { inner: inner.map_err(|error| HttpError::Connection(chain(&error)))?, bearer })
    }

    /// Posts `body` and reads the answer's bytes.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn post(&self, url: &str, body: &Value, timeout: Duration, limit: usize) -> Result<Vec<u8>, HttpError> {
        let asked = async {
            let mut request = self.inner.post(url).json(body);
            if let Some(key) = &self.bearer {
                request = request.bearer_auth(key);
            }
            let response = request.send().await.map_err(|error| HttpError::Connection(chain(&error)))?;
            let status = response.status();
            let retry_after = retry_after(&response);
            let body = read(response, limit).await?;
            if status != StatusCode::OK {
                let body = String::from_utf8_lossy(&body).chars().take(300).collect();
                return Err(HttpError::Status { status: status.as_u16(), body, retry_after });
            }
            Ok(body)
        };
        tokio::time::timeout(timeout, asked).await.unwrap_or(Err(HttpError::Timeout(timeout.as_secs_f64())))
    }
}

async fn read(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| HttpError::Connection(chain(&error)))? {
        if body.len() + chunk.len() > limit {
            return Err(HttpError::TooLong(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("verifiers-http").enable_all();
        builder.build().expect("a thread can be started")
    })
}

/// Runs a future on the threads of this module.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    runtime().spawn(future);
}

/// Runs a future on the threads of this module and waits for it; it has its own deadlines. It may be called from any
/// thread, one of another runtime included.
///
/// # Panics
/// If the future does.
pub fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    runtime().spawn(async move {
        // The other end waits below.
        let _ = sender.send(future.await);
    });
    receiver.recv().expect("the future does not panic")
}
