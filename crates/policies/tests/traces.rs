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
    let expected = Move::reuse(Value::Output, vec![now, kept(1.0, UNCOND), kept(-1.0, COND)]);
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
    let reuse = Move::reuse(value, vec![Term::kept(1.0, value, UNCOND, 0)]);
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

#[test]
fn mag_counts_the_passes_of_its_warm_up_and_the_steps_it_skips() {
    // Errors .02, .060, .118, .196 of the conditional ratio .98; .03, .089, .176 of the unconditional .97.
    let loose = letters_of(&mut *policy("kind = 'mag'\nratios = 'mock'\nmax_skip = 9"));
    assert_eq!(loose, ["FFFFrrrFrrrFrrrFrrrF", "FFFFrrFrrFrrFrrFrrFF"]);
    assert_both("kind = 'mag'\nratios = 'mock'\nmax_skip = 1", "FFFFrFrFrFrFrFrFrFrF");
    assert_both(
        "kind = 'mag'\nratios = 'mock'\nthreshold = 9.0\nmax_skip = 3",
        "FFFFrrrFrrrFrrrFrrrF",
    );
}

#[test]
fn easy_decides_for_both_branches_with_one_read_a_step() {
    let text = "kind = 'easy'\nthreshold = 0.1\nwarmup = 4";
    assert_both(text, "FFFFxxFxxFxFxFFFFFFF");
    let outcome = go(&mut *policy(text), run()).unwrap();
    assert_eq!((outcome.costs.reads, outcome.costs.looks), (15, 15)); // steps 4 to 18
    assert_eq!(outcome.costs.peak_bytes, 6 * LATENT_BYTES); // no hidden state
}

#[test]
fn sea_decides_for_both_branches_and_limits_reuse_in_a_row() {
    assert_both("kind = 'sea'\nthreshold = 0.15", "FrFrFrFrFFFFFFFFFFFF");
    assert_both(
        "kind = 'sea'\nthreshold = 2.0\nmax_continuous = 2",
        "FrrFrrFrrFrrFrrFrrFF",
    );
}

#[test]
fn first_blocks_goes_by_mask_cap_and_shared_decision() {
    let with = |more: &str| format!("kind = 'first-blocks'\nthreshold = 0.2\n{more}");
    assert_eq!(
        letters_of(&mut *policy(&with("mask = 'medium'"))),
        ["FFFFFFbFFbbFFFbFFFFF", "FFFFFFbFFbbFFFbFbFFF"]
    );
    assert_both(&with("mask = 'medium'\nmask_static = true"), "FFFFFFbFFbbbFFbbbFbF");
    // Once the measured changes add up to the cap, everything is computed.
    assert_eq!(
        letters_of(&mut *policy(&with("max_accumulated = 0.5"))),
        ["FbbbbFFFFFFFFFFFFFFF", "FbbbbbFFFFFFFFFFFFFF"]
    );
    assert_both(&with("shared_cfg = true"), "FbbbbFbbbFbbFbFbFFFF");
    let outcome = go(&mut *policy(&with("shared_cfg = true")), run()).unwrap();
    assert!(
        outcome
            .trace
            .iter()
            .all(|e| e.at.branch == COND || !matches!(e.act, Move::Look { .. }))
    );
}

#[test]
fn di_extrapolates_between_its_last_two_residuals() {
    let text = "kind = 'di'\nthreshold = 0.3";
    assert_both(text, "FFFFbbFbbFbFbFbFFFFF");
    let trace = go(&mut *policy(text), run()).unwrap().trace;
    let reuse = trace.iter().find(|e| matches!(e.act, Move::Reuse { .. })).unwrap();
    let Move::Reuse { value, terms, .. } = &reuse.act else {
        unreachable!()
    };
    assert_eq!(*value, Value::Delta { from: 3, to: 24 });
    let [own, last, before] = terms.as_slice() else {
        panic!("{terms:?}")
    };
    let (Weight::Flat(own), Weight::Flat(last), Weight::Flat(before)) = (own.weight, last.weight, before.weight) else {
        panic!("{terms:?}")
    };
    assert_eq!((own, last + before), (-1.0, 1.0));
    assert!((1.0..=2.0).contains(&last), "{last}");
}

