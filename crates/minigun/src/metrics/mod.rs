//! Figures of a run for Prometheus (feature `metrics`): text over HTTP, on an address of your choice.
//!
//! ```
//! # use minigun::Pipeline;
//! let p = Pipeline::new("squares");
//! let endpoint = p.metrics("127.0.0.1:0"); // a fixed port in earnest, `127.0.0.1:9464` for one
//! p.source("numbers", 0..1000u64).threads(2, |s| s.map("square", |n| n * n)).discard();
//! let running = p.start()?;
//! println!("http://{}/metrics", endpoint.address().unwrap());
//! running.join()?;
//! # Ok::<(), minigun::Error>(())
//! ```
#![doc = include_str!("../guide/metrics.md")]

mod render;
mod serve;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::error::Error;
use crate::pipeline::Pipeline;
use crate::run::draft::Attached;
use crate::run::handle::Handle;
use crate::sync::Mutex;
use serve::Server;

/// Where a run's figures are to be had, made by [`Pipeline::metrics`].
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    asked: String,
    server: Mutex<Option<Server>>,
    bound: Mutex<Option<SocketAddr>>,
}

impl Endpoint {
    /// The address on which the run listens, with the port that the system chose if 0 was asked for. `None` before
    /// the run has started.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.0.bound.lock()
    }
}

impl Attached for Inner {
    fn begin(&self, run: &Handle) -> Result<(), Error> {
        let refused = |source| Error::Metrics { address: self.asked.clone(), source };
        let listener = TcpListener::bind(&*self.asked).map_err(refused)?;
        *self.bound.lock() = Some(listener.local_addr().map_err(refused)?);
        *self.server.lock() = Some(Server::start(listener, run.clone()).map_err(refused)?);
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        drop(self.server.lock().take());
        Ok(())
    }
}

impl Pipeline {
    /// Serves the run's figures to Prometheus at `http://ADDRESS/metrics`, from its start to its end; see the page
    /// of the [`metrics`](crate::metrics) module. `address` is a host and a port, as in `0.0.0.0:9464`; with
    /// port 0 the system chooses one ([`Endpoint::address`]).
    ///
    /// It listens from when the workers' fork server is forked, on one thread of the program, and ends with the run:
    /// no thread, no socket is left. An address that cannot be had ends the run before its first item with
    /// [`Error::Metrics`].
    pub fn metrics(&self, address: impl Into<String>) -> Endpoint {
        let inner = Inner { asked: address.into(), server: Mutex::new(None), bound: Mutex::new(None) };
        let inner = Arc::new(inner);
        self.attach(Arc::clone(&inner) as _);
        Endpoint(inner)
    }
}
