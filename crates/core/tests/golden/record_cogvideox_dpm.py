"""Records schedulers/dpmpp_sde: CogVideoX's DPM scheduler of diffusers on a toy model, with the noise it adds.

    python record_cogvideox_dpm.py FOLDER     (torch 2.15.0, diffusers 0.36.0, safetensors)
"""

import json
import sys
from pathlib import Path

import diffusers
import torch
from diffusers import CogVideoXDPMScheduler
from diffusers.schedulers import scheduling_dpm_cogvideox
from safetensors.torch import save_file

SEED, SHAPE = 603, (1, 2, 3, 4)
CONFIG = dict(
    prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False,
)


def model(x, t):
    return 0.8 * torch.tanh(x) + 0.3 * torch.sin(torch.tensor(0.004 * t)) * x - 0.2 * torch.cos(2 * x)


def run(steps, shift):
    """As `pipeline_cogvideox.py` steps. What the scheduler draws is kept: where it draws twice, the second counts."""
    scheduler = CogVideoXDPMScheduler(snr_shift_scale=shift, **CONFIG)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(SEED)
    drawn = []

    def randn_tensor(shape, generator=None, device=None, dtype=None):
        drawn.append(torch.randn(shape, generator=generator, dtype=dtype))
        return drawn[-1]

    scheduling_dpm_cogvideox.randn_tensor = randn_tensor
    x = torch.randn(SHAPE, generator=generator)
    latents, velocities, noise, before = [x], [], [], None
    times = scheduler.timesteps.tolist()
    for i, t in enumerate(times):
        v = model(x, t)
        back = times[i - 1] if i > 0 else None
        x, before = scheduler.step(v, before, t, back, x, generator=generator)
        x = x.to(torch.float32)
        latents.append(x)
        velocities.append(v)
        noise.append(drawn[-1])
    square = scheduler.alphas_cumprod[scheduler.timesteps].double()
    alpha, sigma = square.sqrt(), (1 - square).sqrt()
    shares = torch.cat([sigma / (alpha + sigma), torch.zeros(1)]).float()
    return scheduler, {
        "sigmas": shares, "timesteps": scheduler.timesteps.float(), "traj": torch.stack(latents),
        "velocity": torch.stack(velocities), "noise": torch.stack(noise),
    }


def main(folder):
    runs, tensors = {}, {}
    for steps, shift in [(50, 1.0), (10, 1.0), (50, 3.0)]:
        name = f"snr{shift}_n{steps}"
        scheduler, out = run(steps, shift)
        runs[name] = {"timesteps_dtype": str(scheduler.timesteps.dtype), "steps": steps, "shift": shift}
        tensors |= {f"{name}.{key}": value.contiguous() for key, value in out.items()}
    case = {
        "kind": "scheduler_dpmpp_sde",
        "seed": SEED,
        "shape": SHAPE,
        "toy_model": "0.8*tanh(x)+0.3*sin(0.004*t)*x-0.2*cos(2x)",
        "sigmas": "sqrt(1-a)/(sqrt(a)+sqrt(1-a)) of alphas_cumprod a",
        "config": CONFIG,
        "runs": runs,
        "versions": {"torch": torch.__version__.split("+")[0], "diffusers": diffusers.__version__},
        "tolerance": {"sigmas_max_abs": 2e-6, "timesteps": "exact for int64", "traj_max_abs": 2e-4},
        "tolerance_reason": "those of the other multistep solvers",
    }
    (folder / "dpmpp_sde.json").write_text(json.dumps(case, indent=1))
    save_file(tensors, folder / "dpmpp_sde.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) / "schedulers")
