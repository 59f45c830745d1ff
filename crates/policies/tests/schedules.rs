//! Schedules that follow from published data alone, step by step: 1 = computed.

mod mock;
use mixcache_policies::data::{Data, MagRatios};
use mock::*;
use std::collections::BTreeMap;

/// The published ratios, as experiments read them.
fn published() -> BTreeMap<String, MagRatios> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/ratios/magcache.toml");
    toml::from_str(&std::fs::read_to_string(path).expect("the ratios stand in the repository")).expect("ratios")
}

/// What a branch of `model` computes over `steps` steps of a run that forbids nothing.
fn computed(text: &str, model: &str, steps: usize, branches: usize) -> Vec<String> {
    let mut run = run();
    run.model = model.into();
    run.branches = branches;
    run.full = (0, 0);
    run.sigmas = (0..steps).map(|i| 1.0 - i as f32 / steps as f32).collect();
    run.timesteps = run.sigmas.iter().map(|sigma| 1000.0 * sigma).collect();
    run.data = Data {
        ratios: published(),
        ..Data::default()
    }
    .into();
    let trace = go(&mut *policy(text), run)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .trace;
    let bits = |branch| {
        letters(&trace, branch)
            .chars()
            .map(|letter| if letter == 'F' { '1' } else { '0' })
            .collect()
    };
    (0..branches).map(bits).collect()
}

fn count(bits: &str) -> usize {
    bits.matches('1').count()
}

/// The published ratios under the authors' rule, as worked out from it by hand: 50 steps, ρ = .2. HunyuanVideo's code
/// skips at E = δ too.
#[test]
fn magcache_computes_the_steps_that_follow_from_the_published_ratios() {
    let (small, large) = ("wan2.1-t2v-1.3b", "wan2.1-t2v-14b");
    for (model, ratios, threshold, max_skip, mask) in [
        (
            small,
            small,
            0.12,
            2,
            "11111111110010010010010010010010010010010010101011",
        ),
        (
            small,
            small,
            0.12,
            4,
            "11111111110000100001000010000100001000100100101011",
        ),
        (
            small,
            small,
            0.06,
            3,
            "11111111110001000100010001000100100100101010101111",
        ),
        (
            small,
            small,
            0.06,
            4,
            "11111111110000100001000010001000100100101010101111",
        ),
        (
            small,
            small,
            0.06,
            2,
            "11111111110010010010010010010010010010010101011111",
        ),
        (
            small,
            small,
            0.03,
            2,
            "11111111110010010010010010010010101010101011111111",
        ),
        (
            small,
            small,
            0.03,
            4,
            "11111111110001000100100100100101010101010111111111",
        ),
        (
            large,
            large,
            0.12,
            2,
            "11111111110010010010010010010010010010010010101011",
        ),
        (
            large,
            large,
            0.12,
            4,
            "11111111110000100001000010000100001000100100101011",
        ),
        (
            large,
            large,
            0.24,
            6,
            "11111111110000001000000100000010000010000100100101",
        ),
        (
            large,
            large,
            0.24,
            4,
            "11111111110000100001000010000100001000010001001010",
        ),
        (
            "hunyuan-video",
            "hunyuan-video-720p",
            0.12,
            4,
            "11111111110010010010001001000100010000100001001011",
        ),
        (
            "hunyuan-video",
            "hunyuan-video-720p",
            0.24,
            6,
            "11111111110000100010000100000100001000000100001011",
        ),
        (
            "hunyuan-video",
            "hunyuan-video-544p",
            0.12,
            4,
            "11111111110010010010001001000100010000100001001011",
        ),
        (
            "hunyuan-video",
            "hunyuan-video-544p",
            0.24,
            6,
            "11111111110000100010000100000100001000000100001010",
        ),
    ] {
        let (branches, inclusive) = if model == "hunyuan-video" {
            (1, true)
        } else {
            (2, false)
        };
        let text = format!(
            "kind = 'mag'\nratios = '{ratios}'\nthreshold = {threshold}\nmax_skip = {max_skip}\ninclusive = {inclusive}"
        );
        assert_eq!(computed(&text, model, 50, branches), vec![mask; branches], "{text}");
    }
}

