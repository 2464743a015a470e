//! Interleaved rounds: in each, everybody is timed once, and each round begins with another.
//!
//! On a machine that others use too, minutes differ; neighbours within a round differ little. So
//! ratios are taken within rounds, and the median over rounds is reported. What is read is the
//! processor time of this thread: it stands still while another program has the processor.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// One who is timed: does its thing as many times as it is told.
pub type Timed<'a> = Box<dyn FnMut(usize) + 'a>;

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    /// How long one turn lasts.
    pub turn: Duration,
}

/// Nanoseconds per item, one number per round.
#[derive(Clone)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn median(&self) -> f64 {
        quantile(self.0.clone(), 0.5)
    }

    /// The quartiles: half of all rounds lie between them.
    pub fn quartiles(&self) -> (f64, f64) {
        (quantile(self.0.clone(), 0.25), quantile(self.0.clone(), 0.75))
    }

    /// How many times faster `other` is: the median of the rounds' ratios.
    pub fn over(&self, other: &Self) -> f64 {
        quantile(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine / theirs).collect(), 0.5)
    }
}

/// Times all of them; the series come in their order.
pub fn interleaved(timed: &mut [Timed<'_>], effort: Effort) -> Vec<Series> {
    let counts: Vec<usize> = timed.iter_mut().map(|run| calibrate(run, effort.turn)).collect();
    let mut series = vec![Series(Vec::with_capacity(effort.rounds)); timed.len()];
    for round in 0..effort.rounds {
        for turn in 0..timed.len() {
            let who = (round + turn) % timed.len();
            let elapsed = time(&mut timed[who], counts[who]);
            series[who].0.push(elapsed.as_nanos() as f64 / counts[who] as f64);
        }
    }
    series
}

/// How many items fill a turn. Warms up on the way.
fn calibrate(run: &mut Timed<'_>, turn: Duration) -> usize {
    let mut count = 1;
    loop {
        let elapsed = time(run, count);
        if elapsed >= turn / 4 {
            let per_item = elapsed.as_secs_f64() / count as f64;
            return ((turn.as_secs_f64() / per_item) as usize).max(1);
        }
        count *= 2;
    }
}

fn time(run: &mut Timed<'_>, count: usize) -> Duration {
    let start = processor_time();
    run(count);
    processor_time().saturating_sub(start)
}

fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = q * (values.len() - 1) as f64;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_rounds() {
        let series = Series(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(series.median(), 2.5);
        assert_eq!(series.quartiles(), (1.75, 3.25));
    }

    #[test]
    fn a_ratio_is_taken_within_rounds() {
        let (slow, fast) = (Series(vec![10.0, 40.0, 30.0]), Series(vec![5.0, 10.0, 10.0]));
        assert_eq!(slow.over(&fast), 3.0);
    }
}
