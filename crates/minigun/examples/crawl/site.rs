//! A site of linked pages, served on this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use minigun::Failure;

/// How many pages there are. All of them can be reached from the first.
pub(crate) const PAGES: usize = 300;
/// Links to pages that are not there.
pub(crate) const DEAD_LINKS: usize = 3;

/// A server with a thread of its own.
pub(crate) struct Site {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// How often each page was given.
    served: HashMap<usize, u32>,
    /// Pages to which it has once said that it is too busy.
    refused: HashMap<usize, u32>,
}

impl Site {
    pub(crate) fn start() -> Result<Site, minigun::Error> {
        let unavailable = |source| minigun::Error::Thread { stage: "the site".to_string(), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(unavailable)?;
        let address = listener.local_addr().map_err(unavailable)?;
        let (over, log) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Log::default())));
        let (told, book) = (Arc::clone(&over), Arc::clone(&log));
        let thread = thread::spawn(move || {
            for connection in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away meanwhile is its own loss.
                drop(connection.map_err(Failure::from).and_then(|connection| answer(connection, &book)));
            }
        });
        Ok(Site { address, over, thread, log })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the server: how often it gave each page, and how often it said that it was busy.
    pub(crate) fn end(self) -> (HashMap<usize, u32>, u32) {
        self.over.store(true, Ordering::SeqCst);
        // It waits for a connection; here is one.
        drop(TcpStream::connect(self.address));
        drop(self.thread.join());
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut log.served), log.refused.values().sum())
    }
}

fn answer(connection: TcpStream, log: &Mutex<Log>) -> Result<(), Failure> {
    let mut lines = BufReader::new(&connection).lines();
    let request = lines.next().ok_or("no request")??;
    // The rest of the head says nothing of interest, but closing before it is read would reset the connection.
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let number = path.strip_prefix("/page/").and_then(|number| number.parse::<usize>().ok());
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, body) = match number.filter(|number| *number < PAGES) {
        // Every seventh is too busy when first asked.
        Some(number) if number % 7 == 3 && log.refused.insert(number, 1).is_none() => {
            ("503 Service Unavailable", String::new())
        }
        Some(number) => {
            *log.served.entry(number).or_default() += 1;
            ("200 OK", page(number))
        }
        None => ("404 Not Found", String::new()),
    };
    drop(log);
    write!(&connection, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    Ok(())
}

/// A page with links onward, back, and to itself; a few lead nowhere.
fn page(number: usize) -> String {
    let dead = (1..=DEAD_LINKS).filter(|dead| number == dead * 50).map(|dead| PAGES + dead);
    let onward = [2 * number + 1, 2 * number + 2, number * 31 % PAGES, number / 2, number];
    let links: String = onward
        .into_iter()
        .filter(|number| *number < PAGES)
        .chain(dead)
        .map(|to| format!("<li><a href=\"/page/{to}\">page {to}</a></li>\n"))
        .collect();
    format!("<html><h1>page {number}</h1><ul>\n{links}</ul></html>\n")
}
