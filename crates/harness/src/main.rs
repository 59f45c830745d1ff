//! `mixcache`: benchmark cache policies for video diffusion transformers.

use clap::{CommandFactory, Parser, Subcommand};
use mixcache_harness::verbs::{
    calibrate, completions, dynamics, embed, export, fake_weights, generate, list, man, oracle, parity, replay, report,
    scaling, sweep, tables, time, trace, tune, verify,
};

/// Keeps the memory of a pass for the next one: fresh pages cost 3 % of a pass of wan-mini.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmark cache policies for video diffusion transformers.
#[derive(Parser)]
#[command(name = "mixcache", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(list::Args),
    Sweep(sweep::Args),
    Replay(replay::Args),
    Time(time::Args),
    Scaling(scaling::Args),
    Trace(trace::Args),
    Tune(tune::Args),
    Oracle(oracle::Args),
    Verify(verify::Args),
    Calibrate(calibrate::Args),
    Dynamics(dynamics::Args),
    Embed(embed::Args),
    Generate(generate::Args),
    Report(report::Args),
    Tables(tables::Args),
    Export(export::Args),
    Parity(parity::Args),
    FakeWeights(fake_weights::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Lets `mixcache list mini | head` end as other programs do once nobody reads on: by the signal, quietly. Rust starts
/// programs with the signal ignored, and printing then panics.
#[cfg(unix)]
fn end_when_nobody_reads() {
    // SAFETY: no other thread runs yet, and what is set is no function of ours but the system's default.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

fn main() -> std::process::ExitCode {
    #[cfg(unix)]
    end_when_nobody_reads();
    // This thread works too, instead of handing every kernel over to another and waiting.
    let threads = rayon::ThreadPoolBuilder::new().use_current_thread();
    threads.build_global().expect("nothing has used the threads yet");
    let result = match Cli::parse().verb {
        Verb::List(args) => list::run(args),
        Verb::Sweep(args) => sweep::run(args),
        Verb::Replay(args) => replay::run(args),
        Verb::Time(args) => time::run(args),
        Verb::Scaling(args) => scaling::run(args),
        Verb::Trace(args) => trace::run(args),
        Verb::Tune(args) => tune::run(args),
        Verb::Oracle(args) => oracle::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Calibrate(args) => calibrate::run(args),
        Verb::Dynamics(args) => dynamics::run(args),
        Verb::Embed(args) => embed::run(args),
        Verb::Generate(args) => generate::run(args),
        Verb::Report(args) => report::run(args),
        Verb::Tables(args) => tables::run(args),
        Verb::Export(args) => export::run(args),
        Verb::Parity(args) => parity::run(args),
        Verb::FakeWeights(args) => fake_weights::run(args),
        Verb::Completions(args) => completions::run(args, Cli::command()),
        Verb::Man(args) => man::run(args, Cli::command()),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
