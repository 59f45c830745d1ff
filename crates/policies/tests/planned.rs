//! PlanCache: its forecast, its budget, what it refuses.

mod mock;
use mixcache_policies::data::Moments;
use mixcache_policies::plan::*;
use mock::*;
use std::sync::Arc;

/// The run with other moments.
fn run_with(change: impl FnOnce(&mut Moments)) -> Run {
    let mut run = run();
    let mut data = (*run.data).clone();
    change(data.moments.get_mut("mock").unwrap());
    run.data = Arc::new(data);
    run
}

/// Moments of predictions `p_s = a + b·s`, the same in both branches, with `a` and `b` orthogonal.
fn straight(moments: &mut Moments) {
    let moment = |i: usize, j: usize| 1.0 + 0.01 * (i / 2) as f64 * (j / 2) as f64;
    moments.moments = (0..2 * STEPS)
        .map(|i| (0..=i).map(|j| moment(i, j)).collect())
        .collect();
}

#[test]
fn predictions_on_a_line_are_continued_along_it() {
    let outcome = go(
        &mut *policy("kind = 'planned'\nmoments = 'mock'\ncompute = 0.5\ncfg = false\ndepth = 2"),
        run_with(straight),
    )
    .unwrap();
    let mut full: Vec<usize> = vec![];
    for event in outcome.trace.iter().filter(|event| event.at.branch == COND) {
        let step = event.at.step;
        match &event.act {
            Move::Reuse { terms, .. } if full.len() > 1 => {
                let weights: Vec<f32> = terms
                    .iter()
                    .map(|term| match term.weight {
                        Weight::Flat(weight) => weight,
                        _ => panic!("a flat weight"),
                    })
                    .collect();
                let share = (step - full[0]) as f32 / (full[0] - full[1]) as f32;
                // The ridge of 1e-7 against the squares of a slope of 0.1.
                assert!(
                    (weights[0] - (1.0 + share)).abs() < 1e-3 && (weights[1] + share).abs() < 1e-3,
                    "{step}: {weights:?}"
                );
            }
            Move::Reuse { .. } => {}
            _ => full.insert(0, step),
        }
    }
    assert_eq!(full.len(), STEPS / 2);
}

#[test]
fn the_budget_is_used_up_and_never_exceeded() {
    for compute in [0.4, 0.6, 0.8] {
        let text = format!("kind = 'planned'\nmoments = 'mock'\ncompute = {compute}");
        let outcome = go(&mut *policy(&text), run()).unwrap();
        let share = outcome.costs.flops / run().total_flops();
        // A step in full is 5 %, and less is computed only where nothing is gained by more.
        assert!(
            share <= compute + 1e-9 && share > compute - 0.05,
            "{share} of {compute}"
        );
    }
}

#[test]
fn errors_that_grow_are_avoided() {
    let skipped_early = |run: Run| {
        let trace = go(
            &mut *policy("kind = 'planned'\nmoments = 'mock'\ncompute = 0.5\ncfg = false"),
            run,
        )
        .unwrap()
        .trace;
        letters(&trace, COND)[..STEPS / 2].matches('o').count()
    };
    let alike = skipped_early(run_with(|m| m.gain = vec![1.0; STEPS]));
    let growing = skipped_early(run_with(|m| {
        m.gain = (0..STEPS).map(|s| if s < STEPS / 2 { 30.0 } else { 1.0 }).collect()
    }));
    assert!(
        growing < alike,
        "{growing} skipped in the first half, {alike} when all errors count alike"
    );
}

#[test]
fn moments_of_another_run_are_refused_with_both() {
    let refused = |run: Run, compute: &str| {
        let text = format!("kind = 'planned'\nmoments = 'mock'\ncompute = {compute}");
        policy(&text).begin(&run).unwrap_err().to_string()
    };
    let guidance = refused(run_with(|m| m.guidance = 7.5), "0.5");
    assert!(
        guidance.contains("guidance 7.5") && guidance.contains("has 5"),
        "{guidance}"
    );
    let schedule = refused(run_with(|m| m.sigmas = vec![1.0, 0.5]), "0.5");
    assert!(
        schedule.contains("2 noise levels") && schedule.contains("20 noise levels"),
        "{schedule}"
    );
    let budget = refused(run(), "0.1");
    assert!(
        budget.contains("4 of 40 passes do not reach the end with `gap = 5`"),
        "{budget}"
    );
}

