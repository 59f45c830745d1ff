//! What holds for every policy.

mod mock;
use mixcache_policies::PolicySpec;
use mixcache_policies::plan::*;
use mixcache_policies::replay::Replay;
use mixcache_policies::store::WalkError;
use mock::*;
use std::collections::BTreeSet;

/// Every policy and every form of it.
const POLICIES: &[&str] = &[
    "kind = 'off'",
    "kind = 'uniform'\ncomputed = 10",
    "kind = 'random'\ncomputed = 10",
    "kind = 'step'\ninterval = 3",
    "kind = 'step'\ninterval = 3\nform = 'output'",
    "kind = 'step'\ninterval = 3\nform = 'output-minus-input'",
    "kind = 'cfg'\ninterval = 4\nfrom = 0.2\nto = 0.8",
    "kind = 'block'\ninterval = 3\nfrom = 0.125\nto = 0.875",
    "kind = 'block'\ninterval = 3\nfrom = 0.0\nto = 0.5",
    "kind = 'tea'\nthreshold = 0.08\ncoefficients = 'identity'",
    "kind = 'tea'\nthreshold = 0.08\ncoefficients = 'identity-input'",
    "kind = 'tea'\nthreshold = 0.08\ncoefficients = 'identity'\norder = 1",
    "kind = 'mask'\nmask = 'slow'",
    "kind = 'mask'\nmask = '11100100100100100111'\nform = 'output'\norder = 2",
    "kind = 'mag'\nratios = 'mock'",
    "kind = 'easy'\nthreshold = 0.1\nwarmup = 4",
    "kind = 'sea'\nthreshold = 0.15",
    "kind = 'sea'\nthreshold = 0.15\norder = 1\nmax_continuous = 2",
    "kind = 'first-blocks'\nthreshold = 0.2\norder = 1\nshared_cfg = true\nmax_accumulated = 1.0",
    "kind = 'first-blocks'\nthreshold = 0.2\nmask = 'medium'",
    "kind = 'first-blocks'\nthreshold = 0.2\nmask = 'slow'\nmask_static = true",
    "kind = 'di'\nthreshold = 0.3",
    "kind = 'bw'\nthreshold = 0.2",
    "kind = 'block-dance'",
    "kind = 'delta-dit'",
    "kind = 'pab'",
    "kind = 'pab'\ninterval = 3\nshared_state = true",
    "kind = 'faster'",
    "kind = 'faster'\nschedule = 'timesteps'\ncond_only = true",
    "kind = 'taylor-seer'",
    "kind = 'taylor-seer'\ninterval = 3\norder = 2\nwarmup = 3\nschedule = 'diffusers'",
    "kind = 'taylor-seer'\ninterval = 3\nscope = 'output'",
    "kind = 'ada'",
    "kind = 'adaptive-guidance'\nthreshold = 0.9\nwarmup = 16",
    "kind = 'guidance-interval'\nto = 0.9",
    "kind = 'first-blocks'\nthreshold = 0.2",
    "kind = 'first-blocks'\nthreshold = 0.2\nfirst = 2\nlast = 1\nwarmup = 3\nmax_continuous = 2",
    "kind = 'mix'\ncalibration = 'mock'",
    "kind = 'mix'\ncalibration = 'mock'\nstep_form = 'residual'\ncfg_boost = 1.1",
    "kind = 'mix'\ncalibration = 'mock'\norder = 1",
    "kind = 'mix'\ncalibration = 'mock'\norder = 2\nstep_form = 'output-minus-input'\ncfg_boost = 1.1",
    "kind = 'mix'\ncalibration = 'mock'\nblock_ranges = 3\nblock_share = 0.5\nmemory = 'cumulative'\nscope = 'interval'",
    "kind = 'mix'\ncalibration = 'mock'\nstep = false\nblock = false\nimpact = 'analytic'",
    "kind = 'planned'\nmoments = 'mock'\ncompute = 0.6",
    "kind = 'planned'\nmoments = 'mock'\ncompute = 0.6\namend = false",
    "kind = 'planned'\nmoments = 'mock'\nplan = 'FFFFFFboaFbcoFuoFFFF'\nblocks = 'a=0..8,b=2..6,c=4..8'",
    "kind = 'amended'\n[of]\nkind = 'step'\ninterval = 3",
    "kind = 'amended'\ndegree = 1\ndepth = 2\n[of]\nkind = 'sea'\nthreshold = 0.15\norder = 1",
    "kind = 'amended'\n[of]\nkind = 'easy'\nthreshold = 0.1\nwarmup = 4",
    "kind = 'amended'\n[of]\nkind = 'mix'\ncalibration = 'mock'\norder = 1",
    "kind = 'amended'\n[of]\nkind = 'first-blocks'\nthreshold = 0.2",
    "kind = 'planned'\nmoments = 'mock'\ncompute = 0.5\ndepth = 2\nweights = 'taylor'\ngain = false\ncfg = false",
];

