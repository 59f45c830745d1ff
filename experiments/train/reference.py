"""A trajectory that diffusers makes with an exported model: numbers for the tests of other implementations.

    python reference.py ../../crates/core/models/wan-mini reference.safetensors

One prompt, ten Euler steps, float32 on a CPU: noise, latents after each step, frames. Needs diffusers (requirements.txt).
"""

import json
import sys
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file, save_file

from captions import token_ids
from codec import Codec
from flow import schedule
from parity import diffusers_hunyuan, diffusers_wan, hunyuan_to_diffusers, wan_to_diffusers
from subject import FULL, build

PROMPT, STEPS, SEED = "a cat moves left on blue", 10, 2026
GUIDANCE = {"wan": 4.0, "hunyuan": 3.0}


@torch.no_grad()
def main(folder, path):
    kind = folder.name.split("-")[0]
    subject = build(kind, False, 1)
    state = {k: v.float() for k, v in load_file(folder / f"{folder.name}.safetensors").items()}
    subject.text_table.data.copy_(load_file(folder / "text-table.safetensors")["text_table.weight"])
    ids = token_ids(PROMPT)[None]
    states, real = subject.states(ids)
    guidance = GUIDANCE[kind]
    if kind == "wan":
        model = diffusers_wan(FULL[kind])
        model.load_state_dict(wan_to_diffusers(state))

        def velocity(x, t):
            cond, uncond = (model(x, t, s, return_dict=False)[0] for s in (states, torch.zeros_like(states)))
            return uncond + guidance * (cond - uncond)
    else:
        model = diffusers_hunyuan(FULL[kind])
        model.load_state_dict(hunyuan_to_diffusers(state, FULL[kind]["dim"]))
        pooled, g = subject.pooled(states, real), torch.tensor([1000 * guidance])
        velocity = lambda x, t: model(x, t, states, real.long(), pooled, g, return_dict=False)[0]
    sigmas = schedule(STEPS)
    x = torch.randn(1, 16, 8, 16, 16, generator=torch.Generator().manual_seed(SEED))
    latents = [x]
    for now, after in zip(sigmas[:-1], sigmas[1:]):
        x = x + velocity(x, torch.tensor([1000 * float(now)])) * float(after - now)
        latents.append(x)
    frames = (Codec("cpu").decode(x)[0].clamp(0, 1) * 255).round().to(torch.uint8)
    tensors = dict(noise=latents[0], latents=torch.cat(latents), sigmas=sigmas.float(),
                   timesteps=(1000 * sigmas[:-1]).float(), frames=frames)
    about = dict(prompt=PROMPT, guidance=str(guidance), model=f"diffusers {diffusers.__version__}, float32, CPU")
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, about)
    print(json.dumps(about))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
