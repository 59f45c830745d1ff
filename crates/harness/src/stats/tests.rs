use super::ranks::critical_range;
use super::*;

fn curve(name: &str, points: &[(&[f64], &[f64])]) -> Curve {
    let point = |(speedups, qualities): &(&[f64], &[f64])| Point {
        speedups: speedups.to_vec(),
        qualities: qualities.to_vec(),
    };
    Curve {
        name: name.into(),
        points: points.iter().map(point).collect(),
    }
}

#[test]
fn the_interval_of_a_mean_is_about_two_standard_errors_wide() {
    let values: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
    let (low, high) = estimate(&values, mean).unwrap().interval.unwrap();
    // Uniform on 0..20: sd 5.77, standard error .288, so 9.5 ± .565; a bootstrap of 2000 is within a tenth.
    assert!(
        (low - (9.5 - 0.565)).abs() < 0.06 && (high - (9.5 + 0.565)).abs() < 0.06,
        "{low} {high}"
    );
}

#[test]
fn a_single_observation_has_no_interval() {
    let one = estimate(&[3.0], median).unwrap();
    assert_eq!((one.value, one.interval), (3.0, None));
    assert_eq!(estimate(&[], mean), None);
    assert!(!one.excludes(0.0), "without an interval nothing is certain");
}

/// Clips differ by 20 dB, the policies by exactly 2 on every clip: unpaired intervals would hide it.
#[test]
fn differences_are_paired_by_clip() {
    let speeds = |x: f64| [x; 4];
    let base = [20.0, 30.0, 40.0, 25.0];
    let shifted = |by: f64| base.map(|q| q + by);
    let reference = curve("reference", &[(&speeds(1.5), &base), (&speeds(2.5), &shifted(-4.0))]);
    let policy = curve(
        "policy",
        &[(&speeds(1.5), &shifted(2.0)), (&speeds(2.5), &shifted(-2.0))],
    );
    let found = compare(&policy, &reference, 4, &[2.0, 3.0]).unwrap();
    assert_eq!(found.range, (1.5, 2.5));
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let (low, high) = found.gain.interval.unwrap();
    assert!(
        close(found.gain.value, 2.0) && close(low, 2.0) && close(high, 2.0),
        "{found:?}"
    );
    assert!(close(found.gain_at[0].unwrap().value, 2.0));
    assert!(found.gain_at[1].is_none(), "3× is beyond both curves");
    assert!(close(found.height - found.reference_height, 2.0));
    assert!(found.gain.excludes(0.0));
}

/// Quality falls 4 dB for each 1× of speed: 2 dB more are half a unit of speed.
#[test]
fn at_equal_quality_the_better_policy_is_faster() {
    let reference = curve("reference", &[(&[1.0], &[40.0]), (&[3.0], &[32.0])]);
    let policy = curve("policy", &[(&[2.0], &[38.0])]);
    let found = compare(&policy, &reference, 1, &[]).unwrap();
    assert_eq!(found.gain.value, 2.0);
    // The reference has 38 dB on the line through (40, ln 1) and (32, ln 3): a quarter of the way.
    let expected = 2.0 / 3f64.powf(0.25);
    assert!((found.faster.unwrap().value - expected).abs() < 1e-12);
}

#[test]
fn curves_that_do_not_meet_are_not_compared() {
    let slow = curve("slow", &[(&[1.1], &[40.0]), (&[1.2], &[39.0])]);
    let fast = curve("fast", &[(&[2.0], &[40.0]), (&[3.0], &[39.0])]);
    assert!(compare(&fast, &slow, 1, &[1.5]).is_none());
    let point = curve("point", &[(&[2.5], &[40.0])]);
    assert!(
        compare(&fast, &point, 1, &[]).is_none(),
        "a point is no reference curve"
    );
}

/// Two linear pieces: 10 at 1, 0 at 2, 10 at 3 have the mean height 5 and, from 1 to 2, 5 as well.
#[test]
fn the_area_follows_the_line_between_the_points() {
    let valley = curve("valley", &[(&[1.0], &[10.0]), (&[2.0], &[0.0]), (&[3.0], &[10.0])]);
    let flat = curve("flat", &[(&[1.0], &[1.0]), (&[3.0], &[1.0])]);
    let found = compare(&valley, &flat, 1, &[1.5]).unwrap();
    assert!((found.height - 5.0).abs() < 1e-12 && (found.gain.value - 4.0).abs() < 1e-12);
    assert_eq!(found.gain_at[0].unwrap().value, 4.0);
}

/// Demšar (2006), table 5: q at 5 % for 2 to 10 methods, three digits.
#[test]
fn critical_values_are_those_of_the_published_table() {
    let published = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164];
    for (k, expected) in (2..).zip(published) {
        let q = critical_range(k) / 2f64.sqrt();
        assert!((q - expected).abs() < 1e-3, "{k}: {q} and {expected}");
    }
}

