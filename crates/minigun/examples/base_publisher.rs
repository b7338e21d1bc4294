//! One base, several publishers: a trait whose default methods are the steps of a pipeline, and two variants that
//! override some of them.
//!
//! ```text
//! cargo run --example base_publisher
//! ```
//!
//! There is no machinery for inheritance: a step is a function from flow to flow, and Rust's traits do the rest. A
//! variant changes what it names and nothing else; each pipeline is built anew, so the base stays what
//! it is.

use minigun::scope::Scope;
use minigun::{Collector, Done, Error, Flow, Pipeline, Report, Segment};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Article {
    title: String,
    text: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Post(String);

/// A step for any place: it can be used on the program's own threads, in a thread block, in a worker process.
fn without_empty<S: Scope>(articles: Flow<Article, S>) -> Flow<Article, S> {
    articles.filter("not empty", |article| !article.text.is_empty())
}

/// The base: read, clean, render in worker processes, publish.
trait Publisher {
    fn articles(&self, p: &Pipeline) -> Flow<Article> {
        p.source("articles", [("One", "first"), ("Two", ""), ("Three", "third")].map(article))
    }

    /// Runs in worker processes.
    fn render(&self, articles: Segment<Article>) -> Segment<Post> {
        articles.map("render", |a| Post(format!("<h1>{}</h1>{}", a.title, a.text)))
    }

    fn publish(&self, posts: Flow<Post>, shelf: Collector<Post>) -> Done {
        posts.consumer("publish", move |post| shelf.push(post))
    }

    /// The pipeline, the same for every variant.
    fn run(&self) -> Result<(Vec<Post>, Report), Error> {
        let p = Pipeline::new("publisher");
        let shelf = p.collector("posts");
        let posts = without_empty(self.articles(&p)).processes(2, |s| self.render(s));
        self.publish(posts, shelf);
        let mut report = p.run()?;
        let mut posts = report.take(shelf);
        posts.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((posts, report))
    }
}

fn article((title, text): (&str, &str)) -> Article {
    Article { title: title.to_string(), text: text.to_string() }
}

/// The base as it is.
struct Web;
impl Publisher for Web {}

/// Another way to render: an item of a feed.
struct Feed;
impl Publisher for Feed {
    fn render(&self, articles: Segment<Article>) -> Segment<Post> {
        articles.then(without_empty).map("rss", |a| Post(format!("<item>{}</item>", a.title)))
    }
}

/// Another source, and posts that leave in batches.
struct Digest {
    size: usize,
}
impl Publisher for Digest {
    fn articles(&self, p: &Pipeline) -> Flow<Article> {
        p.source("archive", (1..=5).map(|n| article((&format!("No. {n}"), "old"))).collect::<Vec<_>>())
    }

    fn publish(&self, posts: Flow<Post>, shelf: Collector<Post>) -> Done {
        posts.batch(self.size).threads(2, |s| {
            s.consumer("send digest", move |posts: Vec<Post>| {
                shelf.push(Post(format!("digest of {}", posts.len())));
            })
        })
    }
}

fn main() -> Result<(), Error> {
    let web = [Post("<h1>One</h1>first".to_string()), Post("<h1>Three</h1>third".to_string())];
    let variants: [(&str, Box<dyn Publisher>); 4] = [
        ("web", Box::new(Web)),
        ("feed", Box::new(Feed)),
        ("digest", Box::new(Digest { size: 2 })),
        ("web again", Box::new(Web)),
    ];
    for (name, publisher) in &variants {
        let (posts, report) = publisher.run()?;
        println!("{name}: {posts:?}");
        let stages: Vec<_> = report.stages().iter().map(|stage| stage.name.as_str()).collect();
        match *name {
            "feed" => {
                assert_eq!(posts, ["<item>One</item>", "<item>Three</item>"].map(|s| Post(s.to_string())))
            }
            "digest" => {
                assert_eq!(posts, ["digest of 1", "digest of 2", "digest of 2"].map(|s| Post(s.to_string())))
            }
            _ => {
                assert_eq!(posts, web, "the base is what it was, whatever the variants did");
                assert_eq!(stages, ["articles", "not empty", "render", "publish"]);
            }
        }
    }
    println!("one base, {} publishers, base unchanged", variants.len() - 1);
    Ok(())
}
