//! What a step does with items: a closure, or something that must be told of more.

use std::time::Instant;

use super::output::Output;
use crate::failure::Failure;

/// What a step does with an item: a closure, or something that must be told of the end.
pub(crate) trait StepRun<T, U> {
    /// Whether it sends to ports, too: what they lead to may come back to where its own output goes.
    const PORTS: bool = false;

    fn run(&mut self, item: T, out: &mut Output<U>) -> Result<(), Failure>;

    /// As [`run`](Self::run), of items one after the other, as long as `over` goes on; that is told how each ended, and how
    /// much of it was sent to ports. Here, so that a step can keep at hand what every item changes.
    #[inline(always)]
    fn each<B>(
        &mut self,
        items: &mut (impl Iterator<Item = T> + ?Sized),
        out: &mut Output<U>,
        mut over: impl FnMut(&mut Output<U>, Result<u64, Failure>) -> Result<(), B>,
    ) -> Result<(), B> {
        for item in items {
            let outcome = self.run(item, out);
            let emitted = self.emitted();
            over(out, outcome.map(|()| emitted))?;
        }
        Ok(())
    }

    /// What was sent to ports since the last call.
    fn emitted(&mut self) -> u64 {
        0
    }

    /// How many items are under way behind the ports.
    fn load(&mut self) -> usize {
        0
    }

    /// Everything else is at rest: what the step holds is emitted now.
    fn rest(&mut self, out: &mut Output<U>) -> Result<(), Failure> {
        let _ = out;
        Ok(())
    }

    /// When it lets go of what it keeps, though nothing more may arrive.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// It is that time.
    fn ripen(&mut self, now: Instant, out: &mut Output<U>) {
        let _ = (now, out);
    }

    /// The worker ends: what the step still holds is emitted now.
    fn finish(&mut self, out: &mut Output<U>) -> Result<(), Failure> {
        let _ = out;
        Ok(())
    }
}

impl<T, U, F> StepRun<T, U> for F
where
    F: FnMut(T, &mut Output<U>) -> Result<(), Failure>,
{
    #[inline(always)]
    fn run(&mut self, item: T, out: &mut Output<U>) -> Result<(), Failure> {
        self(item, out)
    }
}
