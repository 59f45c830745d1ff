//! One axis: values to pixels, and ticks at numbers a person would choose.

/// Values `low..high` along pixels `from..to`.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    from: i32,
    to: i32,
    log: bool,
}

impl Axis {
    /// A linear axis around `values` with a margin at both ends.
    pub fn linear(values: impl Iterator<Item = f64>, from: i32, to: i32) -> Axis {
        let (low, high) = span(values);
        let margin = ((high - low) * 0.07).max(1e-3);
        Axis {
            low: low - margin,
            high: high + margin,
            from,
            to,
            log: false,
        }
    }

    /// A logarithmic axis around the positive ones of `values`, at least a decade long.
    pub fn log(values: impl Iterator<Item = f64>, from: i32, to: i32) -> Axis {
        let (low, high) = span(values.filter(|&x| x > 0.0).map(f64::log10));
        let margin = ((high - low) * 0.07).max((1.0 - (high - low)) / 2.0).max(0.05);
        Axis {
            low: low - margin,
            high: high + margin,
            from,
            to,
            log: true,
        }
    }

    /// Pixel of `value`; what lies outside is drawn at the edge.
    pub fn pixel(&self, value: f64) -> i32 {
        let at = if self.log { value.max(1e-300).log10() } else { value };
        let share = ((at - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        (f64::from(self.from) + share * f64::from(self.to - self.from)).round() as i32
    }

    /// Whether `value` lies on the axis.
    pub fn holds(&self, value: f64) -> bool {
        let at = if self.log { value.log10() } else { value };
        (self.low..=self.high).contains(&at)
    }

    /// Round numbers along the axis with their text.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let values = if self.log {
            self.log_ticks()
        } else {
            self.linear_ticks()
        };
        values.into_iter().map(|value| (value, number(value))).collect()
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|&step| step >= rough)
            .unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = self.low.floor() as i32..=self.high.ceil() as i32;
        let factors: &[f64] = if self.high - self.low > 3.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let all = decades.flat_map(|decade| factors.iter().map(move |f| f * 10f64.powi(decade)));
        all.filter(|&value| self.holds(value)).collect()
    }
}

/// A number without noise from its binary form: three significant digits are enough on a tick or beside a marker.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let digits = (2 - value.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    text.to_string()
}

fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|x| x.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_axis() {
        let text = |axis: Axis| axis.ticks().into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        let linear = Axis::linear([1.0, 2.9].into_iter(), 0, 100);
        assert_eq!(text(linear), ["1", "1.5", "2", "2.5", "3"]);
        let log = Axis::log([0.004, 0.3].into_iter(), 0, 100);
        assert_eq!(text(log), ["0.005", "0.01", "0.02", "0.05", "0.1", "0.2"]);
    }

    #[test]
    fn a_logarithmic_axis_puts_decades_at_equal_distances() {
        let axis = Axis::log([0.001, 0.1].into_iter(), 0, 1000);
        let [a, b, c] = [0.001, 0.01, 0.1].map(|value| axis.pixel(value));
        assert!((b - a - (c - b)).abs() <= 1, "{a} {b} {c}");
    }

    #[test]
    fn numbers_are_written_as_people_write_them() {
        assert_eq!(
            [0.1 + 0.2, 3.0, 0.025, 1500.0, 0.0].map(number),
            ["0.3", "3", "0.025", "1500", "0"]
        );
    }
}
