//! The configurations of a group over the clips that all of them have: what may be compared clip by clip.

use super::summary::{Clip, Group, Summary};
use crate::stats::Trial;
use std::collections::BTreeSet;

/// How far a clip is from the uncached one, by one measure.
#[derive(Clone, Copy)]
pub struct Quality {
    /// Name for readers.
    pub name: &'static str,
    /// Its value; none where it was not measured, or where the clip equals the uncached one: then it is no quality, but
    /// the lack of an error.
    pub of: fn(&Clip) -> Option<f64>,
}

/// dB, higher is closer.
pub const PSNR: Quality = Quality {
    name: "PSNR",
    of: |clip| clip.psnr_db.filter(|db| *db < 100.0),
};

/// dB, higher is closer. For models whose latents are not decoded.
pub const LATENT: Quality = Quality {
    name: "latent SNR",
    of: |clip| {
        let error = clip.latent_rel_l2.filter(|error| *error > 0.0);
        error.map(|error| -20.0 * error.log10())
    },
};

/// Lower is closer.
pub const LPIPS: Quality = Quality {
    name: "LPIPS",
    of: |clip| clip.lpips.filter(|distance| *distance > 0.0),
};

/// Configurations with the same clips in the same order.
pub struct Paired<'a> {
    /// How many clips.
    pub clips: usize,
    /// In the order of the group.
    pub configurations: Vec<(&'a Summary, Trial)>,
}

impl<'a> Paired<'a> {
    /// None where quality or speed was not measured, or no clip has all configurations.
    pub fn of(group: &'a Group, quality: Quality) -> Option<Paired<'a>> {
        let measured = |clip: &'a Clip| {
            let values = [clip.compute_fraction?, clip.speedup?, (quality.of)(clip)?];
            Some((&clip.key, values))
        };
        // A configuration that changes nothing on some clip has no place on a curve.
        let whole: Vec<(&Summary, Vec<_>)> = group
            .summaries
            .iter()
            .filter(|summary| !summary.is_off())
            .map(|summary| (summary, summary.clips.iter().filter_map(measured).collect::<Vec<_>>()))
            .filter(|(summary, clips)| !clips.is_empty() && clips.len() == summary.clips.len())
            .collect();
        let keys = |clips: &[(&'a (String, u64), [f64; 3])]| clips.iter().map(|clip| clip.0).collect::<BTreeSet<_>>();
        let common = whole.iter().map(|(_, clips)| keys(clips)).reduce(|a, b| &a & &b)?;
        let trial = |clips: &[(&'a (String, u64), [f64; 3])]| {
            let chosen = || clips.iter().filter(|clip| common.contains(clip.0));
            let [compute, speedups, qualities] = [0, 1, 2].map(|i| chosen().map(|clip| clip.1[i]).collect());
            Trial {
                compute,
                speedups,
                qualities,
            }
        };
        let configurations = whole.iter().map(|(summary, clips)| (*summary, trial(clips)));
        (!common.is_empty()).then(|| Paired {
            clips: common.len(),
            configurations: configurations.collect(),
        })
    }

    /// The settings of each policy, by series, in the order of the group.
    pub fn series(&self) -> Vec<(&'a Summary, Vec<Trial>)> {
        let mut series: Vec<(&Summary, Vec<Trial>)> = Vec::new();
        for (summary, trial) in &self.configurations {
            match series.iter_mut().find(|(first, _)| first.series == summary.series) {
                Some((_, trials)) => trials.push(trial.clone()),
                None => series.push((summary, vec![trial.clone()])),
            }
        }
        series
    }
}