#[test]
fn magcache_with_square_roots_computes_as_few_steps_as_the_paper_reports() {
    for (model, ratios, threshold, max_skip, steps) in [
        ("wan2.1-t2v-1.3b", "wan2.1-t2v-1.3b", 0.12, 2, 24),
        ("wan2.1-t2v-1.3b", "wan2.1-t2v-1.3b", 0.12, 4, 19),
        ("wan2.1-t2v-14b", "wan2.1-t2v-14b", 0.24, 6, 16),
        ("hunyuan-video", "hunyuan-video-720p", 0.12, 4, 19),
        ("hunyuan-video", "hunyuan-video-720p", 0.24, 6, 17),
    ] {
        let text =
            format!("kind = 'mag'\nratios = '{ratios}'\nthreshold = {threshold}\nmax_skip = {max_skip}\nsqrt = true");
        assert_eq!(count(&computed(&text, model, 50, 1)[0]), steps, "{text}");
    }
}

#[test]
fn magcache_takes_the_nearest_ratio_where_the_steps_are_others_and_says_so() {
    let text = "kind = 'mag'\nratios = 'wan2.1-t2v-1.3b'\nretention = 0.0\nthreshold = 0.005\nmax_skip = 9";
    // Of 50 ratios, 4 steps take the first, 17th, 34th and last: 1, .995, .988, .818.
    assert_eq!(computed(text, "wan2.1-t2v-1.3b", 4, 1), ["1011"]);
    let mut mag = policy(text);
    let mut run = run();
    run.data = Data {
        ratios: published(),
        ..Data::default()
    }
    .into();
    run.model = "wan2.1-t2v-1.3b".into();
    mag.begin(&run).unwrap();
    assert!(
        mag.warnings()[0].contains("come from 50 steps; 20 steps"),
        "{:?}",
        mag.warnings()
    );
}

#[test]
fn cache_dit_masks_are_those_its_rule_gives() {
    for (steps, name, mask) in [
        (50, "slow", "11111111111111111111110011111000111110001110001101"),
        (50, "medium", "11111111111111110011100000111000001110000011100001"),
        (50, "fast", "11111111111001100000110000000110000000001100000001"),
        (50, "ultra", "11111110001100000000011000000000001100000000000001"),
        (28, "slow", "1111111101110011100110010001"),
        (28, "medium", "1111110110001100011000110001"),
        (28, "fast", "1111110100010000100000100001"),
        (28, "ultra", "1111001000001000000100000001"),
        (20, "fast", "11111101000000000001"),
        (15, "slow", "111101101101101"),
        (12, "medium", "111101101001"),
        (15, "ultra", "110100100010001"),
    ] {
        let text = format!("kind = 'mask'\nmask = '{name}'");
        assert_eq!(computed(&text, "mock", steps, 2), [mask; 2], "{steps} {name}");
    }
}

#[test]
fn taylorseer_counts_from_the_warm_up_as_the_authors_do_or_as_diffusers_does() {
    let bits = |text: &str| computed(text, "mock", 20, 2)[0].clone();
    assert_eq!(bits("kind = 'taylor-seer'"), "10000100001000010000"); // N5 O1, the authors' setting for Wan
    assert_eq!(
        bits("kind = 'taylor-seer'\nwarmup = 3\ninterval = 4"),
        "11100010001000100010"
    );
    let diffusers = "kind = 'taylor-seer'\nwarmup = 3\ninterval = 4\nschedule = 'diffusers'";
    assert_eq!(bits(diffusers), "11101000100010001000");
}

#[test]
fn a_mask_of_the_wrong_length_or_name_is_refused() {
    let refused = |mask: &str| {
        policy(&format!("kind = 'mask'\nmask = '{mask}'"))
            .begin(&run())
            .unwrap_err()
            .to_string()
    };
    assert!(refused("101").contains("found 3 digits, expected one for each of 20 steps"));
    assert!(refused("quick").contains("expected slow, medium, fast, ultra"));
}
