"""Linear patch codec: 2x4x4x3 pixels <-> 16 channels by PCA. `python codec.py` fits it and writes codec.safetensors.

encode: z = ((patch - mean) @ basis^T) / scale      decode: patch = (z * scale) @ basis + mean

PCA channels differ a hundredfold in standard deviation sd_c. Whitening them (scale = sd) gives the fine channels, which
are active only under the sprite, the same weight in the loss and the same noise as the ones that carry the picture: half
of what the model learns is then texture that no eye sees. No scaling (one scale for all) buries the fine channels under
noise until the last steps of the sampler. Here scale_c = a * sqrt(sd_c), the geometric mean of both: latent variance
falls as sd_c, the picture is decided before its detail, and a sampler at shift 3 has steps left for both. `a` makes the
mean latent variance 1, what the logit-normal timestep distribution and shift 3 assume.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

PATCH = (2, 4, 4)  # frames, rows, columns
CHANNELS = 16
FILE = Path(__file__).parent / "codec.safetensors"


def to_patches(video):
    """[b, f, h, w, 3] -> [b, f/2, h/4, w/4, 96], the patch in order (frame, row, column, colour)."""
    b, f, h, w, _ = video.shape
    pt, ph, pw = PATCH
    x = video.reshape(b, f // pt, pt, h // ph, ph, w // pw, pw, 3)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, f // pt, h // ph, w // pw, -1)


def from_patches(patches):
    """The inverse of `to_patches`."""
    b, t, h, w, _ = patches.shape
    pt, ph, pw = PATCH
    x = patches.reshape(b, t, h, w, pt, ph, pw, 3)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, t * pt, h * ph, w * pw, 3)


class Codec:
    """The fitted codec on a device."""

    def __init__(self, device, file=FILE):
        tensors = load_file(file, str(device))
        self.basis, self.mean, self.scale = tensors["basis"], tensors["mean"], tensors["scale"]
        self.to_latent = (self.basis / self.scale[:, None]).T.contiguous()
        self.to_pixel = (self.basis * self.scale[:, None]).contiguous()

    def encode(self, video):
        """[b, f, h, w, 3] in 0..1 -> latents [b, 16, f/2, h/4, w/4]."""
        return ((to_patches(video) - self.mean) @ self.to_latent).permute(0, 4, 1, 2, 3).contiguous()

    def decode(self, latents):
        """Latents -> [b, f, h, w, 3], clamped to 0..1."""
        return from_patches(latents.permute(0, 2, 3, 4, 1) @ self.to_pixel + self.mean).clamp(0, 1)


def fit(clips, batches=48, batch=32, seed=1_000_000):
    """PCA over patches of 1,536 clips in float64; signs fixed by the largest entry of each component."""
    total, outer, count = 0, 0, 0
    for i in range(batches):
        patches = to_patches(clips.batch(seed + i, batch)[0]).reshape(-1, 96).double()
        total, outer, count = total + patches.sum(0), outer + patches.T @ patches, count + len(patches)
    mean = total / count
    values, vectors = torch.linalg.eigh(outer / count - torch.outer(mean, mean))
    values, basis = values.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS].T
    basis = basis * basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()
    sd = values.sqrt()
    scale = (sd * sd.mean()).sqrt()  # latent variance sd_c / mean(sd): 1 on average
    return {k: v.float().contiguous() for k, v in dict(basis=basis, mean=mean, scale=scale).items()}, sd


def psnr(a, b):
    """dB of each clip."""
    return -10 * (a - b).pow(2).flatten(1).mean(1).log10()


if __name__ == "__main__":
    from clips import Clips

    tensors, sd = fit(Clips("cpu"))
    save_file(tensors, FILE)
    codec = Codec("cpu")
    video = Clips("cpu", held=True).batch(7, 64)[0]
    latents = codec.encode(video)
    quality = psnr(codec.decode(latents), video)
    print("pixel sd", sd.numpy().round(3))
    print("latent sd", latents.std((0, 2, 3, 4)).numpy().round(3), "mean variance", latents.var((0, 2, 3, 4)).mean())
    print(f"round trip of 64 held-out clips: {quality.mean():.2f} dB mean, {quality.min():.2f} dB least")
