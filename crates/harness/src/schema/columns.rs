//! The columns of `runs.parquet` and `events.parquet`, in order.

use std::fmt::Write;

/// One column: what a reader of the results needs to know without reading the program.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name in Parquet and CSV.
    pub name: &'static str,
    /// Type in Parquet.
    pub kind: ColumnType,
    /// Whether a row may lack it.
    pub nullable: bool,
    /// Unit, empty where there is none.
    pub unit: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

/// Types used in the Parquet files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ColumnType {
    Text,
    Bool,
    U32,
    U64,
    I64,
    F64,
    F32List,
}

impl ColumnType {
    fn name(self) -> &'static str {
        match self {
            ColumnType::Text => "string",
            ColumnType::Bool => "bool",
            ColumnType::U32 => "u32",
            ColumnType::U64 => "u64",
            ColumnType::I64 => "i64",
            ColumnType::F64 => "f64",
            ColumnType::F32List => "list of f32",
        }
    }
}

use ColumnType::{Bool, F32List, F64, Text, U32, U64};

const fn always(name: &'static str, kind: ColumnType, unit: &'static str, meaning: &'static str) -> Column {
    Column {
        name,
        kind,
        nullable: false,
        unit,
        meaning,
    }
}

const fn maybe(name: &'static str, kind: ColumnType, unit: &'static str, meaning: &'static str) -> Column {
    Column {
        name,
        kind,
        nullable: true,
        unit,
        meaning,
    }
}

/// Columns of `runs.parquet`; the knobs follow them, one column `knob_<name>` each.
pub const RUN_COLUMNS: &[Column] = &[
    always(
        "run_key",
        Text,
        "16 hex digits",
        "Names the run: a hash of everything that decides it. The same key in events.parquet",
    ),
    always("experiment", Text, "", "Name of the experiment file"),
    always(
        "experiment_hash",
        Text,
        "",
        "Hash of the experiment file; experiment.toml beside the results is the copy",
    ),
    always(
        "git_revision",
        Text,
        "",
        "Revision of the program, marked if the tree was not clean",
    ),
    always("versions", Text, "", "Versions of the libraries that compute"),
    always("machine", Text, "", "Host; machine.json beside the results tells more"),
    always("device", Text, "", "What ran the model"),
    always(
        "dtype",
        Text,
        "",
        "Type the model computes in; on a CPU `bf16` is that of linear layers alone",
    ),
    always("model", Text, "", "Model preset"),
    always("weights", Text, "", "Where the weights come from, with their hash"),
    always(
        "substituted",
        Text,
        "",
        "What stands in for what, such as random weights for trained ones; empty = nothing. Quality columns of such a row say nothing about the real model",
    ),
    maybe(
        "through",
        Text,
        "",
        "What the frames of both clips went through before they were measured: `8 bits`, or `H.264, CRF 25` (libx264, 4:2:0, by the ffmpeg named in `versions`); empty = straight from the decoder. Latents are measured as they are",
    ),
    always("sampler", Text, "", "Sampler"),
    always("steps", U32, "steps", "Sampler steps taken by this run"),
    always("shift", F64, "", "Timestep shift of the flow schedule"),
    always("guidance", F64, "", "Guidance scale; 1 = none"),
    maybe(
        "true_cfg",
        F64,
        "",
        "Scale of classifier-free guidance beside a guidance scale that is an input of the model; null if there is none",
    ),
    always(
        "guidance_mode",
        Text,
        "",
        "two-pass: conditional and unconditional one after the other; batched: together; embedded: one pass, the scale is an input of the model and there is no true_cfg",
    ),
    always("frames", U32, "frames", "Frames of the video"),
    always("height", U32, "pixels", "Height of the video"),
    always("width", U32, "pixels", "Width of the video"),
    always(
        "tokens",
        U32,
        "tokens",
        "Length of the token sequence in the transformer",
    ),
    always("full_first", U32, "steps", "First steps in which nothing may be reused"),
    always("full_last", U32, "steps", "Last steps in which nothing may be reused"),
    always("threads", U32, "threads", "CPU threads the run was allowed"),
    always("policy", Text, "", "Kind of cache policy"),
    always("label", Text, "", "Policy with all its knobs, readable"),
    always(
        "series",
        Text,
        "",
        "Curve this run belongs to: the policy with the knobs that are not swept",
    ),
    maybe("knob", F64, "", "Value of the swept knob; null if none is swept"),
    maybe("knob_name", Text, "", "Name of the swept knob; null if none is swept"),
    maybe(
        "upper",
        Bool,
        "",
        "Whether the experiment marks the policy as the upper line: an estimate of what could be reached, no candidate where the best is looked for. Absent = not marked",
    ),
    always("prompt", Text, "", "Prompt"),
    always("prompt_index", U32, "", "Place of the prompt in the experiment, from 0"),
    always("seed", U64, "", "Seed of the initial noise, drawn on the host"),
    always(
        "repeat",
        U32,
        "",
        "Repetition of the same run, from 0; differs in seconds only",
    ),
    maybe(
        "error",
        Text,
        "",
        "Why the run failed; null if it did not. All measurements of a failed run may be null",
    ),
    always(
        "warnings",
        Text,
        "",
        "What the policy warns of, e.g. a signal outside its calibrated range; empty if nothing",
    ),
    maybe(
        "denoise_s",
        F64,
        "s",
        "Wall-clock time of the whole denoising loop, device synchronised at both ends; text encoder and VAE not included",
    ),
    maybe(
        "looks_s",
        F64,
        "s",
        "Part of denoise_s spent in looks (measuring and reading from the device)",
    ),
    maybe(
        "compute_fraction",
        F64,
        "",
        "Transformer work done / work of the uncached run at the full number of steps",
    ),
    maybe("flops", F64, "FLOP", "Transformer work done, attention included"),
    maybe("flops_full", F64, "FLOP", "Transformer work of the uncached run"),
    maybe("reads", U32, "", "Device-to-host reads during denoising"),
    maybe("looks", U32, "", "Looks: measurements a decision was based on"),
    maybe(
        "cache_claimed_bytes",
        U64,
        "bytes",
        "Cache memory claimed before the run",
    ),
    maybe("cache_peak_bytes", U64, "bytes", "Most cache memory held at any moment"),
    maybe(
        "latent_rel_l2",
        F64,
        "",
        "Final latent against the uncached run of the same prompt and seed: L2 norm of the difference / L2 norm of the uncached. 0 = identical; null for the reference itself",
    ),
    maybe(
        "psnr_db",
        F64,
        "dB",
        "Frames against the uncached run: PSNR of each frame (100 if identical), mean over frames",
    ),
    maybe(
        "psnr_pooled_db",
        F64,
        "dB",
        "PSNR from the mean squared error of the whole clip",
    ),
    maybe(
        "ssim",
        F64,
        "",
        "SSIM, Gaussian window 11, sigma 1.5, valid region, per channel, mean over frames. 1 = identical",
    ),
    maybe(
        "ms_ssim",
        F64,
        "",
        "MS-SSIM, five scales, per channel, mean over frames. 1 = identical; null for frames smaller than 161 pixels a side",
    ),
    maybe(
        "lpips",
        F64,
        "",
        "LPIPS v0.1, AlexNet, mean over frames. 0 = identical; null for frames smaller than 64 pixels a side, which is its lower limit",
    ),
    maybe(
        "flicker_error",
        F64,
        "",
        "Root mean square, over frames, pixels and channels in [0, 1], of the difference between the change from frame to frame and that of the uncached run. 0 = identical",
    ),
    maybe(
        "warping_error",
        F64,
        "",
        "The same along the motion of the uncached run, found by matching blocks of 8×8 pixels. 0 = identical",
    ),
    maybe(
        "i3d_logits",
        F32List,
        "",
        "What I3D of Kinetics-400 makes of the clip, 400 numbers, mean over time: for the Fréchet distance of sets of clips. Empty where no weights were given (`--i3d`). Not in CSV",
    ),
    always("started_at", Text, "RFC 3339, UTC", "When the run began"),
];

