//! Amending: the latent stands, after a computed step, where it would if the skipped ones had been interpolated.

mod mock;
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::*;
use mock::*;

/// A model whose predictions are a polynomial of the timestep, whatever the latent.
struct Polynomial {
    bend: f32,
}

impl Dit for Polynomial {
    type Hidden = Number;
    type Latent = Number;
    type Cond = f32;
    type Ctx = ();
    fn embed(&self, _: &Number, timestep: f32, cond: &f32) -> (Number, ()) {
        let t = timestep / 1000.0;
        (Number(1.0 + cond * t + self.bend * t * t), ())
    }
    fn eval(&self, _: usize, _: &Number, _: &()) -> Number {
        Number(0.0)
    }
    fn join(&self, _: usize, hidden: Number, _: &Number, _: &()) -> Number {
        hidden
    }
    fn first_input(&self, hidden: &Number, _: &()) -> Number {
        hidden.clone()
    }
    fn head(&self, hidden: Number, _: &()) -> Number {
        hidden
    }
    fn time_signals(&self, _: TimeSignal, _: &[f32]) -> Vec<Vec<f32>> {
        unreachable!("no policy here looks at the timestep")
    }
}

/// How far from the uncached latent a policy ends.
fn miss(bend: f32, text: &str) -> f32 {
    let end = |text: &str| go_on(&Polynomial { bend }, &mut *policy(text), run()).unwrap().latent;
    (end(text) - end("kind = 'off'")).abs()
}

// Computed are 0, 3, …, 18 and, because the run says so, 19.
const HOLD: &str = "kind = 'step'\ninterval = 3\nform = 'output'";

#[test]
fn skipped_predictions_on_a_line_cost_nothing_in_the_end() {
    let amended = |degree| format!("kind = 'amended'\ndegree = {degree}\n[of]\n{HOLD}");
    assert!(miss(0.0, HOLD) > 0.05);
    // Twenty sums of f32 numbers of order 1.
    assert!(miss(0.0, &amended(1)) < 1e-5, "{}", miss(0.0, &amended(1)));
    assert!(miss(0.0, &amended(2)) < 1e-5, "{}", miss(0.0, &amended(2)));
}

#[test]
fn a_parabola_leaves_of_a_bend_only_the_first_gap() {
    let amended = |degree| format!("kind = 'amended'\ndegree = {degree}\n[of]\n{HOLD}");
    // In the first gap there are but two computed predictions: the parabola through them is a line. Two steps of
    // length 1/20 miss bend·(1/20)·(2/20) each.
    let first_gap = 2.0 * (1.0 / 20.0) * (1.0 / 20.0) * (2.0 / 20.0);
    assert!(
        (miss(1.0, &amended(2)) - first_gap).abs() < 1e-5,
        "{}",
        miss(1.0, &amended(2))
    );
    // The line misses as much in each of the six gaps.
    assert!(
        (miss(1.0, &amended(1)) - 6.0 * first_gap).abs() < 1e-5,
        "{}",
        miss(1.0, &amended(1))
    );
}

#[test]
fn plancache_makes_good_what_a_forecast_from_one_prediction_lacked() {
    let planned = |amend: bool| {
        // The moments that the mock has are those of other predictions; a line's are 1 + b², in both branches.
        let mut run = run();
        let mut data = (*run.data).clone();
        let moments = data.moments.get_mut("mock").unwrap();
        let slope = |row: usize| CONDS[row % 2] as f64 * (1.0 - (row / 2) as f64 / STEPS as f64);
        let at = |i: usize, j: usize| (1.0 + slope(i)) * (1.0 + slope(j));
        moments.moments = (0..2 * STEPS).map(|i| (0..=i).map(|j| at(i, j)).collect()).collect();
        run.data = std::sync::Arc::new(data);
        let plan = "FooFooFooFooFooFooFF";
        let text = format!("kind = 'planned'\nmoments = 'mock'\ndepth = 1\nplan = '{plan}'\namend = {amend}");
        let end = |text: &str| {
            go_on(&Polynomial { bend: 0.0 }, &mut *policy(text), run.clone())
                .unwrap()
                .latent
        };
        (end(&text) - end("kind = 'off'")).abs()
    };
    assert!(planned(false) > 0.05);
    // The ridge of 1e-7 against squared differences of 0.02: weights are right to 1e-4 or so.
    assert!(planned(true) < 1e-3, "{}", planned(true));
}

#[test]
fn an_amended_policy_is_not_amended_again() {
    for text in [
        "kind = 'amended'\n[of]\nkind = 'amended'\n[of.of]\nkind = 'off'",
        "kind = 'amended'\n[of]\nkind = 'planned'\nmoments = 'mock'",
    ] {
        let refused = policy(text).begin(&run()).unwrap_err().to_string();
        assert!(refused.contains("cannot be amended again"), "{refused}");
    }
}

#[test]
fn of_a_branch_rebuilt_from_the_other_one_only_their_difference_is_interpolated() {
    // The branches bend alike, so their difference lies on a line: whatever bends stays exact.
    let cfg = "kind = 'cfg'\ninterval = 3\nfrom = 0.0";
    for bend in [0.0, 1.0, 30.0] {
        assert!(miss(bend, cfg) > 0.05);
        let amended = miss(bend, &format!("kind = 'amended'\n[of]\n{cfg}"));
        // Twenty sums of f32 numbers of the order of the bend.
        assert!(amended < 1e-5 * bend.max(1.0), "{amended} at {bend}");
    }
}

#[test]
fn whole_steps_and_the_unconditional_branch_may_be_skipped_in_turns() {
    let mix = "kind = 'mix'\ncalibration = 'mock'\nblock = false";
    let amended = format!("kind = 'amended'\n[of]\n{mix}");
    let trace = go_on(&Polynomial { bend: 30.0 }, &mut *policy(&amended), run())
        .unwrap()
        .trace;
    let (conds, unconds) = (letters(&trace, COND), letters(&trace, UNCOND));
    assert!(unconds.contains("ou") && unconds.ends_with("FF"), "{conds} {unconds}");
    // What both skipped is made good in both at once: guidance would multiply what is made good in one alone.
    let takes_over = |event: &Event| matches!(&event.act, Move::Reuse { lacked, .. } if !lacked.is_empty());
    assert!(trace.iter().any(|event| event.at.branch == UNCOND && takes_over(event)));
    // What one branch took over from the other must be made good neither twice nor not at all: every gap is closed by
    // a computed step and the first has two before it, so nothing is lost of a parabola in either.
    assert!(miss(30.0, mix) > 0.5);
    assert!(miss(30.0, &amended) < 1e-5 * 30.0, "{}", miss(30.0, &amended));
}