#[test]
fn a_policy_says_what_calibrated_data_it_draws_on_and_cannot_run_without() {
    for text in POLICIES {
        let spec: PolicySpec = toml::from_str(text).unwrap();
        let without = Run {
            data: Default::default(),
            ..run()
        };
        match (spec.draws_on(), spec.policy().begin(&without)) {
            (None, begun) => assert!(begun.is_ok(), "{text}"),
            (Some((_, name)), begun) => {
                let reason = begun.expect_err(text).to_string();
                assert!(reason.contains(&format!("`{name}`")), "{text}: {reason}");
            }
        }
    }
}

#[test]
fn off_equals_the_plain_forward_bit_for_bit_and_touches_nothing() {
    let off = go(&mut *policy("kind = 'off'"), run()).unwrap();
    assert_eq!(off.latent, plain(&run()));
    assert_eq!(
        (off.clones, off.costs.reads, off.costs.looks, off.costs.peak_bytes),
        (0, 0, 0, 0)
    );
    assert_eq!(off.costs.flops, run().total_flops());
}

#[test]
fn a_policy_that_never_skips_equals_off_bit_for_bit() {
    for never in [
        "kind = 'step'\ninterval = 1",
        "kind = 'cfg'\ninterval = 1",
        "kind = 'block'\ninterval = 1\nfrom = 0.2\nto = 0.8",
        "kind = 'uniform'\ncomputed = 20",
        "kind = 'random'\ncomputed = 20",
        "kind = 'tea'\nthreshold = 0.0\ncoefficients = 'identity'",
        "kind = 'tea'\nthreshold = 0.0\ncoefficients = 'identity-input'",
        "kind = 'mask'\nmask = '11111111111111111111'",
        "kind = 'mag'\nratios = 'mock'\nthreshold = 0.0",
        "kind = 'easy'\nthreshold = 0.0",
        "kind = 'sea'\nthreshold = 0.0",
        "kind = 'di'\nthreshold = 0.0",
        "kind = 'bw'\nthreshold = 0.0",
        "kind = 'block-dance'\ngroup = 1",
        "kind = 'delta-dit'\ninterval = 1",
        "kind = 'pab'\ninterval = 1\ncross_interval = 1",
        "kind = 'faster'\ninterval = 1\ncfg_interval = 1",
        "kind = 'taylor-seer'\ninterval = 1",
        "kind = 'ada'\nscale = 1000.0",
        "kind = 'adaptive-guidance'\nthreshold = 1.5",
        "kind = 'guidance-interval'\nto = 1.0",
        "kind = 'first-blocks'\nthreshold = 0.0",
        "kind = 'mix'\ncalibration = 'mock'\nwarmup_min = 1.0\nwarmup_max = 1.0",
        "kind = 'planned'\nmoments = 'mock'\ncompute = 1.0",
        "kind = 'amended'\n[of]\nkind = 'step'\ninterval = 1",
    ] {
        let outcome = go(&mut *policy(never), run()).unwrap();
        assert_eq!(outcome.latent, plain(&run()), "{never}");
        assert_eq!(outcome.costs.flops, run().total_flops(), "{never}");
    }
}

#[test]
fn a_replayed_trace_gives_the_same_output_bit_for_bit_with_no_looks() {
    for text in POLICIES {
        let first = go(&mut *policy(text), run()).unwrap();
        let again = go(&mut Replay::new(&first.trace), run()).unwrap();
        assert_eq!(again.latent, first.latent, "{text}");
        assert_eq!((again.costs.reads, again.costs.looks), (0, 0), "{text}");
        assert_eq!(again.costs.flops, first.costs.flops, "{text}");
        assert!(again.costs.peak_bytes <= first.costs.peak_bytes, "{text}");
    }
}

#[test]
fn a_trace_survives_being_written_down() {
    for text in POLICIES {
        let trace = go(&mut *policy(text), run()).unwrap().trace;
        let moves: Vec<Move> = trace.iter().map(|e| e.act.clone()).collect();
        let read: Vec<Move> = serde_json::from_str(&serde_json::to_string(&moves).unwrap()).unwrap();
        assert_eq!(read, moves, "{text}");
    }
}