#[test]
fn a_method_that_always_wins_has_rank_one_and_the_ranks_are_no_chance() {
    let clips: Vec<Vec<f64>> = (0..8).map(|clip| vec![30.0, 50.0 + f64::from(clip), 40.0]).collect();
    let ranking = rank(&clips).unwrap();
    assert_eq!(ranking.ranks, [3.0, 1.0, 2.0]);
    // One of 6⁷ arrangements: no shuffle is expected to reach it.
    assert!(ranking.p < 0.001, "{}", ranking.p);
    // 2.343 · √(3·4 / (6·8))
    assert!((ranking.critical_difference - 1.1715).abs() < 1e-3);
}

#[test]
fn methods_that_are_alike_share_their_rank() {
    let ranking = rank(&[vec![1.0, 1.0], vec![2.0, 2.0]]).unwrap();
    assert_eq!((ranking.ranks, ranking.p), (vec![1.5, 1.5], 1.0));
    assert_eq!(rank(&[vec![1.0, 2.0]]), None, "one clip ranks nothing");
}

/// ± 1 % from four values: t is 3.182, the deviation of the logarithms .01155, so exp(3.182 · √2 · .01155) = 1.0533.
#[test]
fn two_values_are_expected_apart_as_the_others_are() {
    let spread = pair_spread(&[99.0, 101.0, 99.0, 101.0]).unwrap();
    assert!((spread - 1.0533).abs() < 1e-4, "{spread}");
    // Two values tell little: 12.706 in place of 3.182.
    assert!(pair_spread(&[99.0, 101.0]).unwrap() > 1.25);
    assert_eq!(pair_spread(&[100.0]), None);
}

/// Two settings, clips 10 dB apart, `by` dB better than 40 dB more for all the work.
fn priced(by: f64) -> Priced {
    let trial = |share: f64, qualities: [f64; 2]| Trial {
        compute: vec![share; 2],
        speedups: vec![1.0 / share; 2],
        qualities: qualities.map(|quality| quality + by).to_vec(),
    };
    Priced {
        trials: vec![trial(0.75, [65.0, 55.0]), trial(0.25, [45.0, 35.0])],
        scale: |db| db,
    }
}

#[test]
fn the_cost_of_a_quality_is_read_between_settings_and_never_beyond() {
    let policy = priced(0.0);
    assert_eq!(policy.cost(Cost::Compute, 50.0, 2), Some(0.5));
    // A quarter of the way from 4× at 40 dB to 4/3× at 60.
    let speedup = policy.cost(Cost::Speedup, 45.0, 2).unwrap();
    assert!((speedup - 10.0 / 3.0).abs() < 1e-12, "{speedup}");
    assert_eq!(policy.cost(Cost::Compute, 39.9, 2), None);
    assert_eq!(policy.cost(Cost::Compute, 60.1, 2), None);
}

#[test]
fn a_policy_whose_every_setting_is_better_needs_no_more_than_its_cheapest() {
    let policy = priced(0.0);
    let cheapest = policy.cost(Cost::Compute, 40.0, 2);
    assert_eq!(policy.cost_at_most(Cost::Compute, 30.0, 2), cheapest);
    assert_eq!(
        policy.cost_at_most(Cost::Speedup, 30.0, 2),
        policy.cost(Cost::Speedup, 40.0, 2)
    );
    for reached_or_not in [40.0, 50.0, 60.0, 61.0] {
        assert_eq!(policy.cost_at_most(Cost::Compute, reached_or_not, 2), None);
    }
}

#[test]
fn what_is_saved_at_equal_quality_is_paired_by_clip() {
    let (policy, other) = (priced(0.0), priced(-4.0));
    let saving = policy.saving(&other, Cost::Compute, 50.0, 2).unwrap();
    assert!((saving.value - 1.2).abs() < 1e-12, "{saving:?}");
    // .475 / .375 on the better clip, .725 / .625 on the other; unpaired from .475 / .625 to .725 / .375.
    let (low, high) = saving.interval.unwrap();
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(close(low, 0.725 / 0.625) && close(high, 0.475 / 0.375), "{saving:?}");
    assert_eq!(
        policy.saving(&other, Cost::Compute, 57.0, 2),
        None,
        "the other does not reach it"
    );
    let slower = other.saving(&policy, Cost::Speedup, 50.0, 2).unwrap();
    assert!(slower.value < 1.0);
}

#[test]
fn the_share_of_a_gain_is_read_at_equal_compute() {
    let (control, policy, upper) = (priced(0.0), priced(6.0), priced(8.0));
    assert_eq!(policy.quality(0.5, 2), Some(56.0));
    assert_eq!(policy.quality(0.8, 2), None);
    let share = policy.share_of_gain(&control, &upper, 0.5, 2).unwrap();
    // The same on every clip, however far the clips are apart.
    let (low, high) = share.interval.unwrap();
    assert!(
        [share.value, low, high]
            .iter()
            .all(|share| (share - 0.75).abs() < 1e-12),
        "{share:?}"
    );
    assert_eq!(policy.share_of_gain(&control, &upper, 0.2, 2), None);
    assert_eq!(
        policy.share_of_gain(&control, &control, 0.5, 2),
        None,
        "a share of nothing"
    );
}
