//! The transformers, each a chain of units ([`mixcache_policies::chain::Dit`]).

mod ops;
pub mod wan;
