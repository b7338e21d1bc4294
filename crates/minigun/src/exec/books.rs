//! Whether every item has an outcome: what is compared at the end of a run.

use std::sync::Arc;

use crate::error::Error;
use crate::queue::Queue;

/// Compares what the senders, the queues and the workers counted, each by itself.
pub(crate) fn balance<T>(
    name: &str,
    queues: &[Arc<Queue<T>>],
    figures: crate::stats::StageFigures,
) -> Result<(), Error> {
    let sent = queues.iter().fold(0, |sent: u64, queue| sent.wrapping_add(queue.sent()));
    let (mut taken, mut left) = (0, 0);
    for queue in queues {
        let (t, l) = queue.taken_and_left();
        (taken, left) = (taken + t, left + l);
    }
    let outcomes = figures.completed + figures.skipped + figures.dead + figures.abandoned;
    if sent == taken + left && taken == outcomes {
        return Ok(());
    }
    let outcomes = format!(
        "; {} completed, {} skipped, {} dead, {} abandoned",
        figures.completed, figures.skipped, figures.dead, figures.abandoned
    );
    Err(books_differ(name, sent, taken, left, &outcomes))
}

pub(crate) fn books_differ(name: &str, sent: u64, taken: u64, left: u64, outcomes: &str) -> Error {
    let detail = format!("{sent} sent, {taken} taken, {left} left in the queue{outcomes}");
    Error::Books { stage: name.to_string(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Pop, Sender};
    use crate::stats::StageFigures;

    #[test]
    fn the_books_balance_only_if_every_item_taken_was_sent_and_has_one_outcome() {
        let queue = Arc::new(Queue::new(10, false));
        let sender = Sender::new(&queue);
        (0..5).for_each(|n| sender.send(n).unwrap());
        let mut run = Vec::new();
        assert!(matches!(queue.pop(&mut run, 4), Pop::Run(0)));
        let queue = [queue];
        let right = StageFigures { completed: 1, skipped: 1, dead: 1, abandoned: 1, ..Default::default() };
        assert!(balance("stage", &queue, right).is_ok());
        let lost = StageFigures { dead: 0, ..right };
        let twice = StageFigures { completed: 2, ..right };
        for wrong in [lost, twice] {
            let error = balance("stage", &queue, wrong).unwrap_err().to_string();
            assert!(error.contains("`stage`") && error.contains("5 sent, 4 taken, 1 left"), "{error}");
        }
        // A sender that counted one item less than the queue took.
        queue[0].add_sent(u64::MAX);
        assert!(balance("stage", &queue, right).is_err());
    }
}
