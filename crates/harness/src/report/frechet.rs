//! The Fréchet distance between the clips of a configuration and the uncached ones. A property of sets, not of runs, so it
//! is worked out here, from the logits that every run recorded.

use super::summary::{Clip, Group, Summary};
use crate::metrics::frechet;

/// Between the clips of `summary` and the uncached ones of the same prompts and seeds. None where one of them has no logits.
pub fn distance(summary: &Summary, group: &Group) -> Option<f64> {
    let off = uncached(group).filter(|_| !summary.is_off())?;
    let same = |clip: &Clip| off.clips.iter().find(|other| other.key == clip.key);
    let uncached: Vec<&Clip> = summary.clips.iter().map(same).collect::<Option<_>>()?;
    let own: Vec<&[f32]> = summary.clips.iter().map(|clip| clip.i3d_logits.as_slice()).collect();
    let theirs: Vec<&[f32]> = uncached.iter().map(|clip| clip.i3d_logits.as_slice()).collect();
    let is_measured = own.iter().chain(&theirs).all(|logits| !logits.is_empty());
    is_measured.then(|| frechet::distance(&own, &theirs)).flatten()
}

/// What stands under the table: what the distance is, and what it is worth. Empty where it was not measured.
pub fn words(group: &Group) -> String {
    let measured = group
        .summaries
        .iter()
        .filter(|summary| distance(summary, group).is_some());
    let Some(clips) = measured.map(|summary| summary.clips.len()).min() else {
        return String::new();
    };
    let mut text = format!(
        "\nFréchet I3D: Fréchet distance of I3D features (400 logits of Kinetics-400, frames resized to 224×224) between the \
         {clips} clips of a policy and the uncached ones of the same prompts and seeds. No published FVD: those compare with \
         real videos, and thousands of them.\n"
    );
    if clips < frechet::CLIPS_LEAST {
        text += &format!(
            "\n**{clips} clips are fewer than {}: their covariance has rank {} of 400, and the distance means little.**\n",
            frechet::CLIPS_LEAST,
            clips - 1
        );
    }
    text
}

fn uncached(group: &Group) -> Option<&Summary> {
    let (label, _) = group.baseline.as_ref()?;
    group
        .summaries
        .iter()
        .find(|summary| summary.is_off() && summary.label == *label)
}
