//! What each policy decides, as literal traces on the mock: one letter a step (see [`mock::letters`]).

mod mock;
use mixcache_policies::plan::*;
use mixcache_policies::replay::Replay;
use mock::*;

/// Letters of the conditional and of the unconditional branch.
fn letters_of(policy: &mut dyn CachePolicy) -> [String; 2] {
    let trace = go(policy, run()).unwrap().trace;
    [letters(&trace, COND), letters(&trace, UNCOND)]
}

/// Both branches decide alike.
#[track_caller]
fn assert_both(text: &str, expected: &str) {
    assert_eq!(letters_of(&mut *policy(text)), [expected, expected], "{text}");
}

#[test]
fn off_computes_the_whole_chain_in_one_move_per_pass() {
    let trace = go(&mut *policy("kind = 'off'"), run()).unwrap().trace;
    assert_eq!(trace.len(), 2 * STEPS);
    assert!(trace.iter().all(|e| e.act == Move::compute(24)));
}

#[test]
fn fewer_steps_asks_for_a_coarser_grid_and_caches_nothing() {
    let mut fewer = policy("kind = 'fewer-steps'\nsteps = 7");
    assert_eq!(fewer.steps(STEPS), 7);
    assert_eq!(letters_of(&mut *fewer), ["FFFFFFFFFFFFFFFFFFFF"; 2]);
    assert_eq!(policy("kind = 'off'").steps(STEPS), STEPS);
}

#[test]
fn uniform_and_random_compute_as_many_steps_as_asked() {
    assert_both("kind = 'uniform'\ncomputed = 10", "FrrFrFrFrFrrFrFrFrFF");
    assert_both("kind = 'random'\ncomputed = 10", "FrrrFFFrrrFFFrFrrrFF");
    let other = letters_of(&mut *policy("kind = 'random'\ncomputed = 10\ndraw = 1"));
    assert_eq!(other[0].matches('F').count(), 10);
    assert_ne!(other[0], "FrrrFFFrrrFFFrFrrrFF");
}

#[test]
fn step_computes_every_nth_in_each_of_its_forms() {
    assert_both("kind = 'step'\ninterval = 3", "FrrFrrFrrFrrFrrFrrFF");
    assert_both("kind = 'step'\ninterval = 3\nform = 'output'", "FooFooFooFooFooFooFF");
    assert_both(
        "kind = 'step'\ninterval = 3\nform = 'output-minus-input'",
        "FxxFxxFxxFxxFxxFxxFF",
    );
}

#[test]
fn cfg_rebuilds_the_unconditional_branch_inside_its_window() {
    let text = "kind = 'cfg'\ninterval = 4\nfrom = 0.2\nto = 0.8";
    assert_eq!(
        letters_of(&mut *policy(text)),
        ["FFFFFFFFFFFFFFFFFFFF", "FFFFFuuuFuuuFuuuFFFF"]
    );
    let trace = go(&mut *policy(text), run()).unwrap().trace;
    let reuse = trace.iter().find(|e| e.at.step == 5 && e.at.branch == UNCOND).unwrap();
    let now = Term {
        weight: Weight::Flat(1.0),
        of: Source::Now { branch: COND },
    };
    let kept = |weight, branch| Term::kept(weight, Value::Output, branch, 0);
    let expected = Move::Reuse {
        value: Value::Output,
        terms: vec![now, kept(1.0, UNCOND), kept(-1.0, COND)],
    };
    assert_eq!(reuse.act, expected);
}

#[test]
fn block_runs_what_stands_around_its_range() {
    let text = "kind = 'block'\ninterval = 3\nfrom = 0.125\nto = 0.875";
    assert_both(text, "FbbFbbFbbFbbFbbFbbFF");
    let trace = go(&mut *policy(text), run()).unwrap().trace;
    let moves: Vec<&Move> = trace
        .iter()
        .filter(|e| e.at.step == 1 && e.at.branch == UNCOND)
        .map(|e| &e.act)
        .collect();
    let value = Value::Delta { from: 3, to: 21 };
    let reuse = Move::Reuse {
        value,
        terms: vec![Term::kept(1.0, value, UNCOND, 0)],
    };
    assert_eq!(moves, [&Move::compute(3), &reuse, &Move::compute(24)]);
}

