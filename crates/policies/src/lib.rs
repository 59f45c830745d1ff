//! Cache policies for diffusion transformers, as plain data: no tensors, no IO.
//!
//! Start at [`plan`]: the vocabulary. [`chain`] is the one loop that walks a model under a policy,
//! [`store`] what the cache holds, [`data`] what was calibrated; every other module is one policy.

pub mod chain;
pub mod data;
mod forecast;
pub mod form;
pub mod linear;
pub mod plan;
pub mod replay;
mod scm;
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
    Mask in mask,
    Tea in tea,
    Mag in mag,
    Easy in easy,
    Sea in sea,
    FirstBlocks in first_blocks,
    Di in di,
    Bw in bw,
    BlockDance in block_dance,
    DeltaDit in delta_dit,
    Pab in pab,
    Faster in faster,
    TaylorSeer in taylor_seer,
    Ada in ada,
    AdaptiveGuidance in adaptive_guidance,
    GuidanceInterval in guidance_interval,
    Mix in mix,
    Planned in planned,
    Amended in amended,
    Trace in trace,
}
