"""Turn a run into a model folder: weights, codec, words, configuration, reference numbers, pictures, card.

    python export.py --run runs/wan --out models/wan-mini --extras extras/wan-mini
    python export.py --run runs/hunyuan --teacher runs/teacher --out models/hunyuan-mini --extras extras/hunyuan-mini
"""

import argparse
import datetime
import json
import platform
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

import card
from adhere import Checker, score
from captions import COLOUR_NAMES, MOTIONS, OBJECTS, TEXT_LEN, VOCAB, WORDS, caption, token_ids
from clips import Clips
from codec import FILE as CODEC_FILE
from codec import Codec, psnr
from flow import SHIFT, noise_like_clip, sample, schedule
from sheet import draw_curve, draw_sheet, read_log
from subject import FULL, TINY, Subject

LICENCE = {"format": "pt", "licence": "MIT; trained from scratch on MIT sprites, see README.md"}
REFERENCE_PROMPT = "a cat moves left on blue"
DEFAULT_GUIDANCE = {"wan": 2.0, "hunyuan": 3.0}


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--teacher", type=Path, help="the run the guidance was distilled from, for its log")
    p.add_argument("--out", type=Path, required=True, help="the model folder")
    p.add_argument("--extras", type=Path, required=True, help="folder of reference numbers, pictures, logs")
    p.add_argument("--samples", type=int, default=256, help="clips the checker judges at each guidance")
    p.add_argument("--steps", type=int, default=50, help="Euler steps of sheet and checker")
    return p.parse_args()


def as_shipped(name, tensor):
    """Matrices of the blocks in f16, all else f32."""
    block = name.startswith(("blocks.", "double_blocks.", "single_blocks.", "txt_in.individual_token_refiner.blocks."))
    matrix = tensor.dim() == 2
    return tensor.to(torch.float16 if block and matrix else torch.float32).contiguous().cpu()


def load_run(run):
    """The averaged weights of a run's last checkpoint, rounded as they ship, and the checkpoint itself."""
    state = torch.load(run / "checkpoint.pt", map_location="cpu")
    subject = Subject(state["kind"], (TINY if state["tiny"] else FULL)[state["kind"]])
    subject.load_state_dict(state["ema"])
    for name, p in subject.net.named_parameters():
        p.data = as_shipped(name, p.data).float()
    return subject.requires_grad_(False).eval(), state


def write_weights(subject, kind, out):
    save_file({k: as_shipped(k, v) for k, v in subject.net.state_dict().items()}, out / f"{kind}-mini.safetensors", LICENCE)
    save_file({"text_table.weight": subject.text_table.detach().contiguous()}, out / "text-table.safetensors", LICENCE)
    shutil.copy(CODEC_FILE, out / "codec.safetensors")
    vocab = dict(words=WORDS, vocab=VOCAB, objects=OBJECTS, colours=COLOUR_NAMES, motions=MOTIONS,
                 caption="{a|an} {object} {motion} on {colour}", tokens=TEXT_LEN,
                 held_out="(3*object + 5*motion + 7*colour) % 16 == 0, by index in the lists above",
                 padding="zeros after lookup; unconditional prompt = all zeros")
    (out / "vocab.json").write_text(json.dumps(vocab, indent=1))


