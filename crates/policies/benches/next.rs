//! What a decision costs: `next` of every policy over a whole recorded run, per call.

#[path = "../tests/mock/mod.rs"]
mod mock;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mixcache_policies::plan::{At, Event, Move};
use mixcache_policies::replay::Replay;
use std::hint::black_box;

const POLICIES: &[(&str, &str)] = &[
    ("off", "kind = 'off'"),
    ("uniform", "kind = 'uniform'\ncomputed = 10"),
    ("random", "kind = 'random'\ncomputed = 10"),
    ("step", "kind = 'step'\ninterval = 3"),
    ("cfg", "kind = 'cfg'\ninterval = 4"),
    ("block", "kind = 'block'\ninterval = 3\nfrom = 0.125\nto = 0.875"),
    ("tea", "kind = 'tea'\nthreshold = 0.08\ncoefficients = 'identity'"),
    ("mask", "kind = 'mask'\nmask = 'fast'"),
    ("mag", "kind = 'mag'\nratios = 'mock'"),
    ("easy", "kind = 'easy'\nthreshold = 0.1\nwarmup = 4"),
    ("sea", "kind = 'sea'\nthreshold = 0.15"),
    ("di", "kind = 'di'\nthreshold = 0.3"),
    ("bw", "kind = 'bw'\nthreshold = 0.2"),
    ("block-dance", "kind = 'block-dance'"),
    ("delta-dit", "kind = 'delta-dit'"),
    ("pab", "kind = 'pab'"),
    ("faster", "kind = 'faster'"),
    ("taylor-seer", "kind = 'taylor-seer'"),
    ("ada", "kind = 'ada'"),
    ("adaptive-guidance", "kind = 'adaptive-guidance'\nthreshold = 0.9"),
    ("guidance-interval", "kind = 'guidance-interval'\nto = 0.9"),
    ("first-blocks", "kind = 'first-blocks'\nthreshold = 0.2"),
    ("mix", "kind = 'mix'\ncalibration = 'mock'"),
    ("planned", "kind = 'planned'\nmoments = 'mock'\ncompute = 0.5"),
    ("amended step", "kind = 'amended'\n[of]\nkind = 'step'\ninterval = 3"),
];

/// The questions of a recorded run: where the pass stood, and what the look before had seen.
fn questions(trace: &[Event]) -> Vec<(At, Vec<f32>)> {
    let mut seen = vec![];
    let ask = |event: &Event| {
        let now = std::mem::take(&mut seen);
        if let Move::Look { .. } = event.act {
            seen = event.seen.clone();
        }
        (event.at, now)
    };
    trace.iter().map(ask).collect()
}

fn next(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("next");
    let run = mock::run();
    for (name, text) in POLICIES {
        let trace = mock::go(&mut *mock::policy(text), run.clone())
            .expect("the policy fits")
            .trace;
        let questions = questions(&trace);
        group.throughput(Throughput::Elements(questions.len() as u64));
        let mut policy = mock::policy(text);
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                policy.begin(&run).expect("the policy fits");
                for (at, seen) in &questions {
                    black_box(policy.next(*at, seen));
                }
            })
        });
    }
    let trace = mock::go(&mut *mock::policy(POLICIES[3].1), run.clone())
        .expect("the policy fits")
        .trace;
    let questions = questions(&trace);
    group.throughput(Throughput::Elements(questions.len() as u64));
    let mut replay = Replay::new(&trace);
    group.bench_function("replay", |bencher| {
        bencher.iter(|| {
            use mixcache_policies::plan::CachePolicy;
            replay.begin(&run).expect("its own run");
            for (at, seen) in &questions {
                black_box(replay.next(*at, seen));
            }
        })
    });
    group.finish();
}

criterion_group!(benches, next);
criterion_main!(benches);