#[test]
fn a_plan_can_be_given_by_its_letters_and_is_read_back() {
    let letters = "FFFuoFooFFooFooFuoFF";
    let mut policy = mixcache_policies::planned::Planned::new("mock", 1.0);
    policy.plan = letters.into();
    let outcome = go(&mut policy, run()).unwrap();
    assert_eq!(policy.letters(), letters);
    assert_eq!(
        self::letters(&outcome.trace, UNCOND).replace('u', "o"),
        letters.replace('u', "o")
    );
    for (plan, reason) in [
        ("FFoF", "4 letters"),
        ("ooFFFFFFFFFFFFFFFFFF", "found `o` for step 0"),
        (
            "FFxFFFFFFFFFFFFFFFFF",
            "found `x` for step 2, expected one of F, o, u (",
        ),
    ] {
        policy.plan = plan.into();
        let refused = policy.begin(&run()).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}

fn with_blocks(blocks: &[(char, [usize; 2])], plan: &str) -> mixcache_policies::planned::Planned {
    let mut policy = mixcache_policies::planned::Planned::new("mock", 1.0);
    policy.blocks = blocks.iter().copied().collect();
    policy.plan = plan.into();
    policy
}

#[test]
fn the_walk_counts_the_operations_that_a_plan_promises() {
    let plan = "FFFbFocaoFubFoFccoFF";
    let mut policy = with_blocks(&[('a', [0, 8]), ('b', [2, 6]), ('c', [5, 8])], plan);
    let alphabet = policy.alphabet(&run()).unwrap();
    let promised: f64 = plan.chars().map(|letter| alphabet[&letter]).sum();
    let outcome = go(&mut policy, run()).unwrap();
    // Sums of a few hundred terms in f64.
    assert!(
        (outcome.costs.flops / promised - 1.0).abs() < 1e-12,
        "{} of {promised}",
        outcome.costs.flops
    );
    assert_eq!(policy.letters(), plan);
}

/// What they add is forecast with weights that add up to 1, so what never changes is met whatever they are.
#[test]
fn blocks_that_add_the_same_in_every_step_are_reused_without_error() {
    let constant = |letter: char| {
        let (mut policy, mut run) = (
            with_blocks(&[('b', [2, 6])], &format!("FFF{letter}FF{}", "F".repeat(14))),
            run(),
        );
        run.timesteps = vec![500.0; STEPS];
        run.sigmas = vec![1.0; STEPS];
        let mut moments = (*run.data).clone();
        moments.moments.get_mut("mock").unwrap().sigmas = run.sigmas.clone();
        run.data = Arc::new(moments);
        go(&mut policy, run).unwrap().latent
    };
    let (exact, reused) = (constant('F'), constant('b'));
    // The mock's state feeds back a little, and f32 rounds.
    assert!((exact - reused).abs() < 1e-4, "{reused} for {exact}");
}

#[test]
fn a_range_that_makes_no_sense_is_refused_with_what_would() {
    let plan = "F".repeat(STEPS);
    for (blocks, reason) in [
        (
            &[('b', [6, 2])][..],
            "`blocks`: `b=6..2`: expected a range of the 8 blocks",
        ),
        (&[('b', [2, 9])], "`blocks`: `b=2..9`: expected a range of the 8 blocks"),
        (&[('u', [2, 6])], "`blocks`: `u`: expected a letter from a to z"),
        (&[('B', [2, 6])], "`blocks`: `B`: expected a letter from a to z"),
        (
            &[('b', [2, 6]), ('c', [2, 6])],
            "`blocks`: `c=2..6`: another letter has this range",
        ),
    ] {
        let refused = with_blocks(blocks, &plan).begin(&run()).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    let unknown = with_blocks(&[('b', [2, 6])], "FFcFFFFFFFFFFFFFFFFF")
        .begin(&run())
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("found `c` for step 2, expected one of F, b, o, u"),
        "{unknown}"
    );
    let idle = with_blocks(&[('b', [2, 6])], "").begin(&run()).unwrap_err().to_string();
    assert!(idle.contains("`blocks` without `plan`"), "{idle}");
}