def model_config(kind, config):
    """The sizes of the network, in the field names of its authors."""
    d, heads = config["dim"], config["heads"]
    shared = dict(patch_size=[1, 2, 2], text_dim=config["text_dim"], text_len=TEXT_LEN, qk_norm=True, eps=1e-6)
    if kind == "wan":
        spatial = 2 * (d // heads // 6)
        return dict(model_type="t2v", in_dim=16, out_dim=16, dim=d, num_heads=heads, head_dim=d // heads,
                    ffn_dim=config["ffn"], num_layers=config["layers"], freq_dim=config["freq_dim"],
                    qk_norm_kind="rms over the full dim (across heads)", cross_attn_norm=True, window_size=[-1, -1],
                    rope_theta=10000, rope_max_seq_len=64,
                    rope_dims_thw=[d // heads - 2 * spatial, spatial, spatial], **shared)
    return dict(in_channels=16, out_channels=16, hidden_size=d, heads_num=heads, head_dim=d // heads,
                mm_double_blocks_depth=config["double"], mm_single_blocks_depth=config["single"],
                refiner_layers=config["refiner"], mlp_width_ratio=config["mlp_ratio"],
                rope_dim_list=list(config["axes"]), rope_theta=256, text_states_dim=config["text_dim"],
                text_states_dim_2=config["pooled_dim"], guidance_embed=True, qkv_bias=True,
                qk_norm_kind="rms per head", **shared)


def text_config(kind):
    rules = dict(table="text-table.safetensors:text_table.weight", vocab="vocab.json", tokens=TEXT_LEN,
                 tokenizer="split on single spaces, lower case, closed vocabulary")
    if kind == "wan":
        return dict(rules, padding="zeros after lookup, zeros are attended (no mask)", unconditional="all zeros")
    return dict(rules, padding="masked: only the words are attended, in the refiner and in the blocks",
                pooled="mean of the word vectors of the caption",
                unconditional="one zero state, zero pooled vector; used in training only, guidance is embedded")


def sampler_config(kind):
    cfg = "v = v_uncond + guidance*(v_cond - v_uncond)" if kind == "wan" else "one pass; 1000*guidance is embedded"
    return dict(kind="flow-matching Euler", prediction="v = noise - x0", shift=SHIFT,
                sigmas="u = linspace(1,0,steps+1); sigma = shift*u/(1+(shift-1)*u)", timestep="1000*sigma (float)",
                steps=50, guidance=DEFAULT_GUIDANCE[kind], cfg=cfg, update="x += v*(sigma[i+1]-sigma[i])")


def history(run, state, log):
    """What a run did, for the provenance."""
    losses = [r for r in log if "loss" in r]
    held = [r for r in log if "held_out" in r or "relative_error_guidance_6" in r]
    ms = sorted(r["step_ms"] for r in log if "step_ms" in r)
    return dict(steps=state["step"], minutes=round(state["elapsed"] / 60, 2), batch=state["batch"],
                short_batch=state["short_batch"], peak_lr=state["lr"], seed=state["seed"],
                clips_seen=sum(r["batch"] * (100 if r["step"] % 100 == 0 else r["step"] % 100) for r in losses),
                median_step_ms=ms[len(ms) // 2] if ms else None,
                loss_first=losses[0]["loss"] if losses else None, loss_last=losses[-1]["loss"] if losses else None,
                held_out=held[-1] if held else None, not_finite=sum("not_finite" in r for r in log),
                compiled=not any("compile_failed" in r for r in log))


def hardware():
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return dict(device=device, torch=torch.__version__, python=platform.python_version())


def round_trip(codec, clips):
    video = clips.batch(7, 64)[0]
    quality = psnr(codec.decode(codec.encode(video)), video)
    return dict(psnr_roundtrip_mean_db=round(quality.mean().item(), 2), psnr_roundtrip_min_db=round(quality.min().item(), 2))


def write_config(subject, state, runs, codec_quality, out):
    kind = state["kind"]
    name = {"wan": "Wan2.1 T2V", "hunyuan": "HunyuanVideo"}[kind]
    count = sum(p.numel() for p in subject.net.parameters())
    config = dict(
        name=f"{kind}-mini", architecture=f"{name} transformer (original checkpoint key layout)",
        model=dict(model_config(kind, subject.config), parameters=count), text=text_config(kind),
        latent=dict(shape=[16, 8, 16, 16], layout="C,T,H,W", tokens=512, already_normalised=True),
        codec=dict(kind="patch PCA (linear)", file="codec.safetensors", patch_thwc=[2, 4, 4, 3], components=16,
                   decode="patch = (z[c,t,h,w] * scale[c]) @ basis[16,96] + mean[96]; patch order (pt,ph,pw,rgb), "
                          "row-major; RGB in [0,1], clamp",
                   encode="z = ((patch - mean) @ basis^T) / scale", **codec_quality),
        video=dict(frames=16, height=64, width=64, fps=8), sampler=sampler_config(kind),
        data=dict(objects=OBJECTS, colours=COLOUR_NAMES, motions=MOTIONS, captions=1024, held_out_captions=64,
                  generator="experiments/train/clips.py, deterministic from the seed",
                  sprites="@lobehub/fluent-emoji-3d 1.1.0 (npm, MIT); Microsoft Fluent emoji (MIT)",
                  backgrounds="procedural"),
        licence=dict(sprites="MIT: @lobehub/fluent-emoji-3d 1.1.0, Microsoft Fluent emoji (c) Microsoft Corporation",
                     weights="trained from scratch here on those sprites; no other data"),
        provenance=dict(date=datetime.datetime.now(datetime.UTC).date().isoformat(), weights="EMA, end of the run",
                        recipe="experiments/train", hardware=hardware(), runs=runs))
    (out / "config.json").write_text(json.dumps(config, indent=1))
    return config


def write_reference(subject, codec, kind, extras):
    """One prompt, ten Euler steps in float32 on the CPU with the weights as shipped: numbers to check an implementation."""
    ids = token_ids(REFERENCE_PROMPT)[None]
    noise, sigmas, record = noise_like_clip(1, 2026, "cpu"), schedule(10), []
    embedded, guidance = kind == "hunyuan", 6.0 if kind == "hunyuan" else 4.0
    x = sample(subject, noise, ids, 10, guidance, embedded, record)
    cond, uncond, latents = zip(*record)
    states, real = subject.states(ids)
    tensors = dict(noise=noise, text=states[0], sigmas=sigmas.float(), timesteps=(1000 * sigmas[:-1]).float(),
                   latents=torch.cat((noise, *latents)), v_cond=torch.cat(cond),
                   frames=(codec.decode(x)[0] * 255).round().byte())
    if embedded:
        tensors.update(pooled=subject.pooled(states, real)[0], mask=real[0].long())
    else:
        tensors["v_uncond"] = torch.cat(uncond)
    about = dict(prompt=REFERENCE_PROMPT, guidance=str(guidance), model="PyTorch, float32, CPU, weights as shipped")
    save_file({k: v.contiguous() for k, v in tensors.items()}, extras / "reference.safetensors", about)


def held_out_triples(clips, count):
    """Every held-out caption, in turn."""
    n = len(clips.triples)
    return clips.triples[torch.arange(count) % n]


def write_sheet(subject, codec, clips, kind, steps, path):
    """Twelve held-out captions: each object at most once, each motion at least once."""
    triples = torch.stack([clips.triples[i] for i in pick_varied(clips.triples.tolist(), 12)])
    ids = clips.ids[tuple(triples.to(clips.device).T)]
    x = sample(subject, noise_like_clip(12, 7, clips.device), ids, steps, DEFAULT_GUIDANCE[kind], kind == "hunyuan")
    draw_sheet(codec.decode(x).cpu().numpy(), [caption(*t) for t in triples.tolist()], path)


def pick_varied(triples, count):
    """Indices of `count` triples, greedily with the least used motion and colour, no object twice."""
    chosen = []
    while len(chosen) < count:
        used = [triples[i] for i in chosen]
        times = lambda k, value: sum(t[k] == value for t in used)
        rest = [i for i, t in enumerate(triples) if times(0, t[0]) == 0]
        chosen.append(min(rest, key=lambda i: (times(1, triples[i][1]), times(2, triples[i][2]), i)))
    return chosen


def write_adherence(subject, codec, clips, kind, count, steps, path):
    """The checker's verdict on samples of held-out captions at several guidances, and on true clips after the codec."""
    checker = Checker(clips.device)
    triples = held_out_triples(clips, count)
    ids = clips.ids[tuple(triples.to(clips.device).T)]
    true_triples, u = clips.draw(99, count)
    true = codec.decode(codec.encode(clips.render(true_triples, u)))
    found, quality = checker.classify(true)
    rows = {"samples": count, "steps": steps, "true_clips_after_codec": score(found, true_triples, quality), "guidance": {}}
    for g in (1.0, 3.0, 6.0) if kind == "hunyuan" else (1.0, 2.0, 4.0):
        with torch.autocast(clips.device.type, dtype=torch.bfloat16):
            x = sample(subject, noise_like_clip(count, 1000, clips.device), ids, steps, g, kind == "hunyuan")
        found, quality = checker.classify(codec.decode(x.float()))
        rows["guidance"][f"{g:g}"] = score(found, triples, quality)
        path.write_text(json.dumps(rows, indent=1))
        print(g, {k: round(v, 3) for k, v in rows["guidance"][f"{g:g}"].items() if isinstance(v, float)}, flush=True)
    return rows


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    args.extras.mkdir(parents=True, exist_ok=True)
    subject, state = load_run(args.run)
    kind, device = state["kind"], "cuda" if torch.cuda.is_available() else "cpu"
    write_weights(subject, kind, args.out)
    runs = {}
    for label, folder in (("teacher", args.teacher), ("student" if args.teacher else "training", args.run)):
        if folder:
            log = read_log(folder / "log.jsonl")
            of = state if folder == args.run else torch.load(folder / "checkpoint.pt", map_location="cpu")
            runs[label] = history(folder, of, log)
            shutil.copy(folder / "log.jsonl", args.extras / f"log-{label}.jsonl")
            draw_curve(log, args.extras / f"loss-{label}.png", f"{kind}-mini, {label}")
    quality = round_trip(Codec("cpu"), Clips("cpu", held=True))
    config = write_config(subject, state, runs, quality, args.out)
    write_reference(subject, Codec("cpu"), kind, args.extras)
    card.write(config, None, args.out / "README.md")
    torch.set_float32_matmul_precision("high")
    subject, codec, clips = subject.to(device), Codec(device), Clips(device, held=True)
    write_sheet(subject, codec, clips, kind, args.steps, args.extras / "sheet.png")
    torch.set_float32_matmul_precision("highest")  # the checker subtracts large sums
    adherence = write_adherence(subject, codec, clips, kind, args.samples, args.steps, args.extras / "adhere.json")
    card.write(config, adherence, args.out / "README.md")
    shutil.copy(args.extras / "adhere.json", args.out / "adhere.json")


if __name__ == "__main__":
    with torch.no_grad():
        main()
