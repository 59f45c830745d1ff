//! Cache policies for diffusion transformers, as plain data: no tensors, no IO.
//!
//! Start at [`plan`]: the vocabulary. [`chain`] is the one loop that walks a model under a policy,
//! [`store`] what the cache holds, [`data`] what was calibrated; every other module is one policy.

pub mod chain;
pub mod data;
pub mod form;
pub mod plan;
pub mod replay;
mod spec;
pub mod store;

// The only list of policies: each line declares the module and its `kind` in an experiment.
spec::policies! {
    Off in off,
    FewerSteps in fewer_steps,
    Uniform in uniform,
    Random in random,
    Step in step,
    Cfg in cfg,
    Block in block,
    Tea in tea,
    FirstBlocks in first_blocks,
    Mix in mix,
    Trace in trace,
}
