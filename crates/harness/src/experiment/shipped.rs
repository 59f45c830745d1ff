//! Where experiments are found by their names, and by those of models.

use super::Experiment;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The shipped experiment on each model: its size, sampler and policies are what the model is used with.
const OF_MODELS: [(&str, &str); 7] = [
    ("wan2.1-t2v-1.3b", "wan1_3b"),
    ("wan2.1-t2v-14b", "wan14b"),
    ("wan2.2-t2v-a14b", "wan2_2"),
    ("wan-mini", "mini"),
    ("hunyuan-video", "hunyuan"),
    ("hunyuan-mini", "hunyuan-mini"),
    ("cogvideox-5b", "cogvideox5b"),
];

impl Experiment {
    /// The shipped experiment on a model.
    ///
    /// # Errors
    /// When there is no such model or the experiments are not at hand.
    pub fn of_model(model: &str) -> Result<PathBuf> {
        let shipped = OF_MODELS.iter().find(|(known, _)| *known == model);
        let (_, experiment) = shipped.with_context(|| {
            let known: Vec<_> = OF_MODELS.iter().map(|(known, _)| *known).collect();
            format!("there is no model `{model}`: expected one of {}", known.join(", "))
        })?;
        Experiment::find(experiment)
    }

    /// Finds an experiment: a path to a TOML file, or a name in `experiments/` here, above, or where
    /// the program was built.
    pub fn find(name: &str) -> Result<PathBuf> {
        if name.ends_with(".toml") {
            ensure!(Path::new(name).is_file(), "there is no file {name}");
            return Ok(name.into());
        }
        let folders = Experiment::folders()?;
        let found = folders
            .iter()
            .map(|dir| dir.join(format!("{name}.toml")))
            .find(|path| path.is_file());
        found.with_context(|| {
            let known: Vec<String> = folders.iter().flat_map(|dir| names_in(dir, ".toml")).collect();
            format!(
                "there is no experiment `{name}`; known: {} (or give the path of a .toml file)",
                known.join(", ")
            )
        })
    }

    /// The nearest folder `experiments/`, which holds published and calibrated numbers as well.
    pub fn folder() -> Result<PathBuf> {
        let nearest = Experiment::folders()?.into_iter().next();
        nearest.context("there is no folder `experiments` here, above, or where the program was built")
    }

    /// Every folder `experiments/` here, above, and where the program was built.
    fn folders() -> Result<Vec<PathBuf>> {
        let here = std::env::current_dir()?;
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folders = here.ancestors().map(Path::to_path_buf).chain([built]);
        let folders = folders.map(|dir| dir.join("experiments"));
        Ok(folders.filter(|dir| dir.is_dir()).collect())
    }
}

/// Names of the files of a folder that end so, in order, without the ending.
pub(super) fn names_in(folder: &Path, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|e| {
            e.file_name()
                .into_string()
                .ok()?
                .strip_suffix(ending)
                .map(str::to_string)
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_shipped_experiment() {
        let of_models: Vec<&str> = OF_MODELS.iter().map(|(model, _)| *model).collect();
        assert_eq!(of_models, mixcache_core::models::Config::presets().collect::<Vec<_>>());
        for model in of_models {
            let experiment = Experiment::read(&Experiment::of_model(model).unwrap()).unwrap();
            assert_eq!(experiment.model.name, model);
        }
    }
}
