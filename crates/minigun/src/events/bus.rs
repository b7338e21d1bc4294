//! The owner of a run's events: puts them in order and hands them to the observers, on a thread of its own.
//!
//! Whoever tells of an event never waits for an observer: a bounded queue stands between, and what finds no room
//! there is counted and told as missed. Where nobody observes, there is no thread and nothing is made.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use minigun_os::Pid;

use super::Event;
use crate::defaults::HELD_EVENTS;
use crate::failure::guarded;
use crate::sync::{Condvar, Mutex};

/// Is told of every event.
pub(crate) type Observer = Box<dyn FnMut(&Event) + Send>;

/// A run's events.
pub(crate) struct Bus {
    /// Somebody observes.
    observed: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    /// A forked worker has a copy of this, whose events nobody would take.
    owner: Pid,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    missed: u64,
    /// Who joins before the next event is told.
    joining: Vec<Subscriber>,
    /// The run has begun: from now on there may be a thread.
    open: bool,
    thread: Option<JoinHandle<()>>,
    closing: bool,
    over: bool,
    panic: Option<String>,
}

struct Subscriber {
    observer: Observer,
    wanted: Arc<AtomicBool>,
}

/// An observer that was added to a run under way: dropped, it is told nothing more.
#[must_use = "dropped, it observes nothing"]
#[derive(Debug)]
pub struct Observing(Arc<AtomicBool>);

impl Drop for Observing {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How the observers ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    Well,
    /// One of them panicked.
    Panicked(String),
    /// One of them still runs.
    Stuck,
}

impl Bus {
    pub(crate) fn new() -> Arc<Bus> {
        Arc::new(Bus {
            observed: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            owner: Pid::current(),
        })
    }

    /// Whether somebody wants to know of events.
    pub(crate) fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed) && self.owner == Pid::current()
    }

    /// Tells of an event, if somebody wants to know. Never waits for an observer.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if !self.is_observed() {
            return;
        }
        let event = event();
        let mut state = self.state.lock();
        if state.closing {
            return;
        }
        state.add(event, false);
        drop(state);
        self.changed.notify_all();
    }

    /// Adds an observer; also while the run is under way.
    pub(crate) fn subscribe(self: &Arc<Self>, observer: Observer) -> io::Result<Observing> {
        let wanted = Arc::new(AtomicBool::new(true));
        let mut state = self.state.lock();
        state.joining.push(Subscriber { observer, wanted: Arc::clone(&wanted) });
        self.observed.store(true, Ordering::Relaxed);
        self.start(&mut state)?;
        Ok(Observing(wanted))
    }

    /// The fork servers are forked: threads may be started.
    pub(crate) fn open(self: &Arc<Self>) -> io::Result<()> {
        let mut state = self.state.lock();
        state.open = true;
        self.start(&mut state)
    }

    fn start(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        if !state.open || state.closing || state.thread.is_some() || !self.observed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let bus = Arc::clone(self);
        state.thread = Some(thread::Builder::new().name("mg:observe".into()).spawn(move || bus.deliver())?);
        Ok(())
    }

    /// The thread's life.
    fn deliver(&self) {
        let mut subscribers: Vec<Subscriber> = Vec::new();
        loop {
            let mut state = self.state.lock();
            while state.events.is_empty() && !state.closing {
                self.changed.wait(&mut state);
            }
            subscribers.append(&mut state.joining);
            let Some(event) = state.events.pop_front() else { break };
            drop(state);
            subscribers.retain_mut(|subscriber| {
                if !subscriber.wanted.load(Ordering::Acquire) {
                    return false;
                }
                let told = guarded(|| {
                    (subscriber.observer)(&event);
                    Ok(())
                });
                if let Err(failure) = &told {
                    self.state.lock().panic.get_or_insert_with(|| failure.chain());
                }
                told.is_ok()
            });
        }
        // What observers hold is let go before the run is over.
        drop(guarded(move || {
            drop(subscribers);
            Ok(())
        }));
        self.state.lock().over = true;
        self.changed.notify_all();
    }

    /// Tells of the last event, and waits until all of them were told; at most so long.
    pub(crate) fn close(&self, last: impl FnOnce() -> Event, bound: Duration) -> Closed {
        let mut state = self.state.lock();
        if state.closing {
            return Closed::Well;
        }
        if self.observed.load(Ordering::Relaxed) {
            state.add(last(), true);
        }
        state.closing = true;
        self.changed.notify_all();
        let thread = state.thread.take();
        let until = Instant::now() + bound;
        while thread.is_some() && !state.over {
            if self.changed.wait_until(&mut state, until) {
                // What is not told yet never will be.
                state.events.clear();
                return Closed::Stuck;
            }
        }
        let panic = state.panic.take();
        let let_go = std::mem::take(&mut state.joining);
        drop(state);
        drop(let_go);
        if let Some(thread) = thread {
            drop(thread.join());
        }
        panic.map_or(Closed::Well, Closed::Panicked)
    }
}

