//! What a run needs at least of the memory of its device, before anything is loaded.

use crate::checkpoint::Checkpoint;
use crate::experiment::Experiment;
use crate::machine::Machine;
use crate::runner::Runner;
use crate::subject::{Subject, dtype};
use anyhow::{Result, ensure};
use mixcache_core::device;
use mixcache_core::inventory::{Asked, KeyLayout};
use mixcache_core::models::{Chain, Config};
use mixcache_core::vae::VaeConfig;
use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

const GIB: f64 = (1u64 << 30) as f64;

/// Memory of a device that a run cannot do without.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Need {
    /// The transformer's weights, of both where there are two experts, and those of the video autoencoder where the
    /// checkpoint has one, each in the dtype it is kept in; of blocks that stay on the host the largest.
    pub weights_bytes: u64,
    /// What stands at once in the widest unit of a pass: hidden state, its normed copy, and the feed-forward's inner
    /// one, or queries, keys, values and their mixture. A back end may hold more.
    pub pass_bytes: u64,
    /// What the policy claims that claims most.
    pub cache_bytes: u64,
    /// What stands at once where decoding is widest, behind the last pass, when the cache is gone.
    pub decode_bytes: u64,
}

impl Need {
    /// What the runs of an experiment need.
    ///
    /// # Errors
    /// When the experiment does not fit its model.
    pub fn of(experiment: &Experiment) -> Result<Need> {
        let subject = Subject::hollow(experiment)?;
        let config = subject.model.config();
        let kept = device::weights(subject.model.device(), dtype(&experiment.model.dtype)?);
        let (_, asked) = config.hollow(KeyLayout::Original, kept);
        let runner = Runner::new(experiment, &subject);
        let mut need = Need {
            weights_bytes: config.experts() as u64 * weights_bytes(&asked, experiment.model.offload),
            pass_bytes: 0,
            cache_bytes: 0,
            decode_bytes: 0,
        };
        if let Some(vae) = autoencoder(experiment, &config)? {
            let video = experiment.video;
            let size = [video.frames, video.height, video.width];
            need.weights_bytes += vae
                .inventory(KeyLayout::Diffusers)
                .iter()
                .map(Asked::device_bytes)
                .sum::<u64>();
            need.decode_bytes = vae.decode_bytes(size, experiment.model.vae_tiles);
        }
        let tokens = |prompt: &&String| subject.chain(1, prompt).map_or(0, |chain| chain.hidden_shape()[1]);
        let prompts = experiment.runs.prompts.iter();
        let longest = prompts.max_by_key(tokens).expect("an experiment has prompts"); // holds most
        need.pass_bytes = pass_bytes(&subject.chain(1, longest)?, &config);
        for variant in &experiment.policies {
            let mut policy = variant.spec.policy();
            // What does not fit is refused, or a row with its error, later: here it needs nothing.
            let run = runner.run(variant, longest, policy.steps(experiment.sampler.steps).max(1));
            let claimed = run.ok().and_then(|(run, _)| Some(policy.begin(&run).ok()?.bytes(&run)));
            need.cache_bytes = need.cache_bytes.max(claimed.unwrap_or(0));
        }
        Ok(need)
    }
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.weights_bytes + (self.pass_bytes + self.cache_bytes).max(self.decode_bytes)
    }
    /// Refuses a run that its device cannot hold.
    ///
    /// # Errors
    /// With all numbers, when the device is known to have less.
    pub fn check(&self, experiment: &Experiment) -> Result<()> {
        let model = &experiment.model;
        let Some(capacity_bytes) = capacity_bytes(&model.device) else {
            return Ok(());
        };
        ensure!(
            self.bytes() <= capacity_bytes,
            "{} in {} does not fit: it needs {self}, and device {} has {:.1} GiB. Choose another device or dtype, a smaller \
             `[video]`, `vae_tiles = true`, or policies that hold less",
            model.name,
            model.dtype,
            model.device,
            capacity_bytes as f64 / GIB
        );
        Ok(())
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let gib = |bytes: u64| bytes as f64 / GIB;
        write!(
            f,
            "at least {:.2} GiB: weights {:.2}, a pass {:.2}, the largest cache {:.2}",
            gib(self.bytes()),
            gib(self.weights_bytes),
            gib(self.pass_bytes),
            gib(self.cache_bytes)
        )?;
        match self.decode_bytes {
            0 => Ok(()),
            bytes => write!(f, "; then decoding {:.2}", gib(bytes)),
        }
    }
}

/// Bytes of a transformer's weights on the device: all, or of blocks that stay on the host the largest.
fn weights_bytes(asked: &[Asked], offload: bool) -> u64 {
    let (mut rest, mut blocks) = (0, BTreeMap::<usize, u64>::new());
    for tensor in asked {
        let of = match tensor.block.filter(|_| offload) {
            Some(block) => blocks.entry(block).or_default(),
            None => &mut rest,
        };
        *of += tensor.device_bytes();
    }
    rest + blocks.into_values().max().unwrap_or(0)
}

/// Sizes of the autoencoder that a checkpoint has.
fn autoencoder(experiment: &Experiment, model: &Config) -> Result<Option<VaeConfig>> {
    let weights = experiment.model.weights.as_deref();
    let found = weights.and_then(|path| Checkpoint::find(path).vae.ok());
    Ok(found.map(|path| VaeConfig::of(model, &path)).transpose()?)
}