#[test]
fn claimed_bytes_are_held_bytes() {
    for text in POLICIES {
        let outcome = go(&mut *policy(text), run()).unwrap();
        assert_eq!(outcome.costs.peak_bytes, outcome.claimed_bytes, "{text}");
    }
}

#[test]
fn a_policy_forgets_one_run_before_the_next() {
    for text in POLICIES {
        let mut policy = policy(text);
        let first = go(&mut *policy, run()).unwrap();
        let second = go(&mut *policy, run()).unwrap();
        assert_eq!((second.latent, second.trace), (first.latent, first.trace), "{text}");
    }
}

#[test]
fn every_policy_saves_compute_and_stays_near_off() {
    let exact = plain(&run());
    for text in &POLICIES[1..] {
        let outcome = go(&mut *policy(text), run()).unwrap();
        assert!(outcome.costs.flops < run().total_flops(), "{text} skipped nothing");
        // The mock drifts by 0.5 over the run; a policy that loses a tenth of that is broken.
        assert!(
            (outcome.latent - exact).abs() < 0.05,
            "{text}: {} for {exact}",
            outcome.latent
        );
    }
}

/// A comparison with the best policy of one granularity rests on it.
#[test]
fn a_policy_that_reuses_at_several_granularities_says_so() {
    let granularity = |letter: char| match letter {
        'o' | 'x' | 'r' => Some("step"),
        'u' => Some("branch"),
        'b' | 's' | 'm' => Some("block"),
        _ => None,
    };
    for text in POLICIES {
        let kind = text.split('\'').nth(1).unwrap();
        let is_hybrid = PolicySpec::is_hybrid(kind).unwrap_or_else(|| panic!("{kind} is not in the list"));
        let trace = go(&mut *policy(text), run()).unwrap().trace;
        let letters = letters(&trace, COND) + &letters(&trace, UNCOND);
        let seen: BTreeSet<&str> = letters.chars().filter_map(granularity).collect();
        assert!(seen.len() <= 1 || is_hybrid, "{text} reuses at {seen:?}");
    }
    assert_eq!(PolicySpec::is_hybrid("of another version"), None);
}

#[test]
fn nothing_is_reused_in_the_steps_that_must_be_full() {
    let mut long = run();
    long.full = (6, 3);
    for text in POLICIES {
        let trace = go(&mut *policy(text), long.clone()).unwrap().trace;
        for branch in 0..2 {
            let letters = letters(&trace, branch);
            assert!(
                letters.starts_with("FFFFFF") && letters.ends_with("FFF"),
                "{text}: {letters}"
            );
        }
    }
}

/// A run whose second expert takes over in the middle.
fn of_two_experts() -> Run {
    Run {
        switches: vec![SWITCH],
        ..run()
    }
}
const SWITCH: usize = 9;

#[test]
fn nothing_crosses_from_one_expert_to_the_next() {
    let boundary = (run().timesteps[SWITCH] + 1.0) / 1000.0;
    for text in POLICIES {
        // What the first expert computes, and with it all that is kept, seen and counted until the other takes over.
        let [one, other] = [1.0, -2.5].map(|first_expert| {
            let mock = Mock {
                first_expert,
                boundary,
                ..Mock::default()
            };
            go_on(&mock, &mut *policy(text), of_two_experts()).unwrap_or_else(|error| panic!("{text}: {error}"))
        });
        let second = |outcome: &Outcome| {
            let events = outcome.trace.iter().filter(|event| event.at.step >= SWITCH);
            events.cloned().collect::<Vec<_>>()
        };
        assert_eq!(second(&one), second(&other), "{text}");
        assert_eq!(one.latent, other.latent, "{text}");
        assert!(one.costs.peak_bytes <= one.claimed_bytes, "{text}");
        for branch in 0..2 {
            let letters = letters(&one.trace, branch);
            assert_eq!(letters.as_bytes()[SWITCH], b'F', "{text}: {letters}");
        }
    }
}

#[test]
fn a_trace_of_two_experts_replays_bit_for_bit() {
    for text in POLICIES {
        let first = go(&mut *policy(text), of_two_experts()).unwrap();
        let again = go(&mut Replay::new(&first.trace), of_two_experts()).unwrap();
        assert_eq!((again.latent, again.costs.looks), (first.latent, 0), "{text}");
        assert_eq!(again.costs.flops, first.costs.flops, "{text}");
    }
}

