//! A crawler: pages lead to pages, until there are no new ones. The site is a small HTTP server that this program starts.
//!
//! ```text
//! cargo run --example crawl
//! ```
//!
//! `feedback` is the loop: what is sent to its port goes round again, and it ends when nothing is on its way any more. In it,
//! `dedup_by` leaves out addresses that were seen, pages are fetched on threads (a busy server is asked again, a dead link is noted),
//! and parsed in worker processes, for who knows what pages are made of. The loop does not care: what is retried, or with a
//! worker that died, is still on its way.

mod site;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use minigun::{Backoff, Dead, Error, Failure, Pipeline, processes, threads};
use serde::{Deserialize, Serialize};
use site::{DEAD_LINKS, PAGES, Site};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    path: String,
    html: String,
}

/// What HTTP/1.0 asks of a client is little.
fn fetch(server: SocketAddr, path: &str) -> Result<Page, Failure> {
    let mut connection = TcpStream::connect(server)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(connection, "GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(Page { path: path.to_string(), html: body.to_string() }),
        _ => Err(head.lines().next().unwrap_or("an empty answer").to_string().into()),
    }
}

/// The addresses in a page.
fn links(page: &Page) -> impl Iterator<Item = &str> {
    page.html.split("<a href=\"").skip(1).filter_map(|rest| rest.split_once('"').map(|(path, _)| path))
}

fn main() -> Result<(), Error> {
    let site = Site::start()?;
    let server = site.address();

    let p = Pipeline::new("crawl");
    let (dead, letters) = p.inlet::<Dead<String>>("dead links");
    let followed = p.counter("links followed");
    let pages = p
        .source("seeds", ["/page/0".to_string()])
        .feedback("frontier", |addresses, again| {
            addresses
                .dedup_by(|path| path.clone())
                .on(
                    threads(8)
                        .retry(4, Backoff::exponential(Duration::from_millis(1), Duration::from_millis(10)))
                        .dead_letter(&dead),
                    |s| s.try_map("fetch", move |path: String| fetch(server, &path)),
                )
                .on(processes(2), |s| {
                    s.processor_to("links", &again, move |page: Page, out, again| {
                        // Some page brings every parser down. It gets a second chance, in another process.
                        if page.path == "/page/13" && minigun::attempt().is_some_and(|at| at.attempt == 1) {
                            std::process::abort();
                        }
                        for link in links(&page) {
                            followed.add(1);
                            again.emit(link.to_string());
                        }
                        out.emit(page.path);
                    })
                })
        })
        .collect("pages");
    let letters = letters.map("path", |letter| (letter.item, letter.error)).collect("dead ones");

    let mut report = p.run()?;
    println!("{report}");

    let pages = report.take(pages);
    let different: BTreeSet<_> = pages.iter().collect();
    assert_eq!((pages.len(), different.len()), (PAGES, PAGES), "every page, and each once");
    let (served, refused) = site.end();
    assert!(served.values().all(|times| *times == 1), "the server gave every page once: {served:?}");
    assert_eq!(served.len(), PAGES);
    assert!(refused > 0, "a busy server was asked again");
    let dead = report.take(letters);
    println!("{} links followed; dead: {dead:?}", report.count(&followed));
    assert_eq!(dead.len(), DEAD_LINKS);
    assert!(dead.iter().all(|(_, error)| error.contains("404")), "{dead:?}");
    println!("crawled {PAGES} pages, each fetched once, and came to an end");
    Ok(())
}
