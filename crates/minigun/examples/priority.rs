//! Priority: what is urgent has a way of its own, and so never waits behind what is not.
//!
//! ```text
//! cargo run --example priority
//! ```
//!
//! A queue serves its items in order, so priority is a matter of having several: a port for each class, with as many
//! workers as that class deserves. Here a ticket that says "fire" comes last of all, and is done first.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar};

use minigun::{Error, Pipeline};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    Urgent,
    Normal,
    Idle,
}

#[derive(Clone, Debug)]
struct Ticket {
    id: usize,
    priority: Priority,
}

/// Opens when the last urgent ticket is done: it makes visible what else only a stopwatch would show.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap_or_else(|broken| broken.into_inner()) = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let mut open = self.0.lock().unwrap_or_else(|broken| broken.into_inner());
        while !*open {
            open = self.1.wait(open).unwrap_or_else(|broken| broken.into_inner());
        }
    }
}

const TICKETS: usize = 90;

fn main() -> Result<(), Error> {
    let p = Pipeline::new("help desk");
    let (urgent, urgent_tickets) = p.inlet::<Ticket>("urgent");
    let (normal, normal_tickets) = p.inlet::<Ticket>("normal");
    let (idle, idle_tickets) = p.inlet::<Ticket>("idle");

    // The urgent ones come last.
    let tickets = (0..TICKETS).map(|id| Ticket {
        id,
        priority: match id {
            id if id >= TICKETS - 10 => Priority::Urgent,
            id if id % 2 == 0 => Priority::Normal,
            _ => Priority::Idle,
        },
    });
    p.source("tickets", tickets).router(
        "sort",
        (&urgent, &normal, &idle),
        |ticket: Ticket, (urgent, normal, idle)| match ticket.priority {
            Priority::Urgent => urgent.emit(ticket),
            Priority::Normal => normal.emit(ticket),
            Priority::Idle => idle.emit(ticket),
        },
    );

    // Nobody else begins before the last urgent ticket is done. If those had to wait behind the others, this would
    // never end.
    let (gate, left) = (Arc::new(Gate::default()), AtomicUsize::new(10));
    let (first, second) = (Arc::clone(&gate), Arc::clone(&gate));
    let urgent = urgent_tickets.threads(4, move |s| {
        s.map("firefighters", move |ticket| {
            if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                gate.open();
            }
            ticket
        })
    });
    let normal = normal_tickets.threads(2, move |s| {
        s.map("desk", move |ticket| {
            first.pass();
            ticket
        })
    });
    let idle = idle_tickets.threads(1, move |s| {
        s.map("trainee", move |ticket| {
            second.pass();
            ticket
        })
    });

    let done = urgent.merge([normal, idle]).collect("done");
    let mut report = p.run()?;
    println!("{report}");
    let done = report.take(done);
    let mut ids: Vec<_> = done.iter().map(|ticket| ticket.id).collect();
    ids.sort();
    assert_eq!(ids, (0..TICKETS).collect::<Vec<_>>(), "every ticket once");
    let counts = [Priority::Urgent, Priority::Normal, Priority::Idle]
        .map(|priority| done.iter().filter(|ticket| ticket.priority == priority).count());
    assert_eq!(counts, [10, 40, 40]);
    println!("{TICKETS} tickets, the 10 urgent ones came last and were done first");
    Ok(())
}
