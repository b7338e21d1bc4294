//! A block as the builder leaves it: its ways out, and the points of the graph it hangs on.

use std::rc::Rc;
use std::sync::Arc;

use crate::graph::{BlockId, Graph, PointId, StageId};
use crate::stage::exit::{Exit, TypedExit};
use crate::stage::guard::Border;
use crate::stage::sink::MakeSink;
use crate::sync::Mutex;
use crate::wire::WireFns;

/// A block under construction: its ways out are found as its closure uses them.
pub struct BlockDef {
    pub(crate) id: BlockId,
    pub(crate) outer: Option<Arc<BlockDef>>,
    /// Its policy retries or skips, which must not reach what follows the block.
    pub(crate) bordered: bool,
    /// The blocks around it.
    pub(crate) depth: u16,
    pub(crate) exits: Mutex<Vec<Arc<dyn Exit>>>,
}

impl BlockDef {
    /// A way out of this block to `outside`, as the steps inside see it.
    pub(crate) fn exit<V: Send + 'static>(
        self: &Arc<Self>,
        outside: MakeSink<V>,
        wire: Option<WireFns<V>>,
    ) -> MakeSink<V> {
        let mut exits = self.exits.lock();
        let depth = self.depth;
        let outside: MakeSink<V> = if self.bordered {
            Arc::new(move |cx| Ok(Box::new(Border { behind: outside(cx)?, depth, tx: Rc::clone(&cx.tx) })))
        } else {
            outside
        };
        let exit = Arc::new(TypedExit { block: self.id, index: exits.len() as u16, outside, wire });
        exits.push(Arc::clone(&exit) as Arc<dyn Exit>);
        exit.inside()
    }

    /// A way out of this block and all around it, to a place in the program.
    pub(crate) fn way_out<V: Send + 'static>(
        block: Option<&Arc<Self>>,
        target: MakeSink<V>,
        wire: Option<WireFns<V>>,
    ) -> MakeSink<V> {
        match block {
            None => target,
            Some(block) => {
                let outside = BlockDef::way_out(block.outer.as_ref(), target, wire);
                block.exit(outside, wire)
            }
        }
    }
}

/// A point of the graph as builders pass it on: the typed sink and its number.
pub(crate) struct Spot<T> {
    pub(crate) point: Arc<crate::stage::sink::Point<T>>,
    pub(crate) id: PointId,
}

impl<T> Clone for Spot<T> {
    fn clone(&self) -> Self {
        Spot { point: Arc::clone(&self.point), id: self.id }
    }
}

impl<T: Send + 'static> Spot<T> {
    pub(crate) fn new(
        graph: &mut Graph,
        from: Vec<StageId>,
        through: Vec<PointId>,
        inlet: Option<String>,
    ) -> Self {
        Spot { point: crate::stage::sink::Point::new(), id: graph.point(from, through, inlet) }
    }

    /// Builds the sink for what arrives here.
    pub(crate) fn make(&self) -> MakeSink<T> {
        let point = Arc::clone(&self.point);
        Arc::new(move |cx| point.sink(cx))
    }
}