/// Computes and stores, but for one step in which it reuses what was stored `age` writes ago, or amends by it.
struct Reaching {
    step: usize,
    age: usize,
    amend: bool,
}
impl CachePolicy for Reaching {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        Ok(Claim::default().keeping(run, Value::Output, 3))
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        let kept = vec![Term::kept(1.0, Value::Output, at.branch, self.age)];
        match at.step == self.step {
            true if self.amend => Move::store(25).amending(vec![Lacked {
                step: self.step - 1,
                terms: kept,
            }]),
            true => Move::reuse(Value::Output, kept),
            false => Move::store(25),
        }
    }
}

#[test]
fn a_policy_that_reaches_back_to_another_expert_is_an_error() {
    let reach = |amend, step, age| go(&mut Reaching { step, age, amend }, of_two_experts());
    for amend in [false, true] {
        assert!(reach(amend, SWITCH - 1, 2).is_ok() && reach(amend, SWITCH + 1, 0).is_ok());
        assert!(matches!(reach(amend, SWITCH + 1, 1), Err(WalkError::Missing { .. })));
    }
    assert!(matches!(
        reach(false, SWITCH, 0),
        Err(WalkError::Forbidden { step: SWITCH })
    ));
    // A full step may be amended, but there nothing is left to amend it by.
    assert!(matches!(reach(true, SWITCH, 0), Err(WalkError::Missing { .. })));
}

#[test]
fn a_step_that_must_be_full_computes_all_of_itself_and_may_amend_others() {
    let amends_at_the_end = |text: &str| {
        let outcome = go(&mut *policy(text), run()).unwrap();
        let last = outcome.trace.iter().filter(|event| event.at.step == STEPS - 1);
        let computed = last.clone().map(|event| match &event.act {
            Move::Compute { to, .. } => (*to).min(24) - event.at.unit,
            _ => 0,
        });
        assert_eq!(computed.sum::<usize>(), 2 * 24, "{text}");
        last.clone()
            .any(|event| matches!(&event.act, Move::Compute { lacked, .. } if !lacked.is_empty()))
    };
    // Both skip the step before the last.
    assert!(amends_at_the_end("kind = 'amended'\n[of]\nkind = 'step'\ninterval = 5"));
    assert!(amends_at_the_end(
        "kind = 'planned'\nmoments = 'mock'\nplan = 'FFFFFFFFFFFFFFFFFooF'"
    ));
    for text in POLICIES {
        amends_at_the_end(text);
    }
}

#[test]
fn memory_is_refused_before_the_first_kernel() {
    let mut small = run();
    small.budget_bytes = 100;
    let before = embeds();
    let refused = go(&mut *policy("kind = 'step'\ninterval = 2"), small);
    assert!(matches!(refused, Err(WalkError::OverBudget { needed, budget: 100 }) if needed == 3 * HIDDEN_BYTES));
    assert_eq!(embeds(), before);
}

