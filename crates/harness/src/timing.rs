//! How long each part of a pass takes on a device, and what a run would take by that.

use burn::tensor::Device;
use mixcache_core::tensors::{Hidden, Latent};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{Run, Unit};
use std::time::Instant;

/// One part of a pass.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is: a unit by kind and first block, or all that lies outside the chain.
    pub name: String,
    /// How many of it a pass has.
    pub count: usize,
    /// Floating-point operations of one.
    pub flops: f64,
    /// Fastest and median time of one, in seconds.
    pub fastest_s: f64,
    /// Median time.
    pub median_s: f64,
}

/// Times of every part of a pass.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Every distinct part.
    pub parts: Vec<Part>,
    /// Index into `parts` of each unit of the chain.
    unit: Vec<usize>,
}

/// Times embedding and head together, and one unit of each sort, gate included. Each is waited for, so
/// the times include one launch latency each.
pub fn measure<D>(dit: &D, run: &Run, latent: &Latent, cond: &D::Cond, device: &Device, repeats: usize) -> Parts
where
    D: Dit<Hidden = Hidden, Latent = Latent>,
{
    let timestep = run.timesteps[0];
    let (hidden, ctx) = dit.embed(latent, timestep, cond);
    let mut parts = vec![Part::new("embedding and head", run.rest_flops, device, repeats, || {
        let (hidden, ctx) = dit.embed(latent, timestep, cond);
        dit.head(hidden, &ctx)
    })];
    parts[0].count = 1;
    let mut sorts: Vec<Unit> = vec![];
    let mut unit = vec![];
    for (i, one) in run.units.iter().enumerate() {
        let same = |sort: &Unit| (sort.kind, sort.flops) == (one.kind, one.flops);
        let sort = sorts.iter().position(same).unwrap_or_else(|| {
            sorts.push(*one);
            let name = format!("{} of block {}", crate::runner::name_of(&one.kind), one.block);
            parts.push(Part::new(&name, one.flops, device, repeats, || {
                let raw = dit.eval(i, &hidden, &ctx);
                dit.join(i, hidden.clone(), &raw, &ctx)
            }));
            sorts.len() - 1
        });
        parts[1 + sort].count += 1;
        unit.push(1 + sort);
    }
    Parts { parts, unit }
}

impl Part {
    fn new<T>(name: &str, flops: f64, device: &Device, repeats: usize, run: impl Fn() -> T) -> Part {
        let once = || {
            device.sync().expect("the device works");
            let start = Instant::now();
            let made = run();
            device.sync().expect("the device works");
            drop(made);
            start.elapsed().as_secs_f64()
        };
        once(); // kernels are compiled and tuned here
        let mut times: Vec<f64> = (0..repeats.max(1)).map(|_| once()).collect();
        times.sort_by(f64::total_cmp);
        Part {
            name: name.into(),
            count: 0,
            flops,
            fastest_s: times[0],
            median_s: times[times.len() / 2],
        }
    }
}

impl Parts {
    /// A whole pass by the sum of its parts, in seconds.
    pub fn pass_s(&self) -> f64 {
        self.parts.iter().map(|part| part.count as f64 * part.median_s).sum()
    }
    /// The run with seconds in place of operations: its costs come out in seconds.
    pub fn priced(&self, mut run: Run) -> Run {
        for (unit, &part) in run.units.iter_mut().zip(&self.unit) {
            unit.flops = self.parts[part].median_s;
        }
        run.rest_flops = self.parts[0].median_s;
        run
    }
}
