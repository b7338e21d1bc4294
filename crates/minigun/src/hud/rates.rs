//! How fast figures grow, from readings of them at any moments.

use std::collections::VecDeque;
use std::time::Duration;

/// Readings that are looked back on.
const WINDOW: Duration = Duration::from_secs(2);

/// Between two values of the history.
const STEP: Duration = Duration::from_millis(500);

/// Values of the history that are kept.
const KEPT: usize = 120;

/// The rates of figures that only grow, one of each stage.
#[derive(Default)]
pub(super) struct Rates {
    readings: VecDeque<(Duration, Vec<u64>)>,
    histories: Vec<Vec<f64>>,
    next_step: Duration,
}

impl Rates {
    /// Takes a reading; gives back each figure's growth a second over the last [`WINDOW`].
    pub(super) fn read(&mut self, now: Duration, figures: Vec<u64>) -> Vec<f64> {
        // One reading from before the window stays, to look back over all of it.
        while self.readings.get(1).is_some_and(|(then, _)| *then + WINDOW <= now) {
            self.readings.pop_front();
        }
        let since = |(then, before): &(Duration, Vec<u64>)| {
            let seconds = now.saturating_sub(*then).as_secs_f64();
            let growth = figures.iter().zip(before).map(|(now, before)| now.saturating_sub(*before));
            growth.map(|n| if seconds > 0.0 { n as f64 / seconds } else { 0.0 }).collect::<Vec<_>>()
        };
        let rates = self.readings.front().map_or_else(|| vec![0.0; figures.len()], since);
        self.histories.resize(rates.len(), Vec::new());
        if now >= self.next_step {
            self.next_step = now + STEP;
            for (history, rate) in self.histories.iter_mut().zip(&rates) {
                if history.len() == KEPT {
                    history.remove(0);
                }
                history.push(*rate);
            }
        }
        self.readings.push_back((now, figures));
        rates
    }

    /// Each figure's past rates, the newest last.
    pub(super) fn history(&self, figure: usize) -> &[f64] {
        self.histories.get(figure).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_rate_is_the_growth_over_the_window_however_often_it_is_read() {
        for step in [50, 250, 1000] {
            let mut rates = Rates::default();
            let mut last = Vec::new();
            for now in (0..=10_000).step_by(step) {
                last = rates.read(at(now), vec![now / 10, 7]);
            }
            assert_eq!(last, [100.0, 0.0], "read every {step} ms");
        }
    }

    #[test]
    fn what_stops_growing_has_no_rate_after_the_window() {
        let mut rates = Rates::default();
        rates.read(at(0), vec![0]);
        assert_eq!(rates.read(at(1000), vec![100]), [100.0]);
        rates.read(at(2000), vec![100]);
        assert_eq!(rates.read(at(3000), vec![100]), [0.0]);
    }

    #[test]
    fn the_first_reading_has_no_rate_and_the_history_is_bounded() {
        let mut rates = Rates::default();
        assert_eq!(rates.read(at(5), vec![1000]), [0.0]);
        for now in 1..1000 {
            rates.read(at(5 + now * 500), vec![1000 + now]);
        }
        assert_eq!(rates.history(0).len(), KEPT);
        assert_eq!(rates.history(0).last(), Some(&2.0));
        assert!(rates.history(9).is_empty());
    }
}
