//! How policies are listed and configured: one serde enum, made from the list in `lib.rs`.

/// Declares each policy's module and the enum [`PolicySpec`](crate::PolicySpec) over them. The
/// `kind` in an experiment is the policy's name in kebab case; its other keys are the public fields.
macro_rules! policies {
    ($($policy:ident in $module:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// A policy with its knobs, as an experiment writes it: `kind = "tea"`, `threshold = 0.1`, …
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        #[allow(clippy::large_enum_variant)] // a few dozen exist at once, none in a hot path
        pub enum PolicySpec {
            $(#[doc = concat!("See [`mod@", stringify!($module), "`].")] $policy($module::$policy),)*
        }

        impl PolicySpec {
            /// The policy itself, as it stands in here.
            pub(crate) fn as_policy(&mut self) -> &mut dyn plan::CachePolicy {
                match self {
                    $(PolicySpec::$policy(policy) => policy,)*
                }
            }
            /// What the policy looks up in the calibrated data, see [`CachePolicy::draws_on`](plan::CachePolicy::draws_on).
            pub fn draws_on(&self) -> Option<(data::Kind, &str)> {
                match self {
                    $(PolicySpec::$policy(policy) => plan::CachePolicy::draws_on(policy),)*
                }
            }
            /// A fresh policy with these knobs.
            pub fn policy(&self) -> Box<dyn plan::CachePolicy> {
                match self {
                    $(PolicySpec::$policy(policy) => Box::new(policy.clone()),)*
                }
            }

            /// Whether policies of this `kind` may reuse at more than one granularity, see
            /// [`CachePolicy::is_hybrid`](plan::CachePolicy::is_hybrid). None for a kind that is not in the list.
            pub fn is_hybrid(kind: &str) -> Option<bool> {
                // A kind is the name of its module.
                match kind.replace('-', "_").as_str() {
                    $(stringify!($module) => Some(<$module::$policy as plan::CachePolicy>::is_hybrid()),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use policies;