impl State {
    fn add(&mut self, event: Event, always: bool) {
        if self.events.len() >= HELD_EVENTS && !always {
            self.missed += 1;
            return;
        }
        if self.missed > 0 {
            self.events.push_back(Event::Missed { events: std::mem::take(&mut self.missed) });
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn stage(n: usize) -> Event {
        Event::StageEnded { stage: n.to_string() }
    }

    fn ended() -> Event {
        Event::RunEnded { elapsed: Duration::ZERO, error: None }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn events_come_in_order_and_all_of_them() {
        let bus = Bus::new();
        let (send, seen) = mpsc::channel();
        let observing = bus.subscribe(Box::new(move |event| send.send(event.clone()).unwrap())).unwrap();
        bus.tell(|| stage(0));
        bus.open().unwrap();
        (1..100).for_each(|n| bus.tell(|| stage(n)));
        assert_eq!(bus.close(ended, LONG), Closed::Well);
        drop(observing);
        let expected: Vec<_> = (0..100).map(stage).chain([ended()]).collect();
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_observer_that_takes_its_time_holds_nobody_up_and_hears_how_much_it_missed() {
        let bus = Bus::new();
        let (send, seen) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let _observing = bus
            .subscribe(Box::new(move |event| {
                let _ = gone.recv();
                send.send(event.clone()).unwrap();
            }))
            .unwrap();
        bus.open().unwrap();
        let all = 3 * HELD_EVENTS;
        (0..all).for_each(|n| bus.tell(|| stage(n)));
        drop(go);
        assert_eq!(bus.close(ended, LONG), Closed::Well);
        let seen: Vec<_> = seen.iter().collect();
        // It may be told more than once how much it missed: the queue is emptied while it fills.
        let heard = |event: &Event| if let Event::Missed { events } = event { *events } else { 1 };
        assert_eq!(seen.iter().map(heard).sum::<u64>(), all as u64 + 1, "all of them and the last");
        assert!(seen.len() < all, "it missed some");
        assert_eq!(seen.last(), Some(&ended()));
    }

    #[test]
    fn an_observer_that_panics_is_told_nothing_more_and_the_others_are() {
        let bus = Bus::new();
        let (send, seen) = mpsc::channel();
        let _bad = bus.subscribe(Box::new(|_| panic!("no more"))).unwrap();
        let _good = bus.subscribe(Box::new(move |event| send.send(event.clone()).unwrap())).unwrap();
        bus.open().unwrap();
        bus.tell(|| stage(1));
        let Closed::Panicked(cause) = bus.close(ended, LONG) else { panic!("it panicked") };
        assert!(cause.contains("no more"), "{cause}");
        assert_eq!(seen.iter().count(), 2);
    }

    #[test]
    fn an_observer_that_never_returns_is_left_behind() {
        let bus = Bus::new();
        let (go, gone) = mpsc::channel::<()>();
        let _observing = bus
            .subscribe(Box::new(move |_| {
                let _ = gone.recv();
            }))
            .unwrap();
        bus.open().unwrap();
        assert_eq!(bus.close(ended, Duration::from_millis(10)), Closed::Stuck);
        drop(go);
    }

    #[test]
    fn who_does_not_want_to_know_any_more_is_told_nothing() {
        let bus = Bus::new();
        let (send, seen) = mpsc::channel();
        drop(bus.subscribe(Box::new(move |event| send.send(event.clone()).unwrap())).unwrap());
        bus.open().unwrap();
        bus.tell(|| stage(1));
        assert_eq!(bus.close(ended, LONG), Closed::Well);
        assert_eq!(seen.iter().count(), 0);
    }
}
