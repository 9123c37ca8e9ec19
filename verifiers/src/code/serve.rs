//! The sandbox as an HTTP service that speaks SandboxFusion's `POST /run_code`.
//!
//! Also `POST /run_batch` (one program, many inputs) and `POST /judge` (one item in, its verdict out). The queue is bounded: who comes when
//! it is full hears 429 and may try again. A caller that goes away takes its run along.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State, rejection::JsonRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use data::Item;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
};

use super::{
    CodeVerifier, Sandbox, SandboxError,
    api::{Order, RunBatch, RunBatchResult, RunCode, RunCodeResult, RunStatus},
    sandbox::{Cancel, Done, gone, one},
};
use crate::Verifier;

/// Settings of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Requests that may be in hand at once, those that run included; one more is refused with 429.
    pub queue: usize,
    /// MiB that the body of a request may have.
    pub body_mb: usize,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), queue: 256, body_mb: 64 }
    }
}

/// Why there is no service, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; another process may, or choose another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The service ended.
    #[error("the service ended: {0}")]
    Ended(std::io::Error),
}

#[derive(Debug, Clone)]
struct Service {
    sandbox: Sandbox,
    places: Arc<Semaphore>,
}

impl Service {
    /// What came of an order. Nothing more of it is run once the caller goes away.
    async fn run(&self, order: Order, stdins: Vec<String>, stop: bool) -> Result<Done, SandboxError> {
        let (answer, answered) = oneshot::channel();
        // Dropped with this future, which is when the caller goes away.
        let cancel = Cancel(Arc::new(AtomicBool::new(false)));
        self.sandbox.submit(Arc::clone(&cancel.0), order, stdins, stop, move |done| {
            let _ = answer.send(done);
        });
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The routes, for whoever listens himself.
pub fn router(sandbox: Sandbox, settings: &ServeSettings) -> Router {
    let service = Service { sandbox, places: Arc::new(Semaphore::new(settings.queue)) };
    Router::new()
        .route("/run_code", post(run_code))
        .route("/run_batch", post(run_batch))
        .route("/judge", post(judge))
        .route("/run_jupyter", post(run_jupyter))
        .fallback(async || told(StatusCode::NOT_FOUND, "there is no such route"))
        .method_not_allowed_fallback(async || told(StatusCode::METHOD_NOT_ALLOWED, "the route is for another method"))
        .route("/v1/ping", get(|| async { Json("pong") }))
        .layer(DefaultBodyLimit::max(settings.body_mb << 20))
        .with_state(service)
}

/// Serves until `stop` is done; requests in hand are answered first.
///
/// # Errors
/// [`ServeError`] where the address cannot be listened on, or the listener fails.
pub async fn serve(
    sandbox: Sandbox,
    settings: &ServeSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = settings.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    serve_on(listener, sandbox, settings, stop).await
}

/// [`serve`] for whoever binds himself; `listen` of the settings is not looked at.
///
/// # Errors
/// [`ServeError::Ended`] where the listener fails.
pub async fn serve_on(
    listener: TcpListener,
    sandbox: Sandbox,
    settings: &ServeSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let routes = router(sandbox, settings);
    // A small answer is sent at once, not held back for the next.
    let listener = listener.tap_io(|stream| {
        // Only slower without.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, routes).with_graceful_shutdown(stop).await.map_err(ServeError::Ended)
}

/// The answer to who comes when every place is taken.
fn busy() -> Response {
    let retry = [(header::RETRY_AFTER, "1")];
    (retry, told(StatusCode::TOO_MANY_REQUESTS, "every place of the queue is taken; try again")).into_response()
}

/// What is wrong with a request, in the form that the service's callers know.
fn told(status: StatusCode, why: &str) -> Response {
    (status, Json(serde_json::json!({ "detail": why }))).into_response()
}

fn bad(why: String) -> Response {
    told(StatusCode::UNPROCESSABLE_ENTITY, &why)
}

/// A body that could not be read.
fn unread(rejection: &JsonRejection) -> Response {
    let status = match rejection {
        JsonRejection::JsonSyntaxError(_) => StatusCode::UNPROCESSABLE_ENTITY,
        other => other.status(),
    };
    told(status, &rejection.body_text())
}

type Body<T> = Result<Json<T>, JsonRejection>;

/// Notebooks are not run here; said in the words that a caller of SandboxFusion looks for.
async fn run_jupyter() -> Response {
    let message = "notebooks are not run here; /run_code runs programs";
    Json(serde_json::json!({
        "status": RunStatus::SandboxError, "message": message, "driver": null, "cells": [], "executor_pod_name": null, "files": {},
    }))
    .into_response()
}

async fn run_code(State(service): State<Service>, body: Body<RunCode>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return unread(&rejection),
    };
    let Ok(_place) = service.places.try_acquire() else { return busy() };
    let order = match service.sandbox.order(&request) {
        Ok(order) => order,
        Err(why) => return bad(why),
    };
    let stdin = request.stdin.unwrap_or_default();
    let done = service.run(order, vec![stdin], true).await;
    Json(RunCodeResult::of(one(done))).into_response()
}

async fn run_batch(State(service): State<Service>, body: Body<RunBatch>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return unread(&rejection),
    };
    let Ok(_place) = service.places.try_acquire() else { return busy() };
    let order = match service.sandbox.order_of_batch(&request) {
        Ok(order) => order,
        Err(why) => return bad(why),
    };
    let wanted = request.stdins.len();
    let done = service.run(order, request.stdins, request.stop_at_failure).await;
    Json(RunBatchResult::of(wanted, done.map(|done| (done.compiled, done.steps)))).into_response()
}

async fn judge(State(service): State<Service>, body: Body<Item>) -> Response {
    let item = match body {
        Ok(Json(item)) => item,
        Err(rejection) => return unread(&rejection),
    };
    let Ok(place) = service.places.clone().try_acquire_owned() else { return busy() };
    let verifier = CodeVerifier::on(service.sandbox);
    let judged = tokio::task::spawn_blocking(move || {
        let verdict = verifier.verify(&[item]).pop();
        drop(place);
        verdict
    });
    match judged.await {
        Ok(Some(verdict)) => Json(verdict).into_response(),
        _ => told(StatusCode::INTERNAL_SERVER_ERROR, "the judge ended"),
    }
}