#[test]
fn bw_reuses_for_a_tenth_of_the_steps_and_computes_the_second_half_of_what_is_left() {
    // Calm after step 1; of the 18 steps left, the last nine are computed.
    assert_both("kind = 'bw'\nthreshold = 0.2", "FFrrFFrrFFrFFFFFFFFF");
    let outcome = go(&mut *policy("kind = 'bw'\nthreshold = 0.2"), run()).unwrap();
    assert_eq!(outcome.costs.reads, 5); // one for all blocks of a step
}

#[test]
fn block_dance_begins_behind_its_shallow_blocks_inside_its_window() {
    assert_both("kind = 'block-dance'", "FFFFFFFFFsFsFsFsFsFF");
    let trace = go(&mut *policy("kind = 'block-dance'"), run()).unwrap().trace;
    let moves: Vec<&Move> = trace
        .iter()
        .filter(|e| e.at.step == 9 && e.at.branch == COND)
        .map(|e| &e.act)
        .collect();
    let value = Value::State { unit: 12 };
    assert_eq!(
        moves,
        [
            &Move::reuse(value, vec![Term::kept(1.0, value, COND, 0)]),
            &Move::compute(24)
        ]
    );
}

#[test]
fn delta_dit_reuses_the_back_blocks_first_and_the_front_blocks_later() {
    assert_both("kind = 'delta-dit'", "FbbFbbFbbFbbFbbFbbFF");
    let trace = go(&mut *policy("kind = 'delta-dit'"), run()).unwrap().trace;
    let reused_at = |step: usize| {
        let values = trace.iter().filter(|e| e.at.step == step && e.at.branch == COND);
        values
            .filter_map(|e| {
                if let Move::Reuse { value, .. } = e.act {
                    Some(value)
                } else {
                    None
                }
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(reused_at(8), [Value::Delta { from: 12, to: 24 }]);
    assert_eq!(reused_at(10), [Value::Delta { from: 0, to: 12 }]);
}

/// What each unit of a block did in each step: '1' computed, '0' reused.
fn units_run(trace: &[Event], branch: usize, kind: usize) -> String {
    let mut bits = vec!['0'; STEPS];
    for event in trace.iter().filter(|e| e.at.branch == branch) {
        if let Move::Compute { to, .. } = event.act
            && (event.at.unit..to).any(|unit| unit < 24 && unit % 3 == kind)
        {
            bits[event.at.step] = '1';
        }
    }
    bits.into_iter().collect()
}

#[test]
fn pab_computes_cross_attention_less_often_than_self_attention_inside_a_window_of_timesteps() {
    let trace = go(&mut *policy("kind = 'pab'"), run()).unwrap().trace;
    for branch in [COND, UNCOND] {
        // Timesteps 1000, 950, …: 850 and 100 themselves lie outside.
        assert_eq!(units_run(&trace, branch, 0), "11111010101010101011");
        assert_eq!(units_run(&trace, branch, 1), "11110010000010000011");
        assert_eq!(units_run(&trace, branch, 2), "1".repeat(STEPS));
    }
}

#[test]
fn faster_rebuilds_the_unconditional_branch_with_weights_that_multiply_up() {
    let text = "kind = 'faster'\ninterval = 1\ncfg_interval = 4\nlow_boost = 1.2\nhigh_boost = 1.1";
    assert_eq!(
        letters_of(&mut *policy(text)),
        ["FFFFFFFFFFFFFFFFFFFF", "FFFFFFuuFuuuFuuuFuFF"]
    );
    let trace = go(&mut *policy(text), run()).unwrap().trace;
    let bands = |step: usize| {
        let event = trace
            .iter()
            .find(|e| e.at.step == step && e.at.branch == UNCOND)
            .unwrap();
        let Move::Reuse { terms, .. } = &event.act else {
            panic!("{event:?}")
        };
        terms[1].weight
    };
    assert_eq!(bands(6), Weight::Bands { low: 1.2, high: 1.0 }); // low frequencies in the first half
    assert_eq!(
        bands(7),
        Weight::Bands {
            low: 1.2 * 1.2,
            high: 1.0
        }
    );
    assert_eq!(bands(9), Weight::Bands { low: 1.2, high: 1.0 }); // afresh after a step with both branches
    assert_eq!(
        bands(11),
        Weight::Bands {
            low: 1.2,
            high: 1.1 * 1.1
        }
    ); // high ones in the second
}

#[test]
fn faster_adds_what_it_extrapolated_to_the_history() {
    let trace = go(&mut *policy("kind = 'faster'\ncfg_interval = 1"), run())
        .unwrap()
        .trace;
    let reuse = trace.iter().find(|e| matches!(e.act, Move::Reuse { .. })).unwrap();
    let value = Value::Raw { unit: 0 };
    let terms = vec![Term::kept(1.5, value, COND, 0), Term::kept(-0.5, value, COND, 1)];
    assert_eq!(
        (reuse.at.step, &reuse.act),
        (
            7,
            &Move::Reuse {
                value,
                terms,
                kept: true,
                lacked: vec![],
            }
        )
    );
}

#[test]
fn ada_looks_the_interval_up_in_its_codebook() {
    assert_both("kind = 'ada'", "FFrrrrrFrrrrrFrrrrFF");
    assert_both("kind = 'ada'\ncodebook = 'slow'", "FFrrFrrFrrFrrFrrFrFF");
    assert_both("kind = 'ada'\nscale = 8.0", "FFFrFrrrFrrrrFFFFFFF");
}

#[test]
fn guidance_policies_drop_the_unconditional_branch_late() {
    let [cond, uncond] = letters_of(&mut *policy("kind = 'adaptive-guidance'\nthreshold = 0.9\nwarmup = 12"));
    assert_eq!(
        [cond.as_str(), uncond.as_str()],
        ["FFFFFFFFFFFFFFFFFFFF", "FFFFFFFFFFFFuuuuuuuF"]
    );
    let [cond, uncond] = letters_of(&mut *policy("kind = 'guidance-interval'\nfrom = 0.1\nto = 0.3"));
    assert_eq!(
        [cond.as_str(), uncond.as_str()],
        ["FFFFFFFFFFFFFFFFFFFF", "FuFFFFuuuuuuuuuuuuuF"]
    );
    // ε = ε_c + w·(ε_c − ε_c): the very prediction, so the guidance scale has no say.
    let trace = go(&mut *policy("kind = 'guidance-interval'\nto = 0.0"), run())
        .unwrap()
        .trace;
    let unguided = Move::reuse(
        Value::Output,
        vec![Term {
            weight: Weight::Flat(1.0),
            of: Source::Now { branch: COND },
        }],
    );
    assert!(trace.iter().any(|e| e.act == unguided));
}

#[test]
fn mix_with_a_forecast_keeps_no_more_reads_no_more_and_reuses_from_both_full_steps() {
    let (plain, forecast) = (
        "kind = 'mix'\ncalibration = 'mock'",
        "kind = 'mix'\ncalibration = 'mock'\norder = 1",
    );
    let [plain, forecast] = [plain, forecast].map(|text| go(&mut *policy(text), run()).unwrap());
    assert_eq!(plain.claimed_bytes, forecast.claimed_bytes);
    assert_eq!(plain.costs.reads, forecast.costs.reads);
    let terms = |outcome: &Outcome| {
        let of_outputs = outcome.trace.iter().filter_map(|event| match &event.act {
            Move::Reuse {
                value: Value::Output,
                terms,
                ..
            } => Some(terms.len()),
            _ => None,
        });
        of_outputs.max()
    };
    // A whole step from one prediction or from two; an unconditional branch with two for each of those, and this step's.
    assert!(
        terms(&plain) <= Some(3) && terms(&forecast) > terms(&plain),
        "{:?}, {:?}",
        terms(&plain),
        terms(&forecast)
    );
}