fn pass_bytes(chain: &impl Chain, config: &Config) -> u64 {
    let [width, inner] = config.widths();
    chain.hidden_bytes() * (2 * width + inner).max(5 * width) as u64 / width as u64
}

/// Memory of a device, where it can be asked for.
fn capacity_bytes(device: &str) -> Option<u64> {
    match device.split_once(':') {
        None if device == "cpu" => Machine::detect().memory_gib.map(|gib| (gib * GIB) as u64),
        Some(("cuda", index)) => {
            let query = ["--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", index];
            let answer = Command::new("nvidia-smi").args(query).output().ok()?;
            let mib: u64 = String::from_utf8(answer.stdout).ok()?.trim().parse().ok()?;
            Some(mib << 20)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A shipped experiment, of bf16 with f16 in its place: a CPU has states of two bytes in that alone, a GPU in both.
    fn experiment(name: &str) -> Experiment {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
        let mut experiment = Experiment::read(&folder.join(format!("{name}.toml"))).unwrap();
        if experiment.model.dtype == "bf16" {
            experiment.model.dtype = "f16".into();
        }
        experiment
    }

    #[test]
    fn a_published_model_needs_its_weights_a_pass_and_the_hungriest_policys_claim() {
        let need = Need::of(&experiment("wan1_3b")).unwrap();
        let hidden_bytes = 21 * 30 * 52 * 1536 * 2; // 832×480, 81 frames, two bytes each
        // First-block caching: a residual of the first block and one of the rest, for each of two branches, and two
        // in flight.
        assert_eq!(need.cache_bytes, 6 * hidden_bytes);
        // The feed-forward: hidden state, its normed copy, 8960 inner channels.
        assert_eq!(need.pass_bytes, hidden_bytes / 1536 * (2 * 1536 + 8960));
        // Two bytes a parameter; time embedding, norms and head have four.
        let parameters = 1_418_996_800;
        assert!(need.weights_bytes > 2 * parameters && need.weights_bytes < 2 * parameters + 100_000_000);
    }

    #[test]
    fn on_a_cpu_bf16_is_that_of_weights_alone() {
        let in_dtype = |dtype: &str| {
            let mut experiment = experiment("wan1_3b");
            experiment.model.dtype = dtype.into();
            Need::of(&experiment).unwrap()
        };
        let [f32, bf16] = ["f32", "bf16"].map(in_dtype);
        assert_eq!((bf16.pass_bytes, bf16.cache_bytes), (f32.pass_bytes, f32.cache_bytes));
        // A CPU that cannot multiply them keeps what they are in f32.
        let halved = f32.weights_bytes - 2 * 1_400_000_000 > bf16.weights_bytes;
        assert_eq!(halved, mixcache_core::kernels::has_bf16());
    }

    #[test]
    fn of_offloaded_blocks_the_largest_is_on_the_device() {
        let square = |width: u64| width * width;
        // Blocks that are away, their parameters, and what is left, without a cache, as the README has it.
        for (name, away, parameters, gib) in [
            // Four d × d layers twice, and the feed-forward.
            ("wan14b", 39, 39 * (8 * square(5120) + 2 * 5120 * 13824), 3.0),
            // Of each stream of a double block 6 + 3 + 1 + 8 such layers, of a single block 3 + 7 + 5.
            ("hunyuan", 19 + 40, (19 * 36 + 40 * 15) * square(3072), 3.7),
            // 12 of 512 × d, 4, and 8.
            ("cogvideox5b", 41, 41 * (12 * square(3072) + 12 * 512 * 3072), 0.9),
        ] {
            let resident = experiment(name);
            let mut offloaded = resident.clone();
            offloaded.model.offload = true;
            let [all, one] = [&resident, &offloaded].map(|experiment| Need::of(experiment).unwrap());
            let (saved, bytes) = (all.weights_bytes - one.weights_bytes, 2 * parameters);
            // Biases and norms are left out above: less than a megabyte a block.
            assert!(
                saved > bytes && saved < bytes + away * 1_000_000,
                "{name}: {saved}, {bytes}"
            );
            let left = (one.weights_bytes + one.pass_bytes) as f64 / GIB;
            assert_eq!(format!("{left:.1}"), format!("{gib:.1}"), "{name}");
        }
    }

    #[test]
    fn both_experts_of_wan2_2_are_held_at_once() {
        let [one, two] = ["wan14b", "wan2_2"].map(|name| Need::of(&experiment(name)).unwrap());
        assert_eq!(two.weights_bytes, 2 * one.weights_bytes);
        assert_eq!(two.pass_bytes, one.pass_bytes);
    }

    #[test]
    fn what_a_device_cannot_hold_is_refused_with_the_numbers() {
        let experiment = experiment("mini");
        let need = Need {
            weights_bytes: 1 << 50,
            pass_bytes: 1 << 31,
            cache_bytes: 1 << 30,
            decode_bytes: 1 << 30,
        };
        // Where the system does not say how much memory it has, nothing is refused.
        if capacity_bytes("cpu").is_some() {
            let refused = need.check(&experiment).unwrap_err().to_string();
            for part in [
                "wan-mini in f32 does not fit",
                "at least 1048579.00 GiB: weights 1048576.00, a pass 2.00, the largest cache 1.00; then decoding 1.00",
            ] {
                assert!(refused.contains(part), "{refused}");
            }
        }
        let fits = Need {
            weights_bytes: 1 << 20,
            pass_bytes: 1,
            cache_bytes: 1,
            decode_bytes: 0,
        };
        assert!(fits.check(&experiment).is_ok());
    }
}
