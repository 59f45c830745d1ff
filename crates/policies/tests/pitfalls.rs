//! Faults seen in published implementations of these policies, each of which would go unnoticed in a video.

mod mock;
use mixcache_policies::data::Data;
use mixcache_policies::plan::*;
use mixcache_policies::replay::Replay;
use mock::*;

fn trace(text: &str) -> Vec<Event> {
    go(&mut *policy(text), run()).unwrap().trace
}

/// What the looks of a branch saw, by step.
fn seen(trace: &[Event], branch: usize) -> Vec<(usize, Vec<f32>)> {
    let looks = trace.iter().filter(|e| e.at.branch == branch && !e.seen.is_empty());
    looks.map(|e| (e.at.step, e.seen.clone())).collect()
}

#[test]
fn first_blocks_compares_with_the_last_computed_step_not_with_the_step_before() {
    // While steps are reused the reference stands still, so the distance grows; it falls when one is computed.
    let looks = seen(&trace("kind = 'first-blocks'\nthreshold = 0.2"), COND);
    let distance = |step: usize| looks.iter().find(|(s, _)| *s == step).unwrap().1[0];
    assert!(distance(1) < distance(2) && distance(2) < distance(3) && distance(3) < distance(4));
    assert!(distance(6) < distance(5)); // 5 was computed
}

#[test]
fn dicache_compares_its_probe_with_the_step_before_not_with_the_last_computed_step() {
    // The mock moves ever faster relative to what is left, but never twice as fast from one step to the next;
    // a comparison with the last computed step would double from the first skipped step to the second.
    let trace = trace("kind = 'di'\nthreshold = 10.0");
    let looks = seen(&trace, COND);
    assert!(looks.len() > 8);
    assert!(
        looks.windows(2).take(8).all(|pair| pair[1].1[0] < 1.5 * pair[0].1[0]),
        "{looks:?}"
    );
}

#[test]
fn sea_and_easy_remember_the_latent_of_skipped_steps_too() {
    for text in [
        "kind = 'sea'\nthreshold = 10.0",
        "kind = 'easy'\nthreshold = 10.0\nwarmup = 4",
    ] {
        let trace = trace(text);
        assert!(
            letters(&trace, COND)[5..19].chars().all(|letter| letter != 'F'),
            "{text}"
        );
        let looks = seen(&trace, COND);
        let last = |(_, seen): &(usize, Vec<f32>)| *seen.last().unwrap();
        assert!(
            looks
                .windows(2)
                .take(8)
                .all(|pair| last(&pair[1]) < 1.5 * last(&pair[0])),
            "{text}: {looks:?}"
        );
    }
}

#[test]
fn easy_measures_against_the_last_computed_output_which_stands_still_while_steps_are_skipped() {
    let looks = seen(&trace("kind = 'easy'\nthreshold = 10.0\nwarmup = 4"), COND);
    assert!(
        looks.windows(2).all(|pair| pair[0].1[0] == pair[1].1[0]),
        "κ changed without a computed step"
    );
}

#[test]
fn tea_and_mag_accumulate_first_blocks_does_not() {
    // The same small change at every step, below each threshold: what accumulates fires in the end.
    let tea = "kind = 'tea'\nthreshold = 0.08\ncoefficients = 'identity'";
    assert!(letters(&trace(tea), COND)[1..19].contains('F'));
    let mag = "kind = 'mag'\nratios = 'mock'\nmax_skip = 99\nretention = 0.0\nthreshold = 0.3";
    assert_eq!(letters(&trace(mag), COND), "FrrrrrFrrrrrFrrrrrFF");
    let loose = letters(&trace("kind = 'first-blocks'\nthreshold = 9.0"), COND);
    assert_eq!(loose, "FbbbbbbbbbbbbbbbbbbF");
}

#[test]
fn mag_skips_at_the_threshold_itself_only_where_its_code_says_so() {
    let mut run = run();
    let mut data = Data::clone(&run.data);
    let ratios = data.ratios.get_mut("mock").unwrap();
    ratios.cond.fill(0.5); // the first error is .5, exact in binary
    ratios.uncond.fill(0.5);
    run.data = data.into();
    let decide = |inclusive: bool| {
        let text = format!("kind = 'mag'\nratios = 'mock'\nthreshold = 0.5\ninclusive = {inclusive}");
        letters(&go(&mut *policy(&text), run.clone()).unwrap().trace, COND)
    };
    assert_eq!(decide(false), "FFFFFFFFFFFFFFFFFFFF"); // Wan: <
    assert_eq!(decide(true), "FFFFrFrFrFrFrFrFrFrF"); // HunyuanVideo, diffusers: ≤
}

