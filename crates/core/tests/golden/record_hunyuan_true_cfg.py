"""Records trajectories_hunyuan/true_cfg_4: classifier-free guidance beside embedded guidance, as `pipeline_hunyuan_video.py`
combines its predictions for `true_cfg_scale`. The negative prompt is added to the inputs of the other recordings, whose
model and scheduler it shares.

    python record_hunyuan_true_cfg.py FOLDER     (torch 2.15.0, diffusers 0.36.0, safetensors)
"""

import json
import sys
from pathlib import Path

import numpy
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel
from safetensors.torch import load_file, save_file

SEED, SCALE, NEGATIVE_TOKENS = 604, 4.0, 8


@torch.no_grad()
def run(transformer, case, inputs, scale):
    """Latents before the first step and after each."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=case["shift"])
    scheduler.set_timesteps(sigmas=numpy.linspace(1.0, 0.0, case["steps"] + 1)[:-1])
    tokens = inputs["prompt_embeds"].shape[1]
    padding = (0, 0, 0, tokens - NEGATIVE_TOKENS)
    negative = torch.nn.functional.pad(inputs["negative_prompt_embeds"], padding)
    mask = (torch.arange(tokens)[None] < NEGATIVE_TOKENS).to(inputs["mask"].dtype)
    branches = [
        (inputs["prompt_embeds"], inputs["mask"], inputs["pooled"]),
        (negative, mask, inputs["negative_pooled"]),
    ]
    latents = [inputs["latents"]]
    for t in scheduler.timesteps:
        predictions = [
            transformer(
                hidden_states=latents[-1], timestep=t.expand(1), encoder_hidden_states=states,
                encoder_attention_mask=mask, pooled_projections=pooled, guidance=inputs["guidance"], return_dict=False,
            )[0]
            for states, mask, pooled in (branches if scale > 1 else branches[:1])
        ]
        cond, uncond = predictions[0], predictions[-1]
        latents.append(scheduler.step(uncond + scale * (cond - uncond), t, latents[-1], return_dict=False)[0])
    return scheduler, torch.stack(latents)


def main(folder):
    model = folder / "model"
    case = json.loads((model / "case.json").read_text())["case"]
    config = {key: value for key, value in json.loads((model / "config.json").read_text()).items() if key[0] != "_"}
    transformer = HunyuanVideoTransformer3DModel(**config).eval()
    transformer.load_state_dict(load_file(model / "diffusers.safetensors"))
    inputs = load_file(model / "inputs.safetensors")
    generator = torch.Generator().manual_seed(SEED)
    inputs["negative_prompt_embeds"] = torch.randn(1, NEGATIVE_TOKENS, inputs["prompt_embeds"].shape[2], generator=generator)
    inputs["negative_pooled"] = torch.randn(inputs["pooled"].shape, generator=generator)

    recorded = load_file(folder / "no_cache.safetensors")["latents"]
    _, latents = run(transformer, case, inputs, 1.0)
    drift = ((latents - recorded).norm() / recorded.norm()).item()
    assert drift < 1e-6, f"this is not the model of the other recordings: {drift}"

    scheduler, latents = run(transformer, case, inputs, SCALE)
    save_file(inputs, model / "inputs.safetensors")
    save_file({"latents": latents, "timesteps": scheduler.timesteps.float()}, folder / "true_cfg_4.safetensors")
    text = json.dumps({
        "policy": "no_cache",
        "config": {},
        "true_cfg": SCALE,
        "final_rel_l2_to_embedded_alone": ((latents[-1] - recorded[-1]).norm() / recorded[-1].norm()).item(),
        "decisions": [],
        "versions": {"torch": torch.__version__.split("+")[0], "diffusers": "0.36.0"},
        "tolerance": {"latents_rel_l2": 1e-4},
    }, indent=1)
    (folder / "true_cfg_4.json").write_text(text + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) / "trajectories_hunyuan")
