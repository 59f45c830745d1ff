//! The instruction sets the kernels are compiled for; the best one is chosen at run time.

use std::sync::OnceLock;

/// An instruction set of this machine. Values come from [`Isa::available`] alone, so holding one proves
/// that its instructions can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Tier);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// AVX-512 with dot products of bf16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the target of the build has.
    Portable,
}

impl Isa {
    /// All that this machine can run, fastest first.
    pub fn available() -> Vec<Isa> {
        let mut tiers = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            if is_x86_feature_detected!("avx512f") {
                if is_x86_feature_detected!("avx512bf16") {
                    tiers.push(Tier::Avx512Bf16);
                }
                tiers.push(Tier::Avx512);
            }
            tiers.push(Tier::Avx2);
        }
        tiers.push(Tier::Portable);
        tiers.into_iter().map(Isa).collect()
    }
    /// The fastest.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::available()[0])
    }
    pub(super) fn tier(self) -> Tier {
        self.0
    }
    /// Whether it multiplies pairs of bf16.
    pub(super) fn has_bf16(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Bf16 => true,
            _ => false,
        }
    }
}

/// `dispatch!(fn name(arguments) { wide, middle, portable })` makes `name(isa, arguments)`, which runs
/// `wide` compiled for AVX-512, `middle` for AVX2 with FMA, or `portable`. The three are plain Rust in
/// `#[inline(always)]` functions: inside a function that may use wider registers the compiler
/// vectorises them with those.
macro_rules! dispatch {
    ($(#[$doc:meta])* $visible:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) { $wide:expr, $middle:expr, $portable:expr }) => {
        $(#[$doc])*
        $visible fn $name(isa: $crate::kernels::isa::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($arg: $ty),*) {
                $wide($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                $middle($($arg),*)
            }
            match isa.tier() {
                // SAFETY: an `Isa` of this tier exists only where the features were detected.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::isa::Tier::Avx512Bf16 | $crate::kernels::isa::Tier::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::isa::Tier::Avx2 => unsafe { avx2($($arg),*) },
                $crate::kernels::isa::Tier::Portable => $portable($($arg),*),
            }
        }
    };
}
pub(super) use dispatch;
