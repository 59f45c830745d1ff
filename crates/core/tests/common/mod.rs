//! What holds for every model.

use burn::tensor::FloatDType;
use mixcache_core::models::reference::relative_l2;

/// Half precision gives the same latent as f32, within its digits, through a few steps of a few blocks.
pub fn half_precision_is_within_its_digits(latent: impl Fn(FloatDType) -> Vec<f32>) {
    let exact = latent(FloatDType::F32);
    // Units of rounding: 2^-8 and 2^-11.
    for (dtype, relative_l2_max) in [(FloatDType::BF16, 4e-2), (FloatDType::F16, 5e-3)] {
        let distance = relative_l2(&latent(dtype), &exact);
        println!("{dtype:?}: {distance:.1e}");
        assert!(0.0 < distance && distance < relative_l2_max, "{dtype:?}: {distance:e}");
    }
}
