//! Cache policies for diffusion transformers, as plain data: no tensors, no IO.
//!
//! Start at [`plan`]: the vocabulary. [`chain`] is the one loop that walks a model under a policy,
//! [`store`] what the cache holds; every other module is one policy.

pub mod chain;
pub mod plan;
pub mod store;
