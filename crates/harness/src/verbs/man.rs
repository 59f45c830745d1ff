//! `mixcache man`: manual pages.

use anyhow::{Context, Result};
use clap::Command;
use std::path::PathBuf;

/// Write manual pages, one for the program and one a verb.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder they go to, e.g. ~/.local/share/man/man1.
    folder: PathBuf,
}

/// Runs the verb for the program described by `command`.
pub fn run(args: Args, command: Command) -> Result<()> {
    let folder = args.folder;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    clap_mangen::generate_to(command, &folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    println!("{}", folder.join("mixcache.1").display());
    Ok(())
}
