//! Starting the threads of a run, and knowing when each of them ended.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

use crate::error::Error;
use crate::graph::PointId;
use crate::in_flight::InFlight;
use crate::process::Processes;
use crate::shared::Shared;
use crate::stage::attempt::guarded;
use crate::timers;

/// A part of the graph that runs on threads of its own.
pub(crate) trait Node: Send {
    /// Before anything runs: tells what worker processes it will need.
    fn plan(&mut self, plan: &mut crate::process::Plan) -> Result<(), Error> {
        let _ = plan;
        Ok(())
    }

    /// The point behind its queue, by which it is found to stand in a loop.
    fn behind(&self) -> Option<PointId> {
        None
    }

    /// It stands in this loop. Asked before anything is launched or held.
    fn join(&self, in_flight: &Arc<InFlight>) {
        let _ = in_flight;
    }

    /// Its queue's first sender, which keeps the queue open until every worker has built its sinks.
    fn hold(&self) -> Option<Box<dyn Any + Send + Sync>> {
        None
    }

    /// What must hear of a stop or a halt. Asked of every node before the first is launched: a launch that
    /// fails halfway must reach those behind it as well.
    fn register(&self, shared: &Shared);

    /// Starts its threads.
    fn launch(self: Box<Self>, launch: &Launch) -> Result<(), Error>;

    /// Its books, read when the run is over.
    fn book(&self) -> Option<Arc<dyn Book>> {
        None
    }
}

/// What a node knows about its items, to be compared at the end of the run.
pub(crate) trait Book: Send + Sync {
    /// An error if an item's outcome is unknown.
    fn check(&self, shared: &Shared) -> Result<(), Error>;
}

/// What starting a node needs.
pub(crate) struct Launch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) processes: Option<Arc<Processes>>,
    pub(crate) holds: Holds,
}

/// Keeps every queue open until all workers have built their sinks; each worker drops its share then.
pub(crate) type Holds = Arc<Vec<Box<dyn Any + Send + Sync>>>;

impl Launch {
    /// Starts a worker thread. `work` gets the holds, to drop when its sinks are built.
    pub(crate) fn spawn(&self, name: &str, work: impl FnOnce(Holds) + Send + 'static) -> Result<(), Error> {
        let (crew, holds, shared) =
            (Arc::clone(&self.crew), Arc::clone(&self.holds), Arc::clone(&self.shared));
        let member = crew.enter(name);
        let spawned = thread::Builder::new().name(name.to_string()).spawn(move || {
            timers::of_this_thread(shared.timers());
            // User code is guarded where it is called; this is for defects of the engine's own, which must
            // end the run rather than leave it waiting for a thread that is gone.
            let outcome = guarded(|| {
                work(holds);
                Ok(())
            });
            if let Err(failure) = outcome {
                shared.fail(Error::Init { stage: member.name(), cause: failure.to_string() });
            }
            drop(member);
        });
        match spawned {
            Ok(thread) => {
                self.crew.threads.lock().push(thread);
                Ok(())
            }
            Err(source) => Err(Error::Thread { stage: name.to_string(), source }),
        }
    }
}

/// The threads of a run.
#[derive(Default)]
pub(crate) struct Crew {
    working: Mutex<BTreeMap<u64, String>>,
    next: Mutex<u64>,
    left: Condvar,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

struct Member {
    crew: Arc<Crew>,
    number: u64,
}

impl Crew {
    fn enter(self: &Arc<Self>, name: &str) -> Member {
        let number = {
            let mut next = self.next.lock();
            *next += 1;
            *next
        };
        self.working.lock().insert(number, name.to_string());
        Member { crew: Arc::clone(self), number }
    }

    /// Waits until every thread has ended. Once the run is halted, at most `bound` longer: the names of the
    /// stages whose user code still runs come back, and their threads are left to end by themselves.
    pub(crate) fn join(&self, shared: &Shared, bound: Duration) -> Vec<String> {
        let mut working = self.working.lock();
        let mut until = None;
        while !working.is_empty() {
            if shared.is_halted() {
                let until = *until.get_or_insert_with(|| Instant::now() + bound);
                if self.left.wait_until(&mut working, until) {
                    break;
                }
            } else {
                self.left.wait(&mut working);
            }
        }
        let stuck: Vec<_> = working.values().cloned().collect();
        drop(working);
        for thread in self.threads.lock().drain(..) {
            if stuck.is_empty() {
                // It has left the crew: nothing but its exit remains.
                drop(thread.join());
            }
        }
        stuck
    }

    /// The stages whose threads still run after at most `bound`.
    pub(crate) fn working_after(&self, bound: Duration) -> Vec<String> {
        let until = Instant::now() + bound;
        let mut working = self.working.lock();
        while !working.is_empty() && !self.left.wait_until(&mut working, until) {}
        working.values().cloned().collect()
    }

    /// The run was halted: whoever waits in `join` must count its bound from now.
    pub(crate) fn wake(&self) {
        let _working = self.working.lock();
        self.left.notify_all();
    }
}

impl crate::shared::Halt for Crew {
    fn halt(&self) {
        self.wake();
    }
}

impl Member {
    fn name(&self) -> String {
        self.crew.working.lock().get(&self.number).cloned().unwrap_or_default()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crew.working.lock().remove(&self.number);
        self.crew.left.notify_all();
    }
}
