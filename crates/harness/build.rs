//! Records what was built: git revision, versions.

use std::process::Command;

fn main() {
    // Any change of the sources, or a commit, changes what a recorded row should say.
    for watched in ["..", "../../Cargo.lock", "../../.git/HEAD", "../../.git/logs/HEAD"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let revision = run("git", &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| run(&rustc, &["--version"]));
    let lock = std::fs::read_to_string("../../Cargo.lock").unwrap_or_default();
    let burn = lock.split("name = \"burn\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    println!("cargo::rustc-env=MIXCACHE_GIT_REVISION={}", revision.unwrap_or("unknown".into()));
    println!(
        "cargo::rustc-env=MIXCACHE_VERSIONS=mixcache {}; burn {}; {}",
        env!("CARGO_PKG_VERSION"),
        burn.unwrap_or("unknown"),
        rustc.unwrap_or("rustc unknown".into())
    );
}
