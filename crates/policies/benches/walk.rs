//! What the walk itself costs: a pass of a model whose units cost nothing, as a plain loop and under `off`.
//! The difference is all that `off` adds to a pass of any model with as many units.

#[path = "../tests/mock/mod.rs"]
mod mock;

use criterion::{Criterion, criterion_group, criterion_main};
use mixcache_policies::chain::{Dit, pass};
use mixcache_policies::off::Off;
use mixcache_policies::plan::{At, CachePolicy};
use mixcache_policies::store::Store;
use mock::{Mock, Number};
use std::hint::black_box;

fn walk(criterion: &mut Criterion) {
    let (dit, run) = (Mock::default(), mock::run());
    let (latent, timestep) = (Number(0.5), run.timesteps[0]);
    let mut group = criterion.benchmark_group("pass of 24 empty units");
    group.bench_function("plain", |bencher| {
        bencher.iter(|| {
            let (hidden, ctx) = dit.embed(black_box(&latent), timestep, &1.0);
            let hidden = (0..run.end()).fold(hidden, |hidden, i| dit.unit(i, hidden, &ctx));
            dit.head(hidden, &ctx)
        })
    });
    group.bench_function("off", |bencher| {
        let mut off = Off::default();
        let claim = off.begin(&run).expect("off fits every run");
        let start = || Store::new(run.clone(), &claim, vec![]).expect("nothing is claimed");
        let at = At {
            step: 0,
            branch: 0,
            unit: 0,
            full: false,
        };
        bencher.iter_batched_ref(
            start,
            |store| pass(&dit, &mut off, store, at, black_box(&latent), &1.0, &[]).expect("off computes"),
            criterion::BatchSize::SmallInput,
        )
    });
    group.finish();
}

criterion_group!(benches, walk);
criterion_main!(benches);
