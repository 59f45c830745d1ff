//! Percentile bootstrap (Efron 1979) with a fixed seed: the same results give the same report.

/// Resamples of a bootstrap interval: its ends move by about a hundredth of its width from more.
const RESAMPLES: usize = 2000;

/// Clips that a difference must be seen on before it is called one: the fewest that agree in sign by chance in less than
/// 5 % (2⁻⁵). With fewer, the ends of an interval are hardly more than the extremes.
pub const CLIPS_LEAST: usize = 6;

/// A value with its 95 % bootstrap interval, which a single observation does not have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Median, mean, or what else was asked for.
    pub value: f64,
    /// 2.5 and 97.5 percentile.
    pub interval: Option<(f64, f64)>,
}

impl Estimate {
    /// Whether the interval leaves out `value`: the difference is more than chance.
    pub fn excludes(&self, value: f64) -> bool {
        self.interval.is_some_and(|(low, high)| value < low || value > high)
    }
}

/// A statistic of `values`; none of nothing.
pub fn estimate(values: &[f64], statistic: fn(&mut [f64]) -> f64) -> Option<Estimate> {
    let of = |places: &[usize]| {
        let mut chosen: Vec<f64> = places.iter().map(|&place| values[place]).collect();
        statistic(&mut chosen)
    };
    (!values.is_empty()).then(|| resampled(values.len(), of))
}

/// A statistic of several numbers a clip, all resampled together: `statistic` is given the places of the clips drawn.
/// Differences taken inside it are paired.
pub fn resampled(clips: usize, statistic: impl Fn(&[usize]) -> f64) -> Estimate {
    let all: Vec<usize> = (0..clips).collect();
    let value = statistic(&all);
    if clips < 2 {
        return Estimate { value, interval: None };
    }
    let mut draws = Draws::new();
    let mut places = all;
    let mut statistics: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            places.fill_with(|| draws.below(clips));
            statistic(&places)
        })
        .collect();
    statistics.sort_by(f64::total_cmp);
    let at = |share: f64| statistics[(share * (RESAMPLES - 1) as f64).round() as usize];
    let interval = Some((at(0.025), at(0.975)));
    Estimate { value, interval }
}

/// xorshift64 (Marsaglia 2003), always from the same seed.
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new() -> Draws {
        Draws(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`, from the high bits, which are the good ones.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) as usize * bound) >> 32
    }
}

/// The middle value, or the mean of the two.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// Arithmetic mean.
pub fn mean(values: &mut [f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
