//! Sizes of whichever autoencoder belongs to a transformer.

use super::wan::keys;
use super::{CogVideoXVae, CogVideoXVaeConfig, HunyuanVae, HunyuanVaeConfig, Vae, WanVae, WanVaeConfig, cogvideox};
use crate::inventory::{Asked, KeyLayout};
use crate::models::config::beside;
use crate::models::{Config, ConfigFileError};
use crate::weights::{Loader, Weights, WeightsError};
use burn::tensor::{Device, FloatDType};
use std::path::Path;

/// Sizes of an autoencoder.
#[derive(Clone, Debug, PartialEq)]
pub enum VaeConfig {
    /// Of Wan2.1.
    Wan(WanVaeConfig),
    /// Of HunyuanVideo.
    Hunyuan(HunyuanVaeConfig),
    /// Of CogVideoX.
    CogVideoX(CogVideoXVaeConfig),
}

impl VaeConfig {
    /// The one that is published with a transformer.
    pub fn published(model: &Config) -> VaeConfig {
        match model {
            Config::Wan(_) => VaeConfig::Wan(WanVaeConfig::published()),
            Config::Hunyuan(_) => VaeConfig::Hunyuan(HunyuanVaeConfig::published()),
            Config::CogVideoX(_) => VaeConfig::CogVideoX(CogVideoXVaeConfig::published()),
        }
    }
    /// The one that a checkpoint has for a transformer: by the `config.json` in its folder, or as published.
    ///
    /// # Errors
    /// [`ConfigFileError`] when the file cannot be read or used.
    pub fn of(model: &Config, path: &Path) -> Result<VaeConfig, ConfigFileError> {
        let found = match model {
            Config::Wan(_) => beside(path, WanVaeConfig::parse)?.map(VaeConfig::Wan),
            Config::Hunyuan(_) => beside(path, HunyuanVaeConfig::parse)?.map(VaeConfig::Hunyuan),
            Config::CogVideoX(_) => beside(path, CogVideoXVaeConfig::parse)?.map(VaeConfig::CogVideoX),
        };
        Ok(found.unwrap_or_else(|| VaeConfig::published(model)))
    }
    /// Loads its weights.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn load(self, weights: Weights, device: &Device) -> Result<Vae, WeightsError> {
        Ok(match self {
            VaeConfig::Wan(config) => Vae::Wan(WanVae::load(config, weights, device)?),
            VaeConfig::Hunyuan(config) => Vae::Hunyuan(HunyuanVae::load(config, weights, device)?),
            VaeConfig::CogVideoX(config) => Vae::CogVideoX(CogVideoXVae::load(config, weights, device)?),
        })
    }
    /// The same architecture, small.
    pub fn tiny(mut self) -> VaeConfig {
        let (groups, widths) = (4, vec![8, 8, 8, 16]);
        match &mut self {
            VaeConfig::Wan(config) => config.base = 4,
            VaeConfig::Hunyuan(config) => (config.groups, config.widths) = (groups, widths),
            VaeConfig::CogVideoX(config) => (config.groups, config.widths) = (groups, widths),
        }
        self
    }
    /// Frames behind the first of a video must be a multiple of this. CogVideoX's decodes latent frames in pairs, so of
    /// an even number of them not even the first would stand for itself.
    pub fn frames_at_once(&self) -> usize {
        match self {
            VaeConfig::Wan(config) => config.strides()[0],
            VaeConfig::Hunyuan(config) => config.strides()[0],
            VaeConfig::CogVideoX(config) => cogvideox::LATENT_FRAMES_AT_ONCE * config.strides()[0],
        }
    }
    /// What it asks a checkpoint of this layout for.
    pub fn inventory(&self, layout: KeyLayout) -> Vec<Asked> {
        let device = Device::flex();
        let places = match self {
            VaeConfig::Wan(_) => keys::of(layout),
            VaeConfig::Hunyuan(_) | VaeConfig::CogVideoX(_) => std::convert::identity,
        };
        let mut loader = Loader::listing(places, &device, FloatDType::F32);
        match self.clone() {
            VaeConfig::Wan(config) => drop(WanVae::build(config, layout, &mut loader, &device)),
            VaeConfig::Hunyuan(config) => drop(HunyuanVae::build(config, &mut loader)),
            VaeConfig::CogVideoX(config) => drop(CogVideoXVae::build(config, &mut loader)),
        }
        loader.into_asked()
    }
}
