"""Rectified flow: x_sigma = (1 - sigma) x0 + sigma noise, velocity = noise - x0, timestep 1000 sigma."""

import torch

from subject import unconditional

SHIFT = 3.0
UNIFORM_PART = 0.2
CAPTION_DROP = 0.12
GUIDANCE_MIN, GUIDANCE_MAX = 1.0, 8.0


def shifted(u):
    return SHIFT * u / (1 + (SHIFT - 1) * u)


def schedule(steps):
    """sigmas [steps + 1] from 1 to 0, float64."""
    return shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64))


def draw_sigma(batch, generator, device):
    """Logit-normal, shifted; the last fifth of the batch uniform. Stratified: one draw in each quantile of the batch."""
    n = int(batch * UNIFORM_PART)
    stratum = lambda k: (torch.arange(k, device=device) + torch.rand(k, generator=generator, device=device)) / max(k, 1)
    normal = torch.special.ndtri(stratum(batch - n).clamp(1e-5, 1 - 1e-5))
    return torch.cat((shifted(torch.sigmoid(normal)), stratum(n)))


def noised(x0, generator):
    """(sigma, x_sigma, velocity) of a batch of latents."""
    sigma = draw_sigma(len(x0), generator, x0.device)
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    s = sigma.view(-1, 1, 1, 1, 1)
    return sigma, torch.lerp(x0, noise, s), noise - x0


def flow_loss(model, x0, ids, generator):
    """Mean squared error of the velocity; captions dropped at CAPTION_DROP."""
    sigma, x, velocity = noised(x0, generator)
    drop = torch.rand(len(x0), 1, generator=generator, device=x0.device) < CAPTION_DROP
    return (model(x, sigma, torch.where(drop, unconditional(ids), ids)) - velocity).pow(2).mean()


def guided(model, x, sigma, ids, guidance):
    """Classifier-free guidance in one batch of two. guidance: a number or [b]."""
    both = model(torch.cat((x, x)), torch.cat((sigma, sigma)), torch.cat((ids, unconditional(ids))))
    cond, uncond = both.chunk(2)
    g = torch.as_tensor(guidance, device=x.device, dtype=x.dtype).view(-1, 1, 1, 1, 1)
    return uncond + g * (cond - uncond)


def distil_loss(student, teacher, x0, ids, generator):
    """The student's one pass with embedded guidance against the teacher's guided velocity. The target grows with g,
    so each clip weighs 1/g."""
    sigma, x, _ = noised(x0, generator)
    g = torch.rand(len(x0), generator=generator, device=x0.device) * (GUIDANCE_MAX - GUIDANCE_MIN) + GUIDANCE_MIN
    with torch.no_grad():
        target = guided(teacher, x, sigma, ids, g)
    error = (student(x, sigma, ids, g) - target).pow(2).flatten(1).mean(1)
    return (error / g).mean()


@torch.no_grad()
def sample(model, noise, ids, steps, guidance, embedded=False, record=None):
    """Euler from sigma 1 to 0. guidance 1 without embedding is one conditional pass a step. `record` collects
    (cond velocity, uncond velocity, latents) of each step."""
    sigmas = schedule(steps)
    x = noise
    for now, after in zip(sigmas[:-1], sigmas[1:]):
        sigma = torch.full((len(x),), float(now), device=x.device)
        if embedded:
            velocity = cond = model(x, sigma, ids, torch.full_like(sigma, guidance))
            uncond = None
        elif guidance == 1 and record is None:
            velocity = model(x, sigma, ids)
        else:
            cond, uncond = model(x, sigma, ids), model(x, sigma, unconditional(ids))
            velocity = uncond + guidance * (cond - uncond)
        x = x + velocity * float(after - now)
        if record is not None:
            record.append((cond, uncond, x))
    return x


def noise_like_clip(count, seed, device):
    """Starting noise [count, 16, 8, 16, 16] from a CPU generator."""
    return torch.randn(count, 16, 8, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)