#[test]
fn what_has_no_meaning_for_a_run_is_refused_with_a_reason() {
    let mut distilled = run();
    distilled.branches = 1;
    for (text, run, reason) in [
        ("kind = 'cfg'\ninterval = 2", distilled.clone(), "two passes"),
        (
            "kind = 'mix'\ncalibration = 'mock'\nstep = false\nblock = false",
            distilled,
            "no granularity",
        ),
        ("kind = 'mix'\ncalibration = 'nobody'", run(), "known: mock"),
        (
            "kind = 'mix'\ncalibration = 'mock'\ninterval = 9",
            run(),
            "interval_max",
        ),
        (
            "kind = 'tea'\nthreshold = 0.1\ncoefficients = 'other'",
            run(),
            "belongs to wan2.1-t2v-14b",
        ),
        (
            "kind = 'tea'\nthreshold = 0.1\ncoefficients = 'identity-projection'",
            run(),
            "time projection, which mock does not have",
        ),
        (
            "kind = 'first-blocks'\nthreshold = 0.1\nfirst = 8",
            run(),
            "of 8 blocks",
        ),
        ("kind = 'uniform'\ncomputed = 1", run(), "expected 2"),
        ("kind = 'block'\ninterval = 2\nfrom = 0.5\nto = 0.5", run(), "no block"),
        ("kind = 'step'\ninterval = 0", run(), "at least 1"),
    ] {
        let error = go(&mut *policy(text), run)
            .err()
            .unwrap_or_else(|| panic!("{text} was accepted"))
            .to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_trace_of_another_run_is_refused() {
    let trace = go(&mut *policy("kind = 'step'\ninterval = 2"), run()).unwrap().trace;
    let mut longer = run();
    longer.timesteps.push(1.0);
    assert!(matches!(go(&mut Replay::new(&trace), longer), Err(WalkError::Unfit(_))));
}

#[test]
fn an_unknown_knob_is_refused() {
    let error = toml::from_str::<mixcache_policies::PolicySpec>(
        "kind = 'tea'\nthreshold = 0.1\ncoefficients = 'x'\ntreshold = 2",
    );
    assert!(error.unwrap_err().to_string().contains("treshold"));
}

#[test]
fn a_trace_whose_moves_said_something_else_is_refused() {
    // A version before amended the prediction itself.
    let read =
        |added: &str| serde_json::from_str::<Move>(&format!(r#"{{"move":"compute","to":25,"keep":"store"{added}}}"#));
    assert_eq!(read("").unwrap(), Move::store(25));
    assert!(
        read(r#","amend":[]"#)
            .unwrap_err()
            .to_string()
            .contains("unknown field `amend`")
    );
}

/// A policy made of one answer for every question.
struct Always(Move);
impl CachePolicy for Always {
    fn begin(&mut self, _: &Run) -> Result<Claim, Unfit> {
        Ok(Claim::default())
    }
    fn next(&mut self, _: At, _: &[f32]) -> Move {
        self.0.clone()
    }
}

#[test]
fn a_faulty_policy_is_an_error_with_a_name_never_a_wrong_number() {
    let output = Value::Output;
    for (act, message) in [
        (
            Move::reuse(output, vec![Term::kept(1.0, output, 0, 0)]),
            "must be computed in full",
        ),
        (Move::compute(99), "unit 99"),
        (Move::compute(0), "unit 0"),
        (Move::Look { probes: vec![] }, "without a step forward"),
        (
            Move::Look {
                probes: vec![Probe::Time],
            },
            "not claimed",
        ),
        (
            Move::Look {
                probes: vec![Probe::Input],
            },
            "expected one a pass, claimed",
        ),
        (
            Move::Look {
                probes: vec![Probe::Fresh(Value::Delta { from: 0, to: 3 })],
            },
            "no fresh",
        ),
    ] {
        let error = go(&mut Always(act.clone()), run()).err().unwrap().to_string();
        assert!(error.contains(message), "{act:?}: {error}");
    }
    let mut loose = run();
    loose.full = (0, 0);
    let (output, latent, state, raw) = (
        Value::Output,
        Value::Latent,
        Value::State { unit: 3 },
        Value::Raw { unit: 0 },
    );
    let delta = Value::Delta { from: 0, to: 24 };
    let lacked = |step, term| {
        vec![Lacked {
            step,
            terms: vec![term],
        }]
    };
    let spectrum = Term {
        weight: Weight::Spectrum { sigma: 0.5 },
        of: Source::Fresh { value: latent },
    };
    for (act, message) in [
        (
            Move::reuse(latent, vec![Term::fresh(1.0, latent)]),
            "does not start here",
        ),
        (
            Move::compute(3).amending(lacked(0, Term::fresh(1.0, output))),
            "amended where a pass ends",
        ),
        (
            Move::reuse(delta, vec![Term::kept(1.0, delta, 0, 0)]).amending(lacked(0, Term::fresh(1.0, output))),
            "amended where a pass ends",
        ),
        (
            Move::compute(24).amending(lacked(0, Term::fresh(1.0, output))),
            "step 0 is amended before its end",
        ),
        (
            Move::reuse(state, vec![Term::fresh(1.0, state)]),
            "no fresh hidden state",
        ),
        (Move::reuse(delta, vec![spectrum]), "not of hidden states"),
        (
            Move::Reuse {
                value: raw,
                terms: vec![Term::fresh(1.0, raw)],
                kept: true,
                lacked: vec![],
            },
            "no raw output with memory to keep it in",
        ),
        (
            Move::Look {
                probes: vec![Probe::Fresh(state)],
            },
            "no fresh hidden state",
        ),
    ] {
        let error = go(&mut Always(act.clone()), loose.clone()).err().unwrap().to_string();
        assert!(error.contains(message), "{act:?}: {error}");
    }
    let missing = Move::reuse(output, vec![Term::kept(1.0, output, 0, 0)]);
    assert!(matches!(
        go(&mut Always(missing), loose),
        Err(WalkError::Missing { step: 0, .. })
    ));
}
