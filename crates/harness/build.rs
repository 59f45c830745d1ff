//! Records what was built: git revision, versions.

use std::process::Command;

fn main() {
    // Any change of the sources, or a commit, changes what a recorded row should say.
    for watched in ["..", "../../Cargo.lock", "../../.git/HEAD", "../../.git/logs/HEAD"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let revision = run(
        "git",
        &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
    );
    let rustc = run(&std::env::var("RUSTC").unwrap_or("rustc".into()), &["--version"]);
    let lock = std::fs::read_to_string("../../Cargo.lock").unwrap_or_default();
    let burn = lock
        .split("name = \"burn\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let (mixcache, burn) = (env!("CARGO_PKG_VERSION"), burn.unwrap_or("unknown"));
    println!("cargo::rustc-env=MIXCACHE_GIT_REVISION={revision}");
    println!("cargo::rustc-env=MIXCACHE_RUSTC={rustc}");
    println!("cargo::rustc-env=MIXCACHE_VERSIONS=mixcache {mixcache}; burn {burn}; {rustc}");
}

/// The first line a program prints, or "unknown".
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .ok()
        .filter(|output| output.status.success());
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_string()
}