/// Columns of `events.parquet`.
pub const EVENT_COLUMNS: &[Column] = &[
    always("run_key", Text, "16 hex digits", "The run this belongs to"),
    always("index", U32, "", "Order within the run, from 0"),
    always("step", U32, "", "Sampler step, from 0 (noisiest)"),
    always("branch", U32, "", "Guidance branch: 0 conditional, 1 unconditional"),
    always("full", Bool, "", "The run forbade reuse in this step"),
    always("unit_from", U32, "", "First unit of the span"),
    always("unit_to", U32, "", "One past the last unit of the span"),
    always("block_from", U32, "", "First transformer block of the span"),
    always("block_to", U32, "", "One past the last transformer block of the span"),
    always(
        "action",
        Text,
        "",
        "compute, reuse, look (a measurement) or note (a remark of the policy)",
    ),
    maybe("value", Text, "", "What was reused or stored; null if nothing was"),
    always(
        "move_json",
        Text,
        "JSON",
        "The exact move; replaying these reproduces the run",
    ),
    always(
        "seen",
        F32List,
        "",
        "What the policy had been shown when it decided; NaN stands for every number that is not finite",
    ),
];

/// Text of `results/SCHEMA.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Columns of the results\n\n\
         Rendered from `crates/harness/src/schema/columns.rs`; a test keeps the two equal \
         (`UPDATE_SCHEMA=1 cargo test --release` rewrites this file).\n\n\
         A recording is a directory: `experiment.toml` (what was asked for), `machine.json` (the host), \
         `runs.parquet`, `events.parquet`. While it is being made, `journal.jsonl` stands in for the two \
         Parquet files; of a run that failed and was tried again its last line counts. A number that is not finite is recorded as null. A column that may be null may also be \
         absent, as in recordings older than the column.\n",
    );
    table(&mut text, "runs.parquet: one row a run", RUN_COLUMNS);
    text.push_str(
        "\nThe policy's knobs follow, one column `knob_<name>` each, typed i64, f64, string or bool, null where \
         the policy lacks the knob; those of the policy that an amended one amends are `knob_of.<name>`. A knob that is an integer in one row and a fraction in another is f64; \
         a knob of otherwise mixed types is string.\n",
    );
    table(&mut text, "events.parquet: one row a move", EVENT_COLUMNS);
    text
}

fn table(text: &mut String, title: &str, columns: &[Column]) {
    let head = "| column | type | null? | unit | meaning |\n|---|---|---|---|---|";
    writeln!(text, "\n## {title}\n\n{head}").expect("writing to a string");
    for c in columns {
        let null = if c.nullable { "yes" } else { "" };
        let (name, kind) = (c.name, c.kind.name());
        writeln!(text, "| `{name}` | {kind} | {null} | {} | {} |", c.unit, c.meaning).expect("writing to a string");
    }
}
