//! The server: one thread, a few connections at once, gone with the run.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::render::render;
use crate::run::handle::Handle;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 16;

/// A request must have come within this time.
const REQUEST: Duration = Duration::from_secs(10);

/// After an error of `accept` (too many open files, most likely) the next is tried after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// A server at work. Dropped, nothing of it is left: its connections are closed, its thread has ended.
pub(super) struct Server {
    over: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(listener: TcpListener, run: Handle) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (over, told) = oneshot::channel();
        let serve = move || {
            runtime.spawn(accept(listener, run));
            // Its sender is dropped, or says so. With the runtime all connections go.
            let _ = runtime.block_on(told);
        };
        let thread = thread::Builder::new().name("mg:metrics".into()).spawn(serve)?;
        Ok(Server { over: Some(over), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, run: Handle) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            let _ = timeout(AGAIN, pending::<()>()).await;
            continue;
        };
        let run = run.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &run);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A client that goes away is its own business.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, run: &Handle) -> Response<Full<Bytes>> {
    let told = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let plain = hyper::header::HeaderValue::from_static(prometheus::TEXT_FORMAT);
        response.headers_mut().insert(CONTENT_TYPE, plain);
        response
    };
    if request.uri().path() != "/metrics" {
        return told(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_string());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = told(StatusCode::METHOD_NOT_ALLOWED, String::new());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match render(run) {
        Ok(text) => told(StatusCode::OK, text),
        Err(error) => told(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
