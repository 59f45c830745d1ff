//! The transformers, each a chain of units ([`mixcache_policies::chain::Dit`]).

pub mod ops;
pub mod wan;