#[test]
fn tea_computes_when_the_accumulated_change_reaches_the_threshold() {
    // The mock's signal changes by .017 to .024 a step: four to five of them reach .08.
    assert_both(
        "kind = 'tea'\nthreshold = 0.08\ncoefficients = 'identity'",
        "FrrrrFrrrrFrrrFrrrFF",
    );
    assert_both(
        "kind = 'tea'\nthreshold = 1.0\ncoefficients = 'identity'",
        "FrrrrrrrrrrrrrrrrrrF",
    );
}

#[test]
fn tea_looks_at_the_input_of_the_first_unit_where_the_polynomial_asks_for_it() {
    let text = "kind = 'tea'\nthreshold = 0.08\ncoefficients = 'identity-input'";
    assert_both(text, "FrrFrrFrrFrrFrrFrFrF");
    let outcome = go(&mut *policy(text), run()).unwrap();
    // A read a pass, but for the first of each branch, which has nothing to compare with.
    assert_eq!((outcome.costs.reads, outcome.costs.looks), (2 * STEPS - 2, 2 * STEPS));
}

#[test]
fn tea_warns_outside_the_calibrated_range_and_clamps_only_when_told_to() {
    let mut narrow = run();
    let mut data = (*narrow.data).clone();
    let negative = mixcache_policies::data::TeaCoefficients {
        polynomial: vec![1.0, -0.02], // negative below .02, where the first half of the mock lies
        range: [0.02, 1.0],
        ..data.tea["identity"].clone()
    };
    data.tea.insert("narrow".into(), negative);
    narrow.data = data.into();
    let decide = |clamp: bool| {
        let mut tea = policy(&format!(
            "kind = 'tea'\nthreshold = 0.002\ncoefficients = 'narrow'\nclamp = {clamp}"
        ));
        let trace = go(&mut *tea, narrow.clone()).unwrap().trace;
        (letters(&trace, COND), tea.warnings())
    };
    let (as_published, warnings) = decide(false);
    assert!(warnings[0].contains("outside 0.02..1"), "{warnings:?}");
    assert_eq!(as_published, "FrrrrrrrrrrrrrrrrrrF");
    assert_eq!(decide(true).0, "FrrrrrrrrrrrrrFrFFFF");
}

#[test]
fn first_blocks_compares_with_the_last_computed_step_in_each_branch() {
    let text = "kind = 'first-blocks'\nthreshold = 0.2";
    assert_eq!(
        letters_of(&mut *policy(text)),
        ["FbbbbFbbbFbbFbFbFFFF", "FbbbbbFbbbFbbFbFbFFF"]
    );
}

#[test]
fn first_blocks_honours_warm_up_and_limits() {
    let limits = "kind = 'first-blocks'\nthreshold = 0.3\nfirst = 2\nlast = 1\nwarmup = 3\nmax_continuous = 2";
    assert_both(limits, "FFFbbFbbFbbFbbFbFbFF");
    assert_both(
        "kind = 'first-blocks'\nthreshold = 0.3\nmax_cached = 4",
        "FbbbbFFFFFFFFFFFFFFF",
    );
}

/// MixCache with four-step intervals that begin at step 4, so that only its choice is under test.
const MIX: &str =
    "kind = 'mix'\ncalibration = 'mock'\nadaptive = false\ninterval = 4\ntrigger = 'fixed'\nwarmup_max = 0.2\n";

#[test]
fn mix_without_a_penalty_stays_on_one_granularity_through_an_interval() {
    assert_both(&format!("{MIX}penalty = 1.0"), "FFFFoooFoooFbbbFoooF");
}

#[test]
fn mix_with_a_penalty_on_the_last_used_lets_the_two_best_alternate() {
    assert_both(MIX, "FFFFoboFbobFoboFbobF");
}

#[test]
fn mix_with_a_cumulative_penalty_uses_all_three_within_an_interval() {
    let text = format!("{MIX}memory = 'cumulative'\nscope = 'interval'");
    assert_eq!(
        letters_of(&mut *policy(&text)),
        ["FFFFobFFobFFbobFobFF", "FFFFobuFobuFbobFobuF"]
    );
}

