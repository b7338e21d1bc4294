//! Every clone of a flow gets every item, so items must be `Clone`.
use minigun::Pipeline;

struct Page;

fn main() {
    let p = Pipeline::new("fan out");
    let pages = p.source("pages", [Page]);
    pages.clone().discard();
    pages.discard();
}
