//! Step masks of cache-dit (vipshop/cache-dit@f86744a `cache_interface.py`, "SCM"): which steps are computed, as
//! runs of computed and of cached steps by turns, published for 28 steps and stretched to others.

use crate::plan::Unfit;

/// A published mask by its name (`slow`, `medium`, `fast`, `ultra`), or one digit a step; true = computed.
pub(crate) fn mask(text: &str, steps: usize) -> Result<Vec<bool>, Unfit> {
    if !text.is_empty() && text.chars().all(|digit| matches!(digit, '0' | '1')) {
        return match text.len() {
            digits if digits == steps => Ok(text.chars().map(|digit| digit == '1').collect()),
            digits => Err(Unfit(format!(
                "`mask`: found {digits} digits, expected one for each of {steps} steps"
            ))),
        };
    }
    let Some(preset) = ["slow", "medium", "fast", "ultra"]
        .iter()
        .position(|name| *name == text)
    else {
        return Err(Unfit(format!(
            "`mask = {text}`: expected slow, medium, fast, ultra, or one digit, 0 or 1, a step"
        )));
    };
    let table = match steps {
        16.. => LONG,
        10.. => SHORT,
        _ => {
            return Err(Unfit(format!(
                "`mask = {text}`: named masks are for 10 steps and more, this run has {steps}"
            )));
        }
    };
    let [mut computed, mut cached] = table[preset].map(<[usize]>::to_vec);
    stretch(&mut computed, &mut cached, steps);
    cut(&mut computed, &mut cached, steps);
    let length = |runs: &[usize], i: usize| runs.get(i).copied().unwrap_or(0);
    let runs =
        (0..computed.len().max(cached.len())).flat_map(|i| [(true, length(&computed, i)), (false, length(&cached, i))]);
    let mut mask: Vec<bool> = runs
        .flat_map(|(is_computed, length)| std::iter::repeat_n(is_computed, length))
        .collect();
    mask[steps - 1] = true;
    Ok(mask)
}

/// Runs of computed and of cached steps, from the noisiest on.
type Runs = [&'static [usize]; 2];

/// For 28 steps.
const LONG: [Runs; 4] = [
    [&[8, 3, 3, 2, 1, 1], &[1, 2, 2, 2, 3]],
    [&[6, 2, 2, 2, 2, 1], &[1, 3, 3, 3, 3]],
    [&[6, 1, 1, 1, 1, 1], &[1, 3, 4, 5, 4]],
    [&[4, 1, 1, 1, 1], &[2, 5, 6, 7]],
];

/// For 15 steps.
const SHORT: [Runs; 4] = [
    [&[4, 2, 2, 2, 1], &[1, 1, 1, 1]],
    [&[4, 2, 1, 1, 1], &[1, 1, 2, 2]],
    [&[3, 1, 1, 1, 1], &[1, 2, 2, 3]],
    [&[2, 1, 1, 1, 1], &[1, 2, 3, 3]],
];

/// Lengthens one run after the other, each by half the share by which the steps have grown, at least by
/// one, and round again, until they cover `steps`.
fn stretch(computed: &mut [usize], cached: &mut [usize], steps: usize) {
    let published = [computed.to_vec(), cached.to_vec()];
    let covered = |a: &[usize], b: &[usize]| a.iter().chain(b).sum::<usize>() >= steps;
    let longer = |length: usize| ((length as f64 * (steps as f64 / 28.0 * 0.5)) as usize).max(1);
    while !covered(computed, cached) {
        for i in 0..cached.len() {
            computed[i] += longer(published[0][i]);
            if covered(computed, cached) {
                return;
            }
            cached[i] += longer(published[1][i]);
            if covered(computed, cached) {
                return;
            }
        }
        if let Some(last) = computed.last_mut() {
            *last += 1;
        }
    }
}

/// Shortens the last runs, cached and computed by turns, until they cover no more than `steps`.
fn cut(computed: &mut Vec<usize>, cached: &mut Vec<usize>, steps: usize) {
    let mut excess = (computed.iter().sum::<usize>() + cached.iter().sum::<usize>()).saturating_sub(steps);
    while excess > 0 {
        for runs in [&mut *cached, &mut *computed] {
            let Some(last) = runs.last_mut().filter(|_| excess > 0) else {
                continue;
            };
            *last -= 1;
            excess -= 1;
            if *last == 0 {
                runs.pop();
            }
        }
    }
}
