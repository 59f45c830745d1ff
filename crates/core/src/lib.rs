//! Video diffusion transformers on Burn, as chains of cacheable units.
//!
//! [`denoise`] is the one sampling loop; [`models`] lists the transformers, each an implementation of
//! [`mixcache_policies::chain::Dit`]. Tensors, devices and weights live in this crate only.

mod amend;
pub mod codec;
mod ddim;
pub mod denoise;
pub mod device;
pub mod dpmpp;
pub mod dpmpp_sde;
pub mod fake;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod inventory;
pub mod kernels;
pub mod linear;
pub mod mini;
pub mod models;
pub mod noise;
pub mod sampler;
pub mod schedule;
pub mod tensors;
pub mod text;
mod unipc;
pub mod vae;
pub mod weights;
