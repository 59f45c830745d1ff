//! `mixcache fake-weights`: a checkpoint of random numbers, with the names, shapes and files of a published one.

use crate::subject::preset;
use anyhow::{Result, ensure};
use mixcache_core::fake::{components, tiny, write};
use mixcache_core::inventory::KeyLayout;
use mixcache_core::mini;
use std::path::PathBuf;

/// Write a checkpoint of random numbers with the names, shapes and files of a published one: to try the way from a
/// download to a run without the download.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Model, e.g. wan2.1-t2v-1.3b.
    model: String,
    /// A few small blocks, or the published sizes.
    #[arg(long, value_enum, default_value_t = Scale::Tiny)]
    scale: Scale,
    /// Names of the model's authors, or of diffusers.
    #[arg(long, value_enum, default_value_t = Layout::Diffusers)]
    layout: Layout,
    /// Seed of the numbers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the checkpoint.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(clap::ValueEnum, Copy, Clone, Debug, PartialEq, Eq)]
enum Scale {
    Tiny,
    Full,
}

#[derive(clap::ValueEnum, Copy, Clone, Debug)]
enum Layout {
    Original,
    Diffusers,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let full = preset(&args.model)?;
    ensure!(
        mini::find(&args.model).is_none(),
        "{} comes with the program; choose a model that is downloaded",
        args.model
    );
    let config = match args.scale {
        Scale::Tiny => tiny(&full),
        Scale::Full => full.clone(),
    };
    let layout = match args.layout {
        Layout::Original => KeyLayout::Original,
        Layout::Diffusers => KeyLayout::Diffusers,
    };
    ensure!(
        !args.output.exists() || args.output.read_dir().is_ok_and(|mut entries| entries.next().is_none()),
        "--output {}: it is there already; choose a folder that is empty or new",
        args.output.display()
    );
    println!(
        "{}, {} parameters, seed {}",
        config.shown(),
        config.parameters(),
        args.seed
    );
    for component in components(&config, &full, layout) {
        for path in write(&component, &args.output, args.seed)? {
            println!("{}", path.display());
        }
    }
    Ok(())
}
