"""The HunyuanVideo transformer in the authors' key layout (Tencent-Hunyuan/HunyuanVideo `hyvideo/modules`, facts only)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from layers import RMSNorm, Rotary, attention, initialise, layer_norm, patchify, rotate, sinusoid, zero

CONFIG = dict(dim=192, heads=6, double=2, single=5, refiner=2, mlp_ratio=4, channels=16, text_dim=64, pooled_dim=64,
              axes=(8, 12, 12))
FREQ_DIM = 256


class TimeEmbedder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQ_DIM, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t):
        return self.mlp(sinusoid(t, FREQ_DIM))


class VectorEmbedder(nn.Module):
    def __init__(self, in_dim, dim):
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(in_dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        return self.out_layer(F.silu(self.in_layer(x)))


class TextProjection(nn.Module):
    def __init__(self, in_dim, dim):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(in_dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


class MLP(nn.Module):
    def __init__(self, dim, hidden, activation):
        super().__init__()
        self.fc1, self.fc2, self.activation = nn.Linear(dim, hidden), nn.Linear(hidden, dim), activation

    def forward(self, x):
        return self.fc2(self.activation(self.fc1(x)))


class Modulation(nn.Module):
    """`count` vectors [b, 1, d] from SiLU(vec)."""

    def __init__(self, dim, count):
        super().__init__()
        self.count, self.linear = count, nn.Linear(dim, count * dim)

    def forward(self, vec):
        return self.linear(F.silu(vec)).float()[:, None].chunk(self.count, -1)


def modulated(x, shift, scale):
    return layer_norm(x) * (1 + scale) + shift


def split_heads(qkv, heads):
    return (y.unflatten(-1, (heads, -1)) for y in qkv.chunk(3, -1))


class RefinerBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.self_attn_qkv, self.self_attn_proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = MLP(dim, 4 * dim, nn.SiLU())
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x, c, mask):
        gate1, gate2 = self.adaLN_modulation(c).float()[:, None].chunk(2, -1)
        y = attention(*split_heads(self.self_attn_qkv(self.norm1(x)), self.heads), mask)
        x = x + self.self_attn_proj(y).float() * gate1
        return x + self.mlp(self.norm2(x)).float() * gate2


class Refiner(nn.Module):
    """The text states attend to each other, conditioned on the timestep and on their own mean."""

    def __init__(self, text_dim, dim, heads, layers):
        super().__init__()
        self.input_embedder = nn.Linear(text_dim, dim)
        self.t_embedder, self.c_embedder = TimeEmbedder(dim), TextProjection(text_dim, dim)
        self.individual_token_refiner = nn.Module()
        self.individual_token_refiner.blocks = nn.ModuleList(RefinerBlock(dim, heads) for _ in range(layers))

    def forward(self, text, timestep, mask):
        real = mask.float()[..., None]
        c = self.t_embedder(timestep) + self.c_embedder((text * real).sum(1) / real.sum(1))
        x = self.input_embedder(text).float()
        for block in self.individual_token_refiner.blocks:
            x = block(x, c, mask[:, None, None])
        return x


class DoubleBlock(nn.Module):
    """Image and text with their own weights, one attention over [image, text]."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.heads = heads
        for s in ("img", "txt"):
            self.add_module(f"{s}_mod", Modulation(dim, 6))
            self.add_module(f"{s}_attn_qkv", nn.Linear(dim, 3 * dim))
            self.add_module(f"{s}_attn_q_norm", RMSNorm(dim // heads))
            self.add_module(f"{s}_attn_k_norm", RMSNorm(dim // heads))
            self.add_module(f"{s}_attn_proj", nn.Linear(dim, dim))
            self.add_module(f"{s}_mlp", MLP(dim, hidden, nn.GELU("tanh")))

    def forward(self, img, txt, vec, mask, cos, sin):
        ishift1, iscale1, igate1, ishift2, iscale2, igate2 = self.img_mod(vec)
        tshift1, tscale1, tgate1, tshift2, tscale2, tgate2 = self.txt_mod(vec)
        iq, ik, iv = split_heads(self.img_attn_qkv(modulated(img, ishift1, iscale1)), self.heads)
        tq, tk, tv = split_heads(self.txt_attn_qkv(modulated(txt, tshift1, tscale1)), self.heads)
        iq, ik = rotate(self.img_attn_q_norm(iq), cos, sin), rotate(self.img_attn_k_norm(ik), cos, sin)
        tq, tk = self.txt_attn_q_norm(tq), self.txt_attn_k_norm(tk)
        y = attention(torch.cat((iq, tq), 1), torch.cat((ik, tk), 1), torch.cat((iv, tv), 1), mask)
        yi, yt = y.split((img.shape[1], txt.shape[1]), 1)
        img = img + self.img_attn_proj(yi).float() * igate1
        img = img + self.img_mlp(modulated(img, ishift2, iscale2)).float() * igate2
        txt = txt + self.txt_attn_proj(yt).float() * tgate1
        txt = txt + self.txt_mlp(modulated(txt, tshift2, tscale2)).float() * tgate2
        return img, txt


class SingleBlock(nn.Module):
    """Attention and MLP side by side over [image, text]."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.heads, self.parts = heads, (3 * dim, hidden)
        self.linear1, self.linear2 = nn.Linear(dim, 3 * dim + hidden), nn.Linear(dim + hidden, dim)
        self.q_norm, self.k_norm = RMSNorm(dim // heads), RMSNorm(dim // heads)
        self.modulation = Modulation(dim, 3)

    def forward(self, x, vec, mask, cos, sin):
        """cos, sin cover the text too, with angle 0."""
        shift, scale, gate = self.modulation(vec)
        qkv, hidden = self.linear1(modulated(x, shift, scale)).split(self.parts, -1)
        q, k, v = split_heads(qkv, self.heads)
        y = attention(rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin), v, mask)
        return x + self.linear2(torch.cat((y, F.gelu(hidden, approximate="tanh")), -1)).float() * gate


class FinalLayer(nn.Module):
    def __init__(self, dim, out):
        super().__init__()
        self.linear = nn.Linear(dim, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))


class Hunyuan(nn.Module):
    """forward: latents [b, 16, t, h, w], timestep [b] (1000 sigma), text states [b, n, 64], mask [b, n] (true for words),
    pooled text [b, 64], guidance [b] (1000 g) or None for no guidance embedding -> velocity."""

    def __init__(self, dim, heads, double, single, refiner, mlp_ratio, channels, text_dim, pooled_dim, axes):
        super().__init__()
        hidden = int(mlp_ratio * dim)
        self.rotary = Rotary(axes, 256.0)
        self.img_in = nn.Module()
        self.img_in.proj = nn.Conv3d(channels, dim, (1, 2, 2), (1, 2, 2))
        self.txt_in = Refiner(text_dim, dim, heads, refiner)
        self.time_in, self.guidance_in = TimeEmbedder(dim), TimeEmbedder(dim)
        self.vector_in = VectorEmbedder(pooled_dim, dim)
        self.double_blocks = nn.ModuleList(DoubleBlock(dim, heads, hidden) for _ in range(double))
        self.single_blocks = nn.ModuleList(SingleBlock(dim, heads, hidden) for _ in range(single))
        self.final_layer = FinalLayer(dim, 4 * channels)
        initialise(self)
        # Every block starts as the identity, and the guidance embedding adds nothing before it is distilled.
        zero(*(m.linear for m in self.modules() if isinstance(m, Modulation)), self.final_layer.linear,
             self.final_layer.adaLN_modulation[1], self.guidance_in.mlp[2],
             *(b.adaLN_modulation[1] for b in self.txt_in.individual_token_refiner.blocks))

    def forward(self, x, timestep, text, mask, pooled, guidance=None):
        b, c, t, h, w = x.shape
        n = text.shape[1]
        with torch.autocast(x.device.type, enabled=False):
            vec = self.time_in(timestep) + self.vector_in(pooled)
            if guidance is not None:
                vec = vec + self.guidance_in(guidance)
            cos, sin = self.rotary(t, h // 2, w // 2)
            joint_cos = torch.cat((cos, torch.ones_like(cos[:1]).expand(n, -1, -1)))
            joint_sin = torch.cat((sin, torch.zeros_like(sin[:1]).expand(n, -1, -1)))
            txt = self.txt_in(text, timestep, mask)
        img = F.linear(patchify(x), self.img_in.proj.weight.flatten(1), self.img_in.proj.bias).float()
        seen = torch.cat((torch.ones_like(mask[:, :1]).expand(-1, img.shape[1]), mask), 1)[:, None, None]
        for block in self.double_blocks:
            img, txt = block(img, txt, vec, seen, cos, sin)
        y = torch.cat((img, txt), 1)
        for block in self.single_blocks:
            y = block(y, vec, seen, joint_cos, joint_sin)
        shift, scale = self.final_layer.adaLN_modulation(vec).float()[:, None].chunk(2, -1)
        y = self.final_layer.linear(modulated(y[:, : img.shape[1]], shift, scale)).float()
        y = y.view(b, t, h // 2, w // 2, c, 2, 2).permute(0, 4, 1, 2, 5, 3, 6)  # channel first in the head's output
        return y.reshape(b, c, t, h, w)
