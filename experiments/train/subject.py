"""A network with its learned word vectors: what is trained, sampled and exported."""

import torch
import torch.nn as nn

import hunyuan
import wan
from captions import PAD, TEXT_LEN, WORDS

TINY = {"wan": dict(wan.CONFIG, dim=48, heads=2, ffn=96, layers=2),
        "hunyuan": dict(hunyuan.CONFIG, dim=64, heads=2, double=1, single=2)}
FULL = {"wan": wan.CONFIG, "hunyuan": hunyuan.CONFIG}
NETS = {"wan": wan.Wan, "hunyuan": hunyuan.Hunyuan}


class Subject(nn.Module):
    """forward: latents, sigma [b], token ids [b, 16] -> velocity. An all-PAD row is the unconditional branch.

    Wan sees 16 states, zeros after the last word, all attended. HunyuanVideo sees only the words (an unconditional row
    keeps one zero state, as the authors force column 0 visible) and the mean of the word vectors as its pooled text.
    """

    def __init__(self, kind, config):
        super().__init__()
        self.kind, self.config = kind, config
        self.net = NETS[kind](**config)
        self.text_table = nn.Parameter(torch.randn(len(WORDS), config["text_dim"]))

    def states(self, ids):
        """Text states [b, 16, d] and the mask of words [b, 16]."""
        real = ids >= 0
        return self.text_table[ids.clamp(min=0)] * real[..., None], real

    def pooled(self, states, real):
        return states.sum(1) / real.sum(1, keepdim=True).clamp(min=1)

    def forward(self, x, sigma, ids, guidance=None):
        """guidance [b]: the embedded guidance of a distilled HunyuanVideo."""
        states, real = self.states(ids)
        if self.kind == "wan":
            return self.net(x, 1000 * sigma, states)
        pooled = self.pooled(states, real)
        real = real | (torch.arange(TEXT_LEN, device=ids.device) == 0)
        return self.net(x, 1000 * sigma, states, real, pooled, None if guidance is None else 1000 * guidance)

    def blocks(self):
        net = self.net
        return list(net.blocks) if self.kind == "wan" else list(net.double_blocks) + list(net.single_blocks)


def build(kind, tiny, seed):
    """A freshly initialised subject; the same weights on any device."""
    torch.manual_seed(seed)
    return Subject(kind, (TINY if tiny else FULL)[kind])


def unconditional(ids):
    return torch.full_like(ids, PAD)
