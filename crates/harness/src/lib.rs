//! Sweeps, metrics and reports for cache policies of video diffusion transformers.
//!
//! The results side reads top to bottom: a run becomes a row ([`schema`]), rows become a recording
//! ([`record`]), a recording becomes pictures and tables ([`report`]). Only [`metrics`] and [`video`]
//! ever see frames, and nothing here runs a model.

pub mod clock;
pub mod machine;
pub mod metrics;
pub mod record;
pub mod report;
pub mod schema;
pub mod video;
