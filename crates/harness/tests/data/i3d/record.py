"""Records I3D of PyTorch modules: a tiny random network (tiny.safetensors), and, where its weights are given, Kinetics-400's.

    python record.py tiny FILE                 (torch 2.15.0, safetensors)
    python record.py kinetics WEIGHTS FILE     features of the weights in the file WEIGHTS for the same clips

Both files hold `clip.N` `[frames, rows, columns, 3]` in [0, 1] and `logits.N`, in float32; the first also the network.
"""

import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

MIXED = ["3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"]


def same(x, side, stride):
    """TensorFlow's padding SAME: the odd place at the end."""
    pads = []
    for length, k, s in zip(x.shape[2:], side, stride):
        total = max((-(-length // s) - 1) * s + k - length, 0)
        pads = [total // 2, total - total // 2] + pads
    return F.pad(x, pads)


class Unit(nn.Module):
    def __init__(self, from_, to, side, stride=1):
        super().__init__()
        self.side, self.stride = [side] * 3, [stride] * 3
        self.conv = nn.Conv3d(from_, to, side, stride, bias=False)
        self.bn = nn.BatchNorm3d(to, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(same(x, self.side, self.stride))))


def pool(x, side, stride):
    # Behind a ReLU zeros are never the largest but where all are zero.
    return F.max_pool3d(same(x, side, stride), side, stride)


class Mixed(nn.Module):
    def __init__(self, from_, widths):
        super().__init__()
        one, three_in, three, other_in, other, pooled = widths
        self.b0 = Unit(from_, one, 1)
        self.b1 = nn.Sequential(Unit(from_, three_in, 1), Unit(three_in, three, 3))
        self.b2 = nn.Sequential(Unit(from_, other_in, 1), Unit(other_in, other, 3))
        self.b3 = Unit(from_, pooled, 1)

    def forward(self, x):
        return torch.cat([self.b0(x), self.b1(x), self.b2(x), self.b3(pool(x, [3] * 3, [1] * 3))], 1)


class I3d(nn.Module):
    def __init__(self, stem, mixed, classes):
        super().__init__()
        a, b, c = stem
        self.stem = nn.ModuleList([Unit(3, a, 7, 2), Unit(a, b, 1), Unit(b, c, 3)])
        self.mixed = nn.ModuleList()
        for widths in mixed:
            self.mixed.append(Mixed(c, widths))
            c = widths[0] + widths[2] + widths[4] + widths[5]
        self.head = nn.Conv3d(c, classes, 1)

    def forward(self, x):
        x = pool(self.stem[0](x), [1, 3, 3], [1, 2, 2])
        x = pool(self.stem[2](self.stem[1](x)), [1, 3, 3], [1, 2, 2])
        for name, mixed in zip(MIXED, self.mixed):
            x = pool(x, [3] * 3, [2] * 3) if name == "4b" else x
            x = pool(x, [2] * 3, [2] * 3) if name == "5b" else x
            x = mixed(x)
        return self.head(F.avg_pool3d(x, [2, 7, 7], 1)).mean(dim=[2, 3, 4])

    def units(self):
        """Every unit under its published name."""
        yield from zip(["Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"], self.stem)
        for name, m in zip(MIXED, self.mixed):
            layers = {"0.Conv3d_0a_1x1": m.b0, "1.Conv3d_0a_1x1": m.b1[0], "1.Conv3d_0b_3x3": m.b1[1],
                      "2.Conv3d_0a_1x1": m.b2[0], "2.Conv3d_0b_3x3": m.b2[1], "3.Conv3d_0b_1x1": m.b3}
            for key, unit in layers.items():
                yield f"Mixed_{name}.Branch_{key}", unit

    def tensors(self):
        """Published name to parameter. The networks' norms have no scale."""
        out = {}
        for name, unit in self.units():
            out |= {f"{name}.weight": unit.conv.weight, f"{name}.bn.bias": unit.bn.bias,
                    f"{name}.bn.mean": unit.bn.running_mean, f"{name}.bn.var": unit.bn.running_var}
        return out | {"Logits.Conv3d_0c_1x1.weight": self.head.weight, "Logits.Conv3d_0c_1x1.bias": self.head.bias}


def clips():
    """An odd and an even number of frames, smaller than what the network sees; noise on a moving ramp."""
    torch.manual_seed(7)
    for t, h, w in [(9, 20, 28), (16, 24, 24)]:
        time, row, column = torch.meshgrid(torch.arange(t), torch.arange(h), torch.arange(w), indexing="ij")
        ramp = torch.stack([(time + row) / (t + h), (row + 2 * column) / (h + 2 * w), (column + time) / (w + t)], -1)
        yield (0.8 * ramp + 0.2 * torch.rand(t, h, w, 3)).float()


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    if sys.argv[1] == "tiny":
        torch.manual_seed(3)
        # All widths differ from their neighbours, so that no two layers can be swapped.
        widths = [[2, 3, 4, 2, 3, 2], [3, 2, 4, 3, 2, 2], [2, 4, 3, 2, 3, 3]] * 3
        net = I3d([4, 3, 6], widths, 5)
        for name, p in net.tensors().items():
            if name.endswith("weight"):
                p.copy_(torch.randn_like(p) * (2.0 / p[0].numel()) ** 0.5)
            elif name.endswith("var"):
                p.copy_(0.5 + torch.rand_like(p))
            else:
                p.copy_(0.2 * torch.randn_like(p))
        path, out = sys.argv[2], {k: v.clone() for k, v in net.tensors().items()}
    else:
        inception = [[64, 96, 128, 16, 32, 32], [128, 128, 192, 32, 96, 64], [192, 96, 208, 16, 48, 64],
                     [160, 112, 224, 24, 64, 64], [128, 128, 256, 24, 64, 64], [112, 144, 288, 32, 64, 64],
                     [256, 160, 320, 32, 128, 128], [256, 160, 320, 32, 128, 128], [384, 192, 384, 48, 128, 128]]
        net = I3d([64, 64, 192], inception, 400)
        given = load_file(sys.argv[2])
        assert given.keys() == net.tensors().keys()
        for name, p in net.tensors().items():
            p.copy_(given[name])
        path, out = sys.argv[3], {}
    net.eval()
    for i, clip in enumerate(clips()):
        x = F.interpolate(clip.permute(0, 3, 1, 2), (224, 224), mode="bilinear", align_corners=False)
        x = x.permute(1, 0, 2, 3)[None] * 2 - 1
        logits, exact = net(x)[0], net.double()(x.double())[0]
        net.float()
        error = (logits.double() - exact).abs().max() / exact.abs().max()
        print(f"clip {i}: largest logit {exact.abs().max():.4f}, float32 against float64 {error:.1e} of it")
        out |= {f"clip.{i}": clip.contiguous(), f"logits.{i}": logits}
    save_file({k: v.contiguous() for k, v in out.items()}, path)


main()
