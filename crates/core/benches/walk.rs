//! A pass of the embedded model as a plain forward, and under `off`: the walk must cost nothing.

use burn::tensor::FloatDType;
use criterion::{Criterion, criterion_group, criterion_main};
use mixcache_core::denoise::{CacheLimits, Guidance, run_of};
use mixcache_core::device;
use mixcache_core::mini::{self, GRID};
use mixcache_core::models::Chain;
use mixcache_core::noise::noise;
use mixcache_core::schedule::{Grid, Schedule};
use mixcache_core::tensors::Latent;
use mixcache_policies::chain::{Dit, pass};
use mixcache_policies::data::Data;
use mixcache_policies::off::Off;
use mixcache_policies::plan::{At, CachePolicy};
use mixcache_policies::store::Store;

/// As in `mixcache`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn walk(criterion: &mut Criterion) {
    let device = device::open("cpu").expect("the CPU is always there");
    let embedded = mini::find("wan-mini").expect("it is embedded");
    let mini = embedded
        .load(&device, FloatDType::F32)
        .expect("the embedded model loads");
    let prompt = mini.text.encode("a star spins on red", &device).expect("known words");
    let chain = mini.model.on(GRID, 1, prompt.states.dims()[1]).expect("its own grid");
    let cond = mini.model.condition(prompt, embedded.guidance).expect("its own width");
    let shape = chain.latent_shape();
    let latent = Latent::from_host(noise(1, &shape), shape, &device);
    let schedule = Schedule::new(Grid::Wan, 50, embedded.shift);
    let guidance = Guidance::TwoPass {
        scale: embedded.guidance,
    };
    let run = run_of(&chain, &schedule, guidance, CacheLimits::NONE, Data::default().into());
    let mut group = criterion.benchmark_group("pass");
    group.sample_size(20);
    group.bench_function("plain", |bencher| {
        bencher.iter(|| {
            let (hidden, ctx) = chain.embed(&latent, schedule.timesteps[0], &cond);
            let hidden = (0..run.end()).fold(hidden, |hidden, i| chain.unit(i, hidden, &ctx));
            chain.head(hidden, &ctx).to_host()
        })
    });
    group.bench_function("off", |bencher| {
        let mut off = Off::default();
        let claim = off.begin(&run).expect("off fits every run");
        let mut store = Store::new(run.clone(), &claim, vec![]).expect("nothing is claimed");
        bencher.iter(|| {
            let at = At {
                step: 0,
                branch: 0,
                unit: 0,
                full: false,
            };
            let prediction = pass(&chain, &mut off, &mut store, at, &latent, &cond, &[])
                .expect("off computes")
                .prediction;
            prediction.to_host()
        })
    });
    group.finish();
}

criterion_group!(benches, walk);
criterion_main!(benches);
