"""The model card, filled with what was measured."""


def percent(x):
    return f"{100 * x:.0f} %"


def verdict_table(adherence):
    if adherence is None:
        return "Not measured."
    lines = ["| clips | object | motion | colour | all three | PSNR to the nearest true clip |", "|---|---|---|---|---|---|"]
    rows = [("true, after the codec", adherence["true_clips_after_codec"])]
    rows += [(f"sampled, guidance {g}", r) for g, r in adherence["guidance"].items()]
    for name, r in rows:
        shares = " | ".join(percent(r[k]) for k in ("object", "motion", "colour", "all_three"))
        lines.append(f"| {name} | {shares} | {r['nearest_clip_psnr_db']:.1f} dB |")
    return "\n".join(lines)


def run_line(label, run):
    held = run["held_out"] or {}
    errors = "; ".join(f"{k.replace('_', ' ')} {v}" for k, v in held.items() if isinstance(v, list))
    return (f"- {label}: {run['steps']:,} steps in {run['minutes']} minutes, batch {run['batch']} "
            f"(peak rate {run['peak_lr']:g}, seed {run['seed']}), training loss {run['loss_first']} → {run['loss_last']}.\n"
            f"  Averaged weights at sigma .1 .3 .5 .7 .9 .98: {errors}.")


def write(config, adherence, path):
    model, origin, codec = config["model"], config["provenance"], config["codec"]
    kind = config["name"].removesuffix("-mini")
    depth = (f"{model['num_layers']} blocks, width {model['dim']}" if kind == "wan" else
             f"{model['mm_double_blocks_depth']} double-stream and {model['mm_single_blocks_depth']} single-stream blocks, "
             f"width {model['hidden_size']}")
    guidance = ("Classifier-free guidance needs two passes a step." if kind == "wan" else
                "Guidance is embedded, as in the published model: distilled from the same network with classifier-free "
                "guidance, so one pass a step.")
    samples = f"{adherence['samples']} samples, {adherence['steps']} Euler steps" if adherence else "none"
    runs = "\n".join(run_line(k, r) for k, r in origin["runs"].items())
    path.write_text(f"""# {config['name']}

A small text-to-video model of the {config['architecture'].split(' transformer')[0]} architecture, trained from scratch for
this project: {model['parameters']:,} parameters, {depth}, 64×64 pixels, 16 frames. {guidance}
Captions: `a|an <object> <motion> on <colour>` from the closed vocabulary in `vocab.json`; sizes, text rules, codec and
sampler settings are in `config.json`.

| file | what |
|---|---|
| `{config['name']}.safetensors` | weights in the authors' key layout; the matrices of the blocks in f16, the rest in f32 |
| `text-table.safetensors`, `vocab.json` | learned word vectors in place of a text encoder |
| `codec.safetensors` | patch PCA, latent to pixels ({codec['psnr_roundtrip_mean_db']} dB round trip, least {codec['psnr_roundtrip_min_db']}) |
| `adhere.json` | the caption checker's verdict in full |

## What it shows

Captions that were never trained on (64 of 1,024, chosen by a rule); {samples}. The checker learns
nothing: it looks for the nearest clip that the compositor can draw.

{verdict_table(adherence)}

## How it was trained

Recipe: `{origin['recipe']}`. Data: sixteen sprites composed on coloured ramps, drawn anew at every step. Rectified flow, AdamW,
bf16 products, averaged weights. {origin['hardware']['device']}, torch {origin['hardware']['torch']}, {origin['date']}.
Held-out figures are the squared error of the velocity (its variance is about 2), or relative to the teacher.

{runs}

## Limits

One sprite, one motion, one ramp: nothing else was seen. 512 tokens and a width of a few hundred say nothing about the memory
traffic of the large models; the linear codec bounds sharpness. Made to study caches on a trained model, not to make videos.

Licence: MIT. Sprites of `@lobehub/fluent-emoji-3d` 1.1.0 (npm, MIT), whose artwork is Microsoft Fluent emoji
(MIT, © Microsoft Corporation); backgrounds and motion are procedural.
""")
