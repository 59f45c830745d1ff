//! Calibrated and published numbers beside an experiment.

use super::shipped::names_in;
use anyhow::{Context, Result};
use mixcache_policies::data::{Data, Kind, Recorded};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file that each datum was read from, by kind and name.
pub type Origins = BTreeMap<(Kind, String), PathBuf>;

/// All of `coefficients/*.toml`, `calibration/*.toml`, `ratios/*.toml`, `moments/*.toml` and `traces/*.json` beside the
/// experiment, and where it stands. Of two of one name the last file's counts.
pub fn read_data(folder: &Path) -> Result<(Data, Origins)> {
    let mut origins = Origins::new();
    let data = Data {
        tea: read(folder, Kind::Coefficients, &mut origins)?,
        mix: read(folder, Kind::Calibration, &mut origins)?,
        ratios: read(folder, Kind::Ratios, &mut origins)?,
        moments: read(folder, Kind::Moments, &mut origins)?,
        traces: read_traces(folder, &mut origins)?,
    };
    Ok((data, origins))
}

fn read<T: DeserializeOwned>(folder: &Path, kind: Kind, origins: &mut Origins) -> Result<BTreeMap<String, T>> {
    let folder = folder.join(kind.folder());
    let mut all = BTreeMap::new();
    for name in names_in(&folder, ".toml") {
        let path = folder.join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let more: BTreeMap<String, T> = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        origins.extend(more.keys().map(|name| ((kind, name.clone()), path.clone())));
        all.extend(more);
    }
    Ok(all)
}

fn read_traces(folder: &Path, origins: &mut Origins) -> Result<BTreeMap<String, Recorded>> {
    let folder = folder.join(Kind::Traces.folder());
    let read = |name: String| {
        let path = folder.join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let trace = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        origins.insert((Kind::Traces, name.clone()), path);
        Ok((name, trace))
    };
    names_in(&folder, ".json").into_iter().map(read).collect()
}