#[test]
fn mix_starts_when_the_change_is_small_and_adapts_its_interval() {
    // Never calm enough to start early (at 30 % it must), then always calm: the interval grows to five.
    assert_both(
        "kind = 'mix'\ncalibration = 'mock'\ncalm = 50.0\nrough = 90.0\nstart = 0.0",
        "FFFFFFobFoboFboboFbF",
    );
    // Starts at once, then always rough: the interval shrinks to two.
    let rough = "kind = 'mix'\ncalibration = 'mock'\ncalm = 0.0\nrough = 0.0\nstart = 90.0\ncfg = false";
    assert_both(rough, "FFooFbFoFbFoFbFoFbFF");
}

#[test]
fn mix_reads_the_device_once_for_each_full_step_that_informs_a_decision() {
    let outcome = go(&mut *policy(MIX), run()).unwrap();
    assert_eq!((outcome.costs.looks, outcome.costs.reads), (4, 4)); // full at 3, 7, 11, 15; 19 informs nobody
    let seen: Vec<usize> = outcome.trace.iter().map(|e| e.seen.len()).filter(|&n| n > 0).collect();
    assert_eq!(seen, [4; 4]); // block in both branches, prediction, branch difference
}

#[test]
fn mix_weighs_the_cost_when_asked() {
    let text = format!("{MIX}penalty = 1.0\ncost_exponent = 8.0");
    assert_both(&text, "FFFFoooFoooFoooFoooF");
}

#[test]
fn replay_makes_the_recorded_moves() {
    let trace = go(&mut *policy(MIX), run()).unwrap().trace;
    assert_eq!(letters_of(&mut Replay::new(&trace))[0], "FFFFoboFbobFoboFbobF");
}

/// What `text` decides on the mock, as a trace file would hold it.
fn recorded(text: &str) -> mixcache_policies::data::Recorded {
    let run = run();
    mixcache_policies::data::Recorded {
        model: run.model.clone(),
        source: text.into(),
        steps: run.steps(),
        branches: run.branches,
        blocks: run.units.iter().map(|unit| unit.block).collect(),
        events: go(&mut *policy(text), run).unwrap().trace,
    }
}

#[test]
fn a_trace_file_decides_as_its_policy_did_and_stretches_over_a_deeper_model() {
    let block = "kind = 'block'\ninterval = 3\nfrom = 0.25\nto = 0.75";
    let mut run = run();
    let mut data = (*run.data).clone();
    data.traces.insert("block".into(), recorded(block));
    run.data = data.into();
    let mut same = policy("kind = 'trace'\ntrace = 'block'");
    let (decided, played) = (go(&mut *policy(block), run.clone()), go(&mut *same, run.clone()));
    assert_eq!(decided.unwrap().latent, played.unwrap().latent);

    run.units = (0..60)
        .map(|i| Unit {
            block: i / 3,
            ..run.units[i % 3]
        })
        .collect(); // 20 blocks for 8
    let trace = go(&mut *same, run).unwrap().trace;
    let reused: Vec<&Move> = trace
        .iter()
        .map(|e| &e.act)
        .filter(|act| matches!(act, Move::Reuse { .. }))
        .collect();
    let middle = Value::Delta { from: 15, to: 45 };
    assert!(
        !reused.is_empty()
            && reused
                .iter()
                .all(|act| matches!(act, Move::Reuse { value, .. } if *value == middle))
    );
}

#[test]
fn a_trace_of_another_model_or_of_other_steps_is_refused_by_name() {
    let refused = |change: fn(&mut Run), text: &str| {
        let mut run = run();
        let mut data = (*run.data).clone();
        data.traces.insert("off".into(), recorded("kind = 'off'"));
        run.data = data.into();
        change(&mut run);
        policy(text).begin(&run).unwrap_err().to_string()
    };
    let (plain, foreign) = (
        "kind = 'trace'\ntrace = 'off'",
        "kind = 'trace'\ntrace = 'off'\nforeign = true",
    );
    let other = |run: &mut Run| run.model = "other".into();
    assert!(refused(other, plain).contains("belongs to mock"));
    let shorter = |run: &mut Run| run.timesteps.truncate(5);
    assert!(refused(shorter, foreign).contains("over 20 steps with 2 passes each, this run has 5"));
    let shallower = |run: &mut Run| run.units.truncate(3);
    assert!(refused(shallower, foreign).contains("8 blocks, this model has 1"));
}
