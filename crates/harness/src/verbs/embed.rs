//! `mixcache embed`: text states of prompts, made once by the text encoder of a checkpoint.

use crate::checkpoint::Checkpoint;
use crate::clock::utc_now;
use crate::experiment::Experiment;
use crate::progress;
use crate::subject::{dtype, sizes_of};
use anyhow::{Context, Result, ensure};
use burn::tensor::FloatDType;
use mixcache_core::device;
use mixcache_core::text::{TextEncoders, TextStates};
use std::path::{Path, PathBuf};

/// Encode prompts once, with the text encoder of a checkpoint, for `--embeddings` of the other verbs.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Experiment whose prompts to encode, its negative prompt included.
    experiment: Option<String>,
    /// Model that the states are for, where no experiment says it.
    #[arg(long, required_unless_present = "experiment")]
    model: Option<String>,
    /// Checkpoint with text encoder and tokenizer: the folder as downloaded.
    #[arg(long, value_name = "DIR")]
    weights: PathBuf,
    /// A prompt; may be given more than once.
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// A file with one prompt a line.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// cpu, wgpu, wgpu:N or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// In which numbers to store them: f32 or bf16.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = match &args.experiment {
        Some(name) => Some(Experiment::read(&Experiment::find(name)?)?),
        None => None,
    };
    let named = args
        .model
        .as_ref()
        .or(experiment.as_ref().map(|experiment| &experiment.model.name));
    let model = named.expect("clap asks for one of them");
    let prompts = prompts(&args, experiment.as_ref())?;
    write(model, &args.weights, &prompts, &args.device, &args.dtype, &args.output)
}

/// Encodes `prompts` for `model` with the encoders in the checkpoint `weights`, and writes their states to `output`.
pub(super) fn write(
    model: &str,
    weights: &Path,
    prompts: &[String],
    device: &str,
    stored_in: &str,
    output: &Path,
) -> Result<()> {
    let config = sizes_of(model, Some(weights))?;
    let float = dtype(stored_in)?;
    ensure!(
        matches!(float, FloatDType::F32 | FloatDType::BF16),
        "`--dtype {stored_in}`: text states are stored in f32 or bf16"
    );
    let folder = Checkpoint::find(weights).text.unwrap_or(weights.to_path_buf());
    let encoders = TextEncoders::open(&config, &folder, &device::open(device)?)?;
    let bar = progress::bar(encoders.blocks());
    let encoded = encoders.encode(prompts, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let encoded: Vec<_> = prompts.iter().cloned().zip(encoded).collect();
    let notes = [
        ("model", model.to_string()),
        ("checkpoint", weights.display().to_string()),
        ("computed_in", format!("f32 on {device}")),
        (
            "made_by",
            format!(
                "{}; revision {}",
                env!("MIXCACHE_VERSIONS"),
                env!("MIXCACHE_GIT_REVISION")
            ),
        ),
        ("made_at", utc_now()),
    ];
    TextStates::write(output, float, &encoded, &notes)?;
    for (prompt, encoded) in &encoded {
        let (tokens, out) = (encoded.states.dims()[1], encoded.left_out);
        println!("{tokens:>4} tokens  {prompt}");
        if out > 0 {
            println!(
                "      WARNING: {out} more were left out: {model} takes {}",
                config.text_len()
            );
        }
    }
    println!("{} prompts in {}", encoded.len(), output.display());
    Ok(())
}

/// Every prompt once. The empty one is what the unconditional branch is given where nothing else is.
fn prompts(args: &Args, experiment: Option<&Experiment>) -> Result<Vec<String>> {
    let mut all = vec![];
    if let Some(experiment) = experiment {
        all.extend(experiment.runs.prompts.iter().cloned());
        all.push(experiment.runs.negative_prompt.clone());
    }
    all.extend(args.prompt.iter().cloned());
    if let Some(path) = &args.prompts {
        all.extend(lines(path)?);
    }
    ensure!(
        !all.is_empty(),
        "nothing to encode: name an experiment, or give --prompt or --prompts"
    );
    all.push(String::new());
    Ok(once(all))
}

/// Every prompt once, in the order in which they come.
pub(super) fn once(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut prompts: Vec<String> = vec![];
    for prompt in all {
        if !prompts.contains(&prompt) {
            prompts.push(prompt);
        }
    }
    prompts
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_string).collect())
}
