"""What both transformers share: rotary tables, sinusoids, norms, attention."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

MAX_POSITIONS = 64


def angle_table(dim, theta):
    """Rotary angles of one axis: [MAX_POSITIONS, dim/2], computed in float64."""
    frequency = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    return torch.outer(torch.arange(MAX_POSITIONS, dtype=torch.float64), frequency)


class Rotary(nn.Module):
    """Rotary tables over (frame, row, column), each axis with its own part of the head."""

    def __init__(self, axes, theta):
        super().__init__()
        for name, dim in zip("thw", axes):
            self.register_buffer(f"angles_{name}", angle_table(dim, theta).float(), persistent=False)

    def forward(self, t, h, w):
        """cos and sin, each [t*h*w, 1, head_dim/2] (the 1 is for heads)."""
        parts = (self.angles_t[:t, None, None].expand(t, h, w, -1), self.angles_h[None, :h, None].expand(t, h, w, -1),
                 self.angles_w[None, None, :w].expand(t, h, w, -1))
        angles = torch.cat(parts, -1).reshape(t * h * w, 1, -1)
        return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Rotate adjacent pairs of the last dimension: x [b, l, heads, head_dim]."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def sinusoid(t, dim):
    """[b] -> [b, dim] = [cos | sin], period 10000, float32."""
    frequency = torch.exp(-math.log(10000) * torch.arange(dim // 2, dtype=torch.float32, device=t.device) / (dim // 2))
    angle = t.float()[:, None] * frequency
    return torch.cat((angle.cos(), angle.sin()), -1)


def layer_norm(x):
    """Without affine, in float32."""
    return F.layer_norm(x.float(), x.shape[-1:], eps=1e-6)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, in float32."""

    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def attention(q, k, v, mask=None):
    """q, k, v [b, l, heads, head_dim] -> [b, l, heads*head_dim]. mask [b, 1, 1, lk], true where a key is seen."""
    q, k, v = (x.to(v.dtype).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def patchify(x):
    """[b, c, t, h, w] -> tokens [b, t*h/2*w/2, c*4], the order of a Conv3d weight flattened: (channel, row, column)."""
    b, c, t, h, w = x.shape
    x = x.view(b, c, t, h // 2, 2, w // 2, 2).permute(0, 2, 3, 5, 1, 4, 6)
    return x.reshape(b, t * (h // 2) * (w // 2), c * 4)


def initialise(model):
    """Xavier matrices and zero biases; what must start at zero is set afterwards by each model."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv3d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            nn.init.zeros_(module.bias)


def zero(*modules):
    for module in modules:
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
