//! The Wan transformer gives the numbers of the reference implementation.

use burn::tensor::Device;
use mixcache_core::models::wan::reference::run_case;
use std::path::{Path, PathBuf};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/wan")
        .join(name)
}

/// The cases' own tolerance: 20 times the reference's own float32 error of 3e-7, and room for diffusers'
/// timestep sinusoid, made in f32 where we follow the authors' f64 (6e-6 in the output near t = 1000).
const RELATIVE_L2_MAX: f64 = 1e-5;

fn check(name: &str, weights: &str, readings_expected: usize) {
    let readings = run_case(&case(name), weights, &Device::flex()).unwrap();
    assert_eq!(readings.len(), readings_expected, "recorded tensors that were compared");
    for reading in readings {
        let error = reading.relative_l2();
        println!(
            "{name} {weights} {}: relative L2 {error:.1e}, max {:.1e}",
            reading.name,
            reading.max_abs()
        );
        assert!(error < RELATIVE_L2_MAX, "{name}, {}: {error:e}", reading.name);
    }
}

#[test]
fn a_pass_and_its_parts_match_in_diffusers_keys() {
    check("wan_a", "diffusers.safetensors", 24);
}

#[test]
fn the_authors_keys_name_the_same_weights() {
    check("wan_a", "original.safetensors", 24);
}

#[test]
fn rows_of_a_batch_with_timesteps_of_their_own_match() {
    check("wan_b", "diffusers.safetensors", 13);
}
