//! Loops: work that finds more work.
//!
//! **Why a loop ends.** A queue ends when its last sender is gone, and in a circle that would be never. So the end of a
//! loop has a rule of its own, told in [`in_flight`](crate::in_flight): it has ended when nothing is in flight in it and
//! nothing can come from outside. Loops that lead into each other end together.
//!
//! **Why a loop cannot block itself.** All queues are bounded, so a worker may have to wait for room in the next one. Cut
//! every way back ([`frontier`](crate::stage::frontier)): what is left of the graph has no circle, for a circle without a
//! `feedback` is refused. Now suppose that workers wait for room, in a circle or not. Of the queues they wait for, take
//! one that lies last along the flow. What fills it are items that can be taken: nobody keeps room in it who waits for
//! room elsewhere, because an attempt that has outputs for several queues lets go first what has room
//! ([`tx`](crate::stage::tx)), and what a sender takes ahead is never all there is. Those who take from it wait for no
//! queue further along, or that one would lie later; and they do not wait for a way back, because sending there waits for
//! nobody. So they take, and there is room. What else holds items ends by itself: a wait for the next attempt or for a rate
//! by the clock, a batch when everything else is at rest, the window of an ordered block when its first item is done,
//! which has been taken and so is one of those above.
//!
//! **Why memory is bounded.** What the way back cannot keep in memory goes to files, unnamed and gone with the run. What was
//! sent back has the right of way at the head of the loop: while it fills the queue there, nothing new is let in. So what a
//! loop has in memory are its queues, what its attempts hold back, and [`LOOP_MEMORY`](crate::defaults::LOOP_MEMORY) at
//! either end of the way back.

use std::sync::Arc;

use super::flow::Flow;
use super::port::Port;
use super::scope::{Joins, Scope};
use crate::exec::{FeedbackNode, ThreadsNode};
use crate::plan::Spot;
use crate::stage::output::Output;
use crate::wire::{Wire, WireFns};

// The bounds stand on the method: on the impl it would be a missing method, without the traits' explanations.
impl<T: Send + 'static, S: Scope> Flow<T, S> {
    /// A loop: `body` gets this flow, joined by everything that is sent to the port, and gives what leaves the loop.
    ///
    /// ```
    /// # use minigun::Pipeline;
    /// // Halves even numbers until they are odd.
    /// let p = Pipeline::new("odd parts");
    /// let odd = p
    ///     .source("numbers", [40u32, 7, 96])
    ///     .feedback("halves", |numbers, again| {
    ///         numbers.threads(2, |s| {
    ///             s.processor_to("halve", &again, |n, out, again| {
    ///                 if n % 2 == 0 { again.emit(n / 2) } else { out.emit(n) }
    ///             })
    ///         })
    ///     })
    ///     .collect("odd");
    /// let mut odd = p.run()?.take(odd);
    /// odd.sort();
    /// assert_eq!(odd, [3, 5, 7]);
    /// # Ok::<(), minigun::Error>(())
    /// ```
    ///
    /// The port can be used by any stage, in any kind of block, of the body or elsewhere, and sending to it never waits; blocks of every kind may stand
    /// in the loop, with any policy. Items go round in the order in which they were sent back, those from outside
    /// when there is room beside them.
    ///
    /// **Its end:** when the flow before it has ended and nothing is in flight in the loop any more. An item is in flight
    /// from its arrival until its attempt has committed, or a policy has set it aside; what it sent back is in flight
    /// before that. A batch in the loop that is waiting for more items is let go when everything else is at rest.
    ///
    /// **What waits to go round** is kept encoded (as [`Format::Tagged`](crate::Format::Tagged)), up to
    /// [`LOOP_MEMORY`](crate::defaults::LOOP_MEMORY) at either end in memory and the rest in files without a name in
    /// the system's folder for temporary files; so a loop never waits for itself, however many items an item makes. A stage
    /// outside the loop that sends to the port waits no more than one in it does: how much lies in files is for what it
    /// sends to bound.
    /// If such a file fails, the run ends with [`Error::Loop`](crate::Error::Loop). That is why items must be [`Wire`]. An
    /// item that cannot be encoded fails the attempt that sent it, in the same way as what follows a block does.
    ///
    /// **A stop** ([`Handle::stop`](crate::Handle::stop)) ends the going round: what waits for it then, and what is sent back later, is
    /// abandoned and counted so at the stage `name`. What is in the loop's queues is finished.
    ///
    /// A `feedback` to which nothing is ever sent back, and a circle of ports without a `feedback`, are mistakes in the
    /// wiring.
    pub fn feedback<R>(self, name: &str, body: impl FnOnce(Flow<T, S>, Port<T>) -> R) -> R
    where
        T: Wire,
        S: Joins,
    {
        let home = Arc::clone(&self.home);
        let (stage, back, head) = home.graph(|graph| {
            let stage = graph.stage(name, "feedback", None);
            let back = Spot::<T>::new(graph, Vec::new(), Vec::new(), Some(name.to_string()));
            graph.goes_back_from(back.id);
            graph.consume(self.spot.id, None);
            graph.consume(back.id, None);
            let head = Spot::<T>::new(graph, Vec::new(), vec![self.spot.id, back.id], None);
            (stage, back, head)
        });
        let (node, arrive) = ThreadsNode::single(&head, (stage, name), home.config.queue);
        let (feedback, send_back) = FeedbackNode::new(node.queue(), WireFns::new(), (stage, name), head.id);
        home.add(Some(Box::new(node)));
        home.add(Some(Box::new(feedback)));
        self.spot.point.attach(arrive);
        back.point.attach(send_back);
        let flow = Flow::at(&home, head, None).step_at(stage, name, |_| {
            Ok(|item: T, out: &mut Output<T>| {
                out.emit(item);
                Ok(())
            })
        });
        body(flow, Port { home, spot: back })
    }
}
