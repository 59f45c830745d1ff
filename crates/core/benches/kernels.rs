//! Every kernel of the CPU at the shapes of a block of 1024 tokens and width 384, and the block itself.

use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mixcache_core::device;
use mixcache_core::kernels::{self, Products, Then};
use mixcache_core::models::Chain;
use mixcache_core::models::wan::{Wan, WanConfig};
use mixcache_core::noise::noise;
use mixcache_core::tensors::Latent;
use mixcache_policies::chain::Dit;

/// As in `mixcache`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOKENS: usize = 1024;
const DIM: usize = 384;
const HEADS: usize = 6;
const FFN: usize = 1536;
const TEXT: usize = 128;
const EPS: f64 = 1e-6;

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn kernels(criterion: &mut Criterion) {
    let device = device::open("cpu").expect("the CPU is always there");
    let x = random([1, TOKENS, DIM], &device);
    let wide = random([1, TOKENS, FFN], &device);
    let [scale, shift] = [(); 2].map(|_| random([DIM], &device));
    let mut group = criterion.benchmark_group("kernel");
    let layer = |from, to, dtype| {
        let weight = random::<2>([from, to], &device).cast(dtype);
        kernels::panels(&weight, &random([to], &device)).expect("the CPU's kernels take it")
    };
    let f32 = FloatDType::F32;
    let (square, first, second) = (layer(DIM, DIM, f32), layer(DIM, FFN, f32), layer(FFN, DIM, f32));
    let in_bf16 = layer(FFN, DIM, FloatDType::BF16);
    group.bench_function("linear 384→384", |bencher| {
        bencher.iter(|| kernels::linear(x.clone(), &square, Then::Bias))
    });
    group.bench_function("linear 384→1536, GELU", |bencher| {
        bencher.iter(|| kernels::linear(x.clone(), &first, Then::BiasGelu))
    });
    group.bench_function("linear 1536→384", |bencher| {
        bencher.iter(|| kernels::linear(wide.clone(), &second, Then::Bias))
    });
    group.bench_function("linear 1536→384, products of bf16", |bencher| {
        bencher.iter(|| kernels::linear(wide.clone(), &in_bf16, Then::Bias))
    });
    group.bench_function("attention 1024×1024", |bencher| {
        bencher.iter(|| kernels::attention(x.clone(), x.clone(), x.clone(), HEADS, Products::F32))
    });
    group.bench_function("attention 1024×1024, products of bf16", |bencher| {
        bencher.iter(|| kernels::attention(x.clone(), x.clone(), x.clone(), HEADS, Products::Bf16))
    });
    let text = random([1, TEXT, DIM], &device);
    group.bench_function("attention 1024×128", |bencher| {
        bencher.iter(|| kernels::attention(x.clone(), text.clone(), text.clone(), HEADS, Products::F32))
    });
    group.bench_function("layer norm", |bencher| {
        bencher.iter(|| kernels::layer_norm(x.clone(), scale.clone(), shift.clone(), EPS))
    });
    // These work in place on a tensor that nobody else holds.
    let fresh = || x.clone().add_scalar(0.0);
    let rotary = [(); 2].map(|_| random([1, TOKENS, 1, DIM / HEADS / 2], &device));
    group.bench_function("RMS norm and rotation", |bencher| {
        let turn = |x| kernels::rms_rope(x, scale.clone(), Some(&rotary), EPS);
        bencher.iter_batched(fresh, turn, BatchSize::LargeInput)
    });
    group.bench_function("gated residual", |bencher| {
        let add = |y| kernels::add_gated(y, x.clone(), Some(scale.clone()));
        bencher.iter_batched(fresh, add, BatchSize::LargeInput)
    });
    group.bench_function("GELU 1024×1536", |bencher| {
        bencher.iter_batched(
            || wide.clone().add_scalar(0.0),
            kernels::gelu_tanh,
            BatchSize::LargeInput,
        )
    });
    group.finish();
}

fn block(criterion: &mut Criterion) {
    let device = device::open("cpu").expect("the CPU is always there");
    let config = WanConfig {
        dim: DIM,
        ffn_dim: FFN,
        heads: HEADS,
        layers: 1,
        text_dim: DIM,
        text_len: TEXT,
        ..WanConfig::preset("wan2.1-t2v-1.3b").expect("a preset")
    };
    let wan = Wan::random(config, 1, &device, FloatDType::F32);
    let chain = wan.on([4, 32, 32], 1).expect("patches of 2×2"); // 1024 tokens
    let latent = Latent::from_host(noise(1, &chain.latent_shape()), chain.latent_shape(), &device);
    let cond = wan.condition(random([1, TEXT, DIM], &device)).expect("its own width");
    let (hidden, ctx) = chain.embed(&latent, 500.0, &cond);
    let mut group = criterion.benchmark_group("block");
    group.sample_size(20);
    for (unit, name) in ["self-attention", "cross-attention", "feed-forward"]
        .into_iter()
        .enumerate()
    {
        group.bench_function(name, |bencher| bencher.iter(|| chain.unit(unit, hidden.clone(), &ctx)));
    }
    group.finish();
}

criterion_group!(benches, kernels, block);
criterion_main!(benches);
