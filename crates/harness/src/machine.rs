//! The machine a recording was made on. Seconds mean nothing without it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;

/// Facts of the host. The device that ran the model stands in every row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Processor model, or its architecture where the system does not say.
    pub cpu: String,
    /// Hardware threads this process may use.
    pub cores: u32,
    /// Installed memory in GiB to one decimal; unknown outside Linux.
    pub memory_gib: Option<f64>,
    /// Operating system and kernel.
    pub os: String,
    /// The compiler that built this program.
    pub rustc: String,
}

impl Machine {
    /// Asks the system. Never fails: what cannot be found is said to be unknown.
    pub fn detect() -> Machine {
        Machine {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            memory_gib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
                .map(|kib| (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0),
            os: os(),
            rustc: env!("MIXCACHE_RUSTC").to_string(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, {} cores", self.cpu, self.cores)?;
        match self.memory_gib {
            Some(gib) => write!(f, ", {gib:.1} GiB"),
            None => Ok(()),
        }
    }
}

/// The value of `key : value` in a file of the proc file system.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

fn os() -> String {
    let name = fs::read_to_string("/etc/os-release").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("PRETTY_NAME="))?;
        Some(line["PRETTY_NAME=".len()..].trim_matches('"').to_string())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    match (name, kernel) {
        (Some(name), Some(kernel)) => format!("{name}, {} {}", std::env::consts::OS, kernel.trim()),
        _ => std::env::consts::OS.to_string(),
    }
}
