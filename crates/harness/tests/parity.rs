//! The committed numbers of the reference implementations, through the same code as `mixcache parity`.

use mixcache_harness::parity::{Verdict, compare};
use std::path::Path;

#[test]
fn the_committed_cases_are_equal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/golden");
    let findings = compare(&folder, &mixcache_core::device::open("cpu").unwrap()).unwrap();
    let failures: Vec<_> = findings.iter().filter(|finding| finding.is_failure()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    let measured = |case: &str| {
        let of_case = findings.iter().filter(|f| f.case.starts_with(case));
        of_case
            .filter(|f| matches!(f.verdict, Verdict::Measured { .. }))
            .count()
    };
    for case in [
        "wan",
        "schedulers/euler",
        "schedulers/unipc",
        "schedulers/dpmpp",
        "schedulers/ddim",
        "schedulers/dpmpp_sde",
        "cogvideox/cog_a",
        "trajectories/teacache",
        "trajectories/dbcache",
        "hunyuan/hy_a",
        "hunyuan/hy_b",
        "trajectories_hunyuan/first_block_cache",
        "trajectories_hunyuan/teacache",
        "metrics/bikes_big",
        "trajectories_cogvideox/no_cache",
        "trajectories_cogvideox/first_block_cache",
        "clip",
        "llama",
        "t5",
        "umt5",
        "wan_vae",
        "hunyuan_vae",
        "cogvideox_vae",
    ] {
        assert!(measured(case) > 0, "nothing was compared for {case}");
    }
}

#[test]
fn a_number_that_differs_is_found() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/golden/schedulers");
    let folder = tempfile::TempDir::new().unwrap();
    for file in ["euler.json", "euler.safetensors"] {
        std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("euler.json");
    let text = std::fs::read_to_string(&path).unwrap();
    // The recorded run used another shift than its file now says.
    let changed = text.replacen("\"shift\": 3.0", "\"shift\": 3.1", 1);
    assert_ne!(changed, text);
    std::fs::write(&path, changed).unwrap();
    let findings = compare(folder.path(), &mixcache_core::device::open("cpu").unwrap()).unwrap();
    assert!(findings.iter().any(|finding| finding.is_failure()));
}
