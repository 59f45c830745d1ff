//! Times a model's first block, all blocks, or one pass, whenever it is asked to: mixcache's side of `experiments/bench-torch`.
//!
//! `stopwatch DEVICE CONFIG FRAMES ROWS COLUMNS block|blocks|pass f32|bf16`, with `config.json` as text and the size of
//! the latent. Says first how many floating-point operations that is, then answers every line on the standard input by the
//! seconds of one run on the device.

use burn::tensor::{Distribution, FloatDType, Tensor};
use mixcache_core::device;
use mixcache_core::models::{Chain, Config, Prompt};
use mixcache_core::noise::noise;
use mixcache_core::tensors::Latent;
use mixcache_policies::chain::Dit;
use std::io::{BufRead, Write};
use std::time::Instant;

/// As in `mixcache`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TIMESTEP: f32 = 500.0;
const GUIDANCE: f32 = 6.0;

fn main() {
    // As in `mixcache`.
    let threads = rayon::ThreadPoolBuilder::new().use_current_thread();
    threads.build_global().expect("nothing has used the threads yet");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, config, sizes @ .., what, dtype] = arguments.as_slice() else {
        panic!("expected DEVICE CONFIG FRAMES ROWS COLUMNS block|blocks|pass f32|bf16");
    };
    let sizes: Vec<usize> = sizes.iter().map(|size| size.parse().expect("a size")).collect();
    let grid = <[usize; 3]>::try_from(sizes).expect("frames, rows, columns");
    let config = Config::parse(config).expect("the config of a model");
    let dtype = match dtype.as_str() {
        "f32" => FloatDType::F32,
        "bf16" => FloatDType::BF16,
        other => panic!("{other}: expected f32 or bf16"),
    };

    let device = device::open(device).unwrap_or_else(|error| panic!("{error}"));
    let (text_len, (text_dim, pooled_dim)) = (config.text_len(), config.text_widths());
    let model = config.random(0, &device, dtype);
    let chain = model.on(grid, 1, text_len).expect("a size that patches divide");
    let shape = chain.latent_shape();
    let latent = Latent::from_host(noise(0, &shape), shape, &device);
    let prompt = Prompt {
        states: Tensor::random([1, text_len, text_dim], Distribution::Normal(0.0, 1.0), &device),
        pooled: Tensor::random([1, pooled_dim.unwrap_or(1)], Distribution::Normal(0.0, 1.0), &device),
    };
    let cond = model.condition(prompt, GUIDANCE).expect("its own widths");
    let (hidden, ctx) = chain.embed(&latent, TIMESTEP, &cond);
    let units = chain.units();
    let block = units.iter().take_while(|unit| unit.block == 0).count();
    let flops = |count: usize| units[..count].iter().map(|unit| unit.flops).sum::<f64>();
    let work = match what.as_str() {
        "block" => flops(block),
        "blocks" => flops(units.len()),
        _ => flops(units.len()) + chain.rest_flops(),
    };
    println!("{work}");
    let through = |count: usize| (0..count).fold(hidden.clone(), |hidden, i| chain.unit(i, hidden, &ctx));

    for line in std::io::stdin().lock().lines() {
        line.expect("lines");
        let start = Instant::now();
        // What is made is held until the clock has stopped: GPU back ends compute nothing that nobody will read.
        let made: Box<dyn std::any::Any> = match what.as_str() {
            "block" => Box::new(through(block)),
            "blocks" => Box::new(through(units.len())),
            "pass" => {
                let (hidden, ctx) = chain.embed(&latent, TIMESTEP, &cond);
                let hidden = (0..units.len()).fold(hidden, |hidden, i| chain.unit(i, hidden, &ctx));
                Box::new(chain.head(hidden, &ctx))
            }
            other => panic!("{other}: expected block, blocks or pass"),
        };
        device.sync().expect("the device computes it");
        let seconds = start.elapsed().as_secs_f64();
        drop(made);
        println!("{seconds}");
        std::io::stdout().flush().expect("someone reads");
    }
}
