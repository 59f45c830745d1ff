//! Calibrated and published numbers beside an experiment.

use super::shipped::names_in;
use anyhow::{Context, Result};
use mixcache_policies::data::{Data, MagRatios, MixCalibration, Moments, Recorded, TeaCoefficients};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All of `coefficients/*.toml`, `calibration/*.toml`, `ratios/*.toml`, `moments/*.toml` and `traces/*.json` beside the experiment.
pub fn read_data(folder: &Path) -> Result<Data> {
    fn read<T: serde::de::DeserializeOwned>(folder: PathBuf) -> Result<BTreeMap<String, T>> {
        let mut all = BTreeMap::new();
        for name in names_in(&folder, ".toml") {
            let path = folder.join(format!("{name}.toml"));
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let more: BTreeMap<String, T> = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
            all.extend(more);
        }
        Ok(all)
    }
    Ok(Data {
        tea: read::<TeaCoefficients>(folder.join("coefficients"))?,
        mix: read::<MixCalibration>(folder.join("calibration"))?,
        ratios: read::<MagRatios>(folder.join("ratios"))?,
        moments: read::<Moments>(folder.join("moments"))?,
        traces: read_traces(&folder.join("traces"))?,
    })
}

fn read_traces(folder: &Path) -> Result<BTreeMap<String, Recorded>> {
    let read = |name: String| {
        let path = folder.join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let trace = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        Ok((name, trace))
    };
    names_in(folder, ".json").into_iter().map(read).collect()
}
