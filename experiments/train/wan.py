"""The Wan2.1 T2V transformer in the authors' key layout (Wan-Video/Wan2.1 `wan/modules/model.py`, facts only)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from layers import RMSNorm, Rotary, attention, initialise, layer_norm, patchify, rotate, sinusoid, zero

CONFIG = dict(dim=192, heads=6, ffn=768, layers=8, channels=16, text_dim=64, freq_dim=256)


class Attention(nn.Module):
    """Self- or cross-attention; q and k are normed over the whole width."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim), RMSNorm(dim)

    def forward(self, x, context, rotary=None):
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(context)), self.v(context)
        q, k, v = (y.unflatten(-1, (self.heads, -1)) for y in (q, k, v))
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        return self.o(attention(q, k, v))


class Block(nn.Module):
    def __init__(self, dim, heads, ffn):
        super().__init__()
        self.self_attn, self.cross_attn = Attention(dim, heads), Attention(dim, heads)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn), nn.GELU("tanh"), nn.Linear(ffn, dim))
        self.modulation = nn.Parameter(torch.zeros(1, 6, dim))

    def forward(self, x, e, context, cos, sin):
        """x [b, l, d] float32, e [b, 6, d], context [b, text, d]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + e).chunk(6, 1)
        y = layer_norm(x) * (1 + scale1) + shift1
        x = x + self.self_attn(y, y, (cos, sin)).float() * gate1
        x = x + self.cross_attn(self.norm3(x), context).float()
        y = layer_norm(x) * (1 + scale2) + shift2
        return x + self.ffn(y).float() * gate2


class Head(nn.Module):
    def __init__(self, dim, out):
        super().__init__()
        self.head = nn.Linear(dim, out)
        self.modulation = nn.Parameter(torch.zeros(1, 2, dim))


class Wan(nn.Module):
    """forward: latents [b, 16, t, h, w], timestep [b] (1000 sigma), text states [b, 16, 64] -> velocity."""

    def __init__(self, dim, heads, ffn, layers, channels, text_dim, freq_dim):
        super().__init__()
        self.freq_dim = freq_dim
        head_dim = dim // heads
        spatial = 2 * (head_dim // 6)
        self.rotary = Rotary((head_dim - 2 * spatial, spatial, spatial), 10000.0)
        self.patch_embedding = nn.Conv3d(channels, dim, (1, 2, 2), (1, 2, 2))
        self.text_embedding = nn.Sequential(nn.Linear(text_dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, heads, ffn) for _ in range(layers))
        self.head = Head(dim, 4 * channels)
        initialise(self)
        # Every block starts as the identity (adaLN-zero; the cross-attention has no gate, so its output starts at zero).
        zero(self.time_projection[1], self.head.head, *(b.cross_attn.o for b in self.blocks))

    def forward(self, x, timestep, text):
        b, c, t, h, w = x.shape
        with torch.autocast(x.device.type, enabled=False):
            temb = self.time_embedding(sinusoid(timestep, self.freq_dim))
            e = self.time_projection(temb).unflatten(1, (6, -1))
            context = self.text_embedding(text)
            cos, sin = self.rotary(t, h // 2, w // 2)
        y = F.linear(patchify(x), self.patch_embedding.weight.flatten(1), self.patch_embedding.bias).float()
        for block in self.blocks:
            y = block(y, e, context, cos, sin)
        shift, scale = (self.head.modulation + temb[:, None]).chunk(2, 1)
        y = self.head.head(layer_norm(y) * (1 + scale) + shift).float()
        y = y.view(b, t, h // 2, w // 2, 2, 2, c).permute(0, 6, 1, 2, 4, 3, 5)  # channel last in the head's output
        return y.reshape(b, c, t, h, w)