#[test]
fn a_residual_is_added_to_the_current_state_an_attention_output_stands_in_its_own_place() {
    let reuse = |text: &str| {
        let found = trace(text).into_iter().find_map(|e| {
            if let Move::Reuse { value, .. } = e.act {
                Some(value)
            } else {
                None
            }
        });
        found.unwrap()
    };
    for residual in [
        "kind = 'mag'\nratios = 'mock'",
        "kind = 'sea'\nthreshold = 0.5",
        "kind = 'ada'",
    ] {
        assert_eq!(reuse(residual), Value::Delta { from: 0, to: 24 }, "{residual}");
    }
    assert_eq!(reuse("kind = 'pab'\ncross_interval = 1"), Value::Raw { unit: 0 }); // before its gate, which is today's
    assert_eq!(reuse("kind = 'taylor-seer'\norder = 0"), Value::Raw { unit: 0 });
    assert_eq!(reuse("kind = 'block-dance'"), Value::State { unit: 12 });
}

#[test]
fn nothing_leaks_from_one_video_to_the_next_when_the_number_of_steps_changes() {
    let mut short = run();
    short.timesteps.truncate(9);
    short.sigmas.truncate(9);
    for text in [
        "kind = 'mag'\nratios = 'mock'",
        "kind = 'easy'\nthreshold = 0.1\nwarmup = 4",
        "kind = 'sea'\nthreshold = 0.15\norder = 1",
        "kind = 'di'\nthreshold = 0.3",
        "kind = 'bw'\nthreshold = 0.2",
        "kind = 'faster'",
        "kind = 'pab'",
        "kind = 'ada'",
        "kind = 'taylor-seer'\norder = 2",
        "kind = 'adaptive-guidance'\nthreshold = 0.9",
        "kind = 'first-blocks'\nthreshold = 0.2\norder = 1\nmax_cached = 3",
    ] {
        let fresh = go(&mut *policy(text), short.clone()).unwrap();
        let mut used = policy(text);
        go(&mut *used, run()).unwrap();
        let again = go(&mut *used, short.clone()).unwrap();
        assert_eq!((again.latent, again.trace), (fresh.latent, fresh.trace), "{text}");
    }
}

#[test]
fn mag_counts_a_skipped_step_once() {
    // A counter that doubles gives 1, 3, 7, …: with K = 4 it would skip two in a row, not four.
    let text = "kind = 'mag'\nratios = 'mock'\nmax_skip = 4\nretention = 0.0\nthreshold = 9.0";
    assert_eq!(letters(&trace(text), COND), "FrrrrFrrrrFrrrrFrrrF");
}

#[test]
fn coefficients_and_ratios_of_another_model_are_refused() {
    let mut other = run();
    other.model = "wan2.1-t2v-14b".into();
    let error = policy("kind = 'mag'\nratios = 'mock'")
        .begin(&other)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("belongs to mock, this run uses wan2.1-t2v-14b"),
        "{error}"
    );
    assert!(
        policy("kind = 'mag'\nratios = 'mock'\nforeign = true")
            .begin(&other)
            .is_ok()
    );
}

#[test]
fn branches_share_attention_only_when_told_to_repeat_that_fault() {
    let reused_of = |text: &str| -> Vec<usize> {
        let uncond = trace(text).into_iter().filter(|e| e.at.branch == UNCOND);
        let terms = uncond.filter_map(|e| {
            if let Move::Reuse { terms, .. } = e.act {
                Some(terms)
            } else {
                None
            }
        });
        let branches = terms.flatten().filter_map(|term| match term.of {
            Source::Kept { branch, .. } => Some(branch),
            _ => None,
        });
        branches.collect()
    };
    assert!(reused_of("kind = 'pab'").iter().all(|&branch| branch == UNCOND));
    let shared = reused_of("kind = 'pab'\ncross_interval = 1\nshared_state = true");
    assert!(!shared.is_empty() && shared.iter().all(|&branch| branch == COND));
}

#[test]
fn states_of_one_branch_do_not_go_into_another_of_other_length() {
    let unlike = Run {
        branches_alike: false,
        ..run()
    };
    for (text, shares) in [("kind = 'pab'", false), ("kind = 'pab'\nshared_state = true", true)] {
        let replayed = Replay::new(&trace(text)).begin(&unlike);
        for begun in [policy(text).begin(&unlike), replayed] {
            assert_eq!(begun.is_err(), shares, "{text}");
            assert!(
                begun
                    .err()
                    .is_none_or(|reason| reason.to_string().contains("`negative_prompt`"))
            );
        }
    }
}

#[test]
fn both_branches_follow_one_decision_where_the_method_says_so() {
    for text in [
        "kind = 'easy'\nthreshold = 0.1\nwarmup = 4",
        "kind = 'sea'\nthreshold = 0.15",
        "kind = 'bw'\nthreshold = 0.2",
        "kind = 'ada'",
    ] {
        let trace = trace(text);
        assert_eq!(letters(&trace, COND), letters(&trace, UNCOND), "{text}");
        assert!(
            seen(&trace, UNCOND).is_empty(),
            "{text}: the unconditional branch looked too"
        );
    }
}
