//! `mixcache completions`: what a shell needs to complete verbs and options.

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

/// Print a script that completes verbs and options in a shell.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The shell, e.g. `mixcache completions bash > ~/.local/share/bash-completion/completions/mixcache`.
    shell: Shell,
}

/// Runs the verb for the program described by `command`.
pub fn run(args: Args, mut command: Command) -> Result<()> {
    let name = command.get_name().to_string();
    clap_complete::generate(args.shell, &mut command, name, &mut std::io::stdout());
    Ok(())
}
