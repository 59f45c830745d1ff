"""Captioned clips of one moving sprite on a coloured background, made on the device from a seed.

Positions at even frames are multiples of the codec's patch (4 px) and things that move do so by 2 px a frame, so a moving
sprite has few distinct patch codes: what a small model can learn sharply. Sizes and angles run through 33 fixed variants
of each sprite, drawn once with 4x4 supersampling; a clip is then a gather and a blend.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from captions import COLOURS, combinations, id_table

FRAMES, SIDE = 16, 64
CANVAS, SPRITE = 48, 32  # px; the largest variant is 44 px, a turned sprite spans up to 46
SPIN, GROW = 1, 17  # first variant of the 16 angles and of the 16 sizes; variant 0 is upright at SPRITE px
SUPER = 4


def variants():
    """(size in px, angle in radians) of the 33 variants."""
    spin = [(SPRITE, -math.pi / 8 * i) for i in range(FRAMES)]
    grow = [(14 + 2 * i, 0.0) for i in range(FRAMES)]
    return [(SPRITE, 0.0)] + spin + grow


def sprite_bank(device):
    """Premultiplied RGBA of every sprite in every variant: [object, variant, CANVAS, CANVAS, 4], 0..1."""
    rgba = torch.from_numpy(np.load(Path(__file__).parent / "sprites.npz")["rgba"]).float() / 255
    rgba[..., :3] *= rgba[..., 3:]
    theta = []
    for size, angle in variants():
        k = CANVAS / size
        co, si = k * math.cos(angle), k * math.sin(angle)
        theta.append([[co, si, 0.0], [-si, co, 0.0]])
    fine = CANVAS * SUPER
    grid = F.affine_grid(torch.tensor(theta), (len(theta), 4, fine, fine), align_corners=False)
    bank = []
    for image in rgba.permute(0, 3, 1, 2):
        image = image.expand(len(theta), -1, -1, -1)
        big = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        bank.append(F.avg_pool2d(big, SUPER).permute(0, 2, 3, 1))
    return torch.stack(bank).contiguous().to(device)


def trajectory(motion, i, u):
    """Variant and centre (px) of the sprite. motion [b, 1], frame i [b, f] int64, u [b, 16] in 0..1 -> [b, f] int64."""
    pick = lambda k, n: (u[:, k:k + 1] * n).long().clamp(max=n - 1)
    cx = 32 + 4 * (pick(0, 5) - 2) + 0 * i
    cy = 32 + 4 * (pick(1, 5) - 2) + 0 * i
    start = 4 * pick(2, 2)
    cx = torch.where(motion == 0, 48 - start - 2 * i, cx)
    cx = torch.where(motion == 1, 16 + start + 2 * i, cx)
    cy = torch.where(motion == 2, 48 - start - 2 * i, cy)
    cy = torch.where(motion == 3, 16 + start + 2 * i, cy)
    phase = i / 8 + 0.5 * pick(3, 2)
    hop = (44 - 24 * torch.sin(math.pi * phase).abs()).round().long()
    cy = torch.where(motion == 7, hop, cy)
    variant = torch.where(motion == 4, SPIN + i, 0 * i)
    variant = torch.where(motion == 5, GROW + i, variant)
    variant = torch.where(motion == 6, GROW + FRAMES - 1 - i, variant)
    return variant, cx, cy


class Clips:
    """The compositor. `held` draws the captions never trained on."""

    def __init__(self, device, held=False):
        self.device = torch.device(device)
        self.bank = sprite_bank(self.device)
        self.colours = torch.tensor(list(COLOURS.values()), device=self.device) / 255.0
        self.ids = id_table().to(self.device)
        self.triples = combinations(held)
        axis = torch.linspace(-1, 1, SIDE, device=self.device)
        self.yy, self.xx = torch.meshgrid(axis, axis, indexing="ij")
        self.pixel = torch.arange(SIDE, device=self.device)

    def draw(self, seed, batch):
        """(object, motion, colour) [b, 3] and uniforms [b, 16] of a batch, from a CPU generator: the same anywhere."""
        generator = torch.Generator().manual_seed(seed)
        which = torch.randint(len(self.triples), (batch,), generator=generator)
        return self.triples[which], torch.rand(batch, 16, generator=generator)

    def background(self, colour, u):
        """A straight brightness ramp in a random direction: [b, SIDE, SIDE, 3]."""
        turn, strength = 2 * math.pi * u[:, 4], 0.08 + 0.08 * u[:, 5]
        ramp = strength[:, None, None] * (turn.cos()[:, None, None] * self.xx + turn.sin()[:, None, None] * self.yy)
        ramp = ramp[..., None]
        return (self.colours[colour][:, None, None] * (1 + ramp) + 0.25 * ramp).clamp(0, 1)

    def layers(self, o, m, u, frames):
        """The sprite alone, premultiplied RGBA: [b, f, SIDE, SIDE, 4]. frames [b, f] int64."""
        variant, cx, cy = trajectory(m[:, None], frames, u)
        iy = self.pixel - cy[..., None] + CANVAS // 2  # [b, f, SIDE]
        ix = self.pixel - cx[..., None] + CANVAS // 2
        inside = ((iy >= 0) & (iy < CANVAS))[..., :, None] & ((ix >= 0) & (ix < CANVAS))[..., None, :]
        iy, ix = iy.clamp(0, CANVAS - 1)[..., :, None], ix.clamp(0, CANVAS - 1)[..., None, :]
        return self.bank[o[:, None, None, None], variant[..., None, None], iy, ix] * inside[..., None]

    def render(self, triple, u, latent_frames=FRAMES // 2):
        """Video in 0..1, [b, 2 * latent_frames, SIDE, SIDE, 3]. Fewer latent frames: a random even-aligned window."""
        triple = triple.to(self.device, non_blocking=True)
        u = u.to(self.device, non_blocking=True)
        o, m, c = triple.unbind(1)
        first = 2 * (u[:, 6:7] * (FRAMES // 2 - latent_frames + 1)).long()
        frames = first + torch.arange(2 * latent_frames, device=self.device)
        sprite = self.layers(o, m, u, frames)
        ground = self.background(c, u)[:, None]
        return ground * (1 - sprite[..., 3:]) + sprite[..., :3]

    def batch(self, seed, batch, latent_frames=FRAMES // 2):
        """Video as `render` gives it, and token ids [b, 16]."""
        triple, u = self.draw(seed, batch)
        video = self.render(triple, u, latent_frames)
        o, m, c = triple.to(self.device, non_blocking=True).unbind(1)
        return video, self.ids[o, m, c]
