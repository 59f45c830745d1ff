//! What stands beside the runs of a sweep: every metric of a clip against its reference, and the clip as a file. Nine
//! frames of 832 × 480: what compares neighbouring frames, and the encoder, need more than one. Throughput is in frames.

use burn::tensor::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mixcache_harness::metrics::{Frames, METRICS, Measure, Meter};
use mixcache_harness::video::write_mp4;
use std::hint::black_box;

/// As in `mixcache`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZE: [usize; 3] = [9, 480, 832];
const FPS: u16 = 16;

/// Waves that wander two pixels a frame, `shift` pixels further on.
fn clip(shift: usize) -> Frames {
    let [count, height, width] = SIZE;
    let value = |at: usize| {
        let [t, y, x, c] = [at / 3 / width / height, at / 3 / width % height, at / 3 % width, at % 3];
        let phase = (x + 2 * t + shift) as f32 / 11.0 + (y as f32 / 17.0 + c as f32).sin();
        0.5 + 0.4 * phase.sin()
    };
    let data = (0..count * height * width * 3).map(value).collect();
    Frames::new(count, height, width, data).expect("finite")
}

fn scoring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scoring");
    group.throughput(Throughput::Elements(SIZE[0] as u64)).sample_size(10);
    let (frames, reference) = (clip(1), clip(0));
    let meter = Meter::new(&Device::flex());
    for metric in METRICS {
        group.bench_function(metric.column, |bencher| {
            bencher.iter(|| match metric.measure {
                Measure::Host(measure) => black_box(measure(&frames, &reference)),
                Measure::Device(measure) => black_box(measure(&meter, &frames, &reference)),
            })
        });
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("clip.mp4");
    group.bench_function("mp4", |bencher| {
        bencher.iter(|| write_mp4(&path, &frames, FPS).expect("it is written"))
    });
    group.finish();
}

criterion_group!(benches, scoring);
criterion_main!(benches);
