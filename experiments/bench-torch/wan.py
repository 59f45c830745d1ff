"""Wan2.1's transformer in PyTorch: the rival. Modules have the authors' names, so their checkpoints load.

What it leaves to PyTorch's own kernels: linear layers, norms, `scaled_dot_product_attention`, tanh GELU.
"""

import json
import struct

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads, eps):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(dim, eps=eps), nn.RMSNorm(dim, eps=eps)

    def forward(self, x, context, rotary=None):
        split = lambda y: y.unflatten(2, (self.heads, -1))  # [b, n, h, d/h]
        q, k, v = split(self.norm_q(self.q(x))), split(self.norm_k(self.k(context))), split(self.v(context))
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        return self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def rotate(x, rotary):
    """Pairs of channels as complex numbers: one multiplication, in one pass over memory."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))  # there are no complex numbers of bf16
    return torch.view_as_real(pairs * rotary).flatten(-2).type_as(x)


class Block(nn.Module):
    def __init__(self, dim, ffn_dim, heads, eps):
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)
        self.self_attn, self.cross_attn = Attention(dim, heads, eps), Attention(dim, heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps=eps)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(ffn_dim, dim))

    def forward(self, x, e0, context, rotary):
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + e0).unbind(1)
        norm = lambda y: F.layer_norm(y, y.shape[-1:], eps=self.eps)
        y = torch.addcmul(shift1, norm(x), 1 + scale1)
        x = torch.addcmul(x, self.self_attn(y, y, rotary), gate1)
        x = x + self.cross_attn(self.norm3(x), context)
        y = torch.addcmul(shift2, norm(x), 1 + scale2)
        return torch.addcmul(x, self.ffn(y), gate2)


class Head(nn.Module):
    def __init__(self, dim, out, eps):
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.head = nn.Linear(dim, out)

    def forward(self, x, e):
        shift, scale = (self.modulation + e.unsqueeze(1)).unbind(1)
        return self.head(torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=self.eps), 1 + scale))


class Wan(nn.Module):
    """`config`: keys of a diffusers `config.json`; `grid`: frames, rows, columns of the latent."""

    def __init__(self, config, grid):
        super().__init__()
        heads, eps, patch = config["num_attention_heads"], config["eps"], config["patch_size"]
        self.dim = dim = heads * config["attention_head_dim"]
        self.freq_dim, self.patch = config["freq_dim"], patch
        self.tokens = [n // p for n, p in zip(grid, patch)]
        self.patch_embedding = nn.Conv3d(config["in_channels"], dim, patch, stride=patch)
        self.text_embedding = nn.Sequential(
            nn.Linear(config["text_dim"], dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(self.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, config["ffn_dim"], heads, eps) for _ in range(config["num_layers"]))
        volume = patch[0] * patch[1] * patch[2]
        self.head = Head(dim, config["out_channels"] * volume, eps)
        self.rotary = rotary(self.tokens, dim // heads)

    def embed(self, latent, timestep):
        """Tokens `[b, n, d]`, `e` `[1, d]`, `e0` `[1, 6, d]`."""
        x = self.patch_embedding(latent).flatten(2).transpose(1, 2)
        half = self.freq_dim // 2
        angle = timestep * torch.exp(torch.arange(half) * (-torch.log(torch.tensor(10000.0)) / half)).to(timestep)
        e = self.time_embedding(torch.cat([angle.cos(), angle.sin()])[None].type_as(x))
        return x, e, self.time_projection(e).unflatten(1, (6, -1))

    def forward(self, latent, timestep, context):
        x, e, e0 = self.embed(latent, timestep)
        for block in self.blocks:
            x = block(x, e0, context, self.rotary)
        (f, h, w), (pt, ph, pw) = self.tokens, self.patch
        x = self.head(x, e).view(x.shape[0], f, h, w, pt, ph, pw, -1)
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(x.shape[0], -1, f * pt, h * ph, w * pw)


def run(what, dtype, config, grid, device):
    """A model of random weights on random input: a function that computes its first block, all blocks, or a pass."""
    model = Wan(config, grid)
    latent = torch.randn(1, config["in_channels"], *grid)
    text = torch.randn(1, config["text_len"], config["text_dim"])
    timestep, rotary = torch.tensor([500.0]), model.rotary
    if device.type != "cpu":
        kind = torch.bfloat16 if dtype == "bf16" else torch.float32
        model, latent, text = (it.to(device, kind) for it in (model, latent, text))
        timestep, rotary = timestep.to(device), rotary.to(device)
    context = model.text_embedding(text)
    x, _, e0 = model.embed(latent, timestep)

    def blocks(count):
        y = x
        for block in model.blocks[:count]:
            y = block(y, e0, context, rotary)

    runs = {"block": lambda: blocks(1), "blocks": lambda: blocks(None), "pass": lambda: model(latent, timestep, context)}
    return runs[what]


def rotary(tokens, head_dim):
    """`[n, 1, head_dim/2]`: rows and columns have `2·⌊head_dim/6⌋` channels each, frames the rest."""
    side = 2 * (head_dim // 6)
    places = torch.cartesian_prod(*(torch.arange(n) for n in tokens))
    angles = []
    for axis, channels in enumerate([head_dim - 2 * side, side, side]):
        frequencies = 10000.0 ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        angles.append(places[:, axis, None] * frequencies)
    angles = torch.cat(angles, 1)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)[:, None]


def safetensors(path):
    """The tensors of an f32 file."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    floats = lambda a, b: torch.frombuffer(bytearray(data[8 + size + a : 8 + size + b]), dtype=torch.float32)
    return {key: floats(*info["data_offsets"]).view(info["shape"]) for key, info in header.items()}


def distance_from_reference(folder):
    """`‖ours − recorded‖ / ‖recorded‖` of a recorded pass: that this is Wan's arithmetic."""
    config = json.loads((folder / "config.json").read_text())
    recorded = safetensors(folder / "io.safetensors")
    latent = recorded["in.hidden_states"]
    wan = Wan(config, latent.shape[2:])
    wan.load_state_dict(safetensors(folder / "original.safetensors"))
    with torch.inference_mode():
        context = wan.text_embedding(recorded["in.encoder_hidden_states"])
        out = wan(latent, recorded["t1.timestep"], context)
    return ((out - recorded["t1.out"]).norm() / recorded["t1.out"].norm()).item()
