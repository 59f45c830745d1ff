"""Records cogvideox_vae/cogvae_a: a small random autoencoder of CogVideoX of diffusers, float32, CPU.

    python record_cogvideox_vae.py FOLDER     (torch 2.15.0, diffusers 0.36.0, safetensors)
"""

import copy
import json
import sys
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import save_file

SEED = 421
# Half of the sample is a tile: 6 × 5 latents, the least that the published overlaps of 1/6 and 1/5 divide.
CONFIG = dict(
    block_out_channels=(4, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2, scaling_factor=0.7,
    sample_height=96, sample_width=80,
)


def filled(model):
    """Random weights that keep the scale of activations; those of norms around 1."""
    torch.manual_seed(SEED)
    with torch.no_grad():
        for name, p in model.named_parameters():
            spread = 0.1 if p.dim() == 1 else p[0].numel() ** -0.5
            is_scale = "norm" in name and "conv" not in name.split("norm")[-1] and name.endswith("weight")
            p.copy_(torch.randn_like(p) * spread + (1.0 if is_scale else 0.0))
    return model.eval()


def run(vae, given):
    """Everything that is compared. Eight frames are encoded at once, two latent frames decoded; what is left over
    belongs to the first batch: 17 and 16 frames are 9 + 8 and 8 + 8, 5 and 4 latent frames 3 + 2 and 2 + 2."""
    dtype = next(vae.parameters()).dtype
    video, latent, large = (given[key].to(dtype) for key in ("in.video", "dec.latent", "dec.latent_large"))
    moments = lambda video: vae.encode(video).latent_dist.parameters
    decoded = lambda latent: vae.decode(latent).sample
    out = {
        "enc.moments": moments(video),
        "enc.moments_even": moments(video[:, :, :16]),
        "enc.moments_single": moments(video[:, :, :1]),
        "dec.out": decoded(latent),
        "dec.out_even": decoded(latent[:, :, :4]),
        "dec.out_single": decoded(latent[:, :, :1]),
    }
    vae.enable_tiling()
    out["dec.out_tiled"] = decoded(large)
    vae.disable_tiling()
    return out


def measured(out, exact, coder):
    pairs = [(out[key].double(), exact[key]) for key in out if key.startswith(coder)]
    return {
        "max_abs": max((a - b).abs().max().item() for a, b in pairs),
        "rel_l2": max(((a - b).norm() / b.norm()).item() for a, b in pairs),
    }


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    vae = filled(AutoencoderKLCogVideoX(**CONFIG))
    given = {
        "in.video": torch.rand(1, 3, 17, 16, 24) * 2 - 1,
        "dec.latent": torch.randn(1, 4, 5, 2, 3),
        "dec.latent_large": torch.randn(1, 4, 1, 7, 6),
    }
    out = run(vae, given)
    exact = run(copy.deepcopy(vae).double(), given)
    case = {
        "kind": "cogvideox_vae",
        "seed": SEED,
        "versions": {"torch": torch.__version__.split("+")[0], "diffusers": diffusers.__version__},
    }
    for what, coder in [("encode", "enc."), ("decode", "dec.")]:
        error = measured(out, exact, coder)
        case[f"tolerance_{what}"] = {key: 20 * value for key, value in error.items()}
        case[f"tolerance_{what}"]["measured_f32_vs_f64"] = error
    case["note"] = "latents are not scaled; output is not clamped; `dec.out_tiled` alone with tiles"
    (folder / "case.json").write_text(json.dumps(case, indent=1))
    config = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLCogVideoX"} | config, indent=1))
    tensors = given | out
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / "io.safetensors")
    save_file({k: v.contiguous().clone() for k, v in vae.state_dict().items()}, folder / "diffusers.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        main(Path(sys.argv[1]) / "cogvideox_vae/cogvae_a")
