//! Sweeps, metrics and reports for cache policies of video diffusion transformers.
//!
//! An [`experiment`] says what to run; a [`subject`] is the model it runs on; the [`runner`] turns one
//! policy, prompt and seed into a row ([`schema`]) and its decisions ([`trace`]); rows become a
//! recording ([`record`]), a recording becomes pictures and tables ([`report`]), all of them together the tables of a
//! paper ([`tables`]). [`parity`] compares the
//! model with its references. [`verbs`] is what the program can be told to do.

pub mod calibration;
pub mod checkpoint;
pub mod clock;
pub mod dry;
pub mod dynamics;
pub mod experiment;
pub mod machine;
pub mod memory;
pub mod metrics;
pub mod oracle;
pub mod parity;
pub mod progress;
pub mod record;
pub mod report;
pub mod runner;
pub mod schema;
pub mod sheet;
pub mod stats;
pub mod subject;
pub mod tables;
pub mod terminal;
pub mod timing;
pub mod trace;
pub mod verbs;
pub mod video;
