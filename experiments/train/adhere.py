"""Does a clip show what its caption says? The checker learns nothing: it fits the background, then finds the clip of the
training distribution (object, motion, position) nearest in pixels, at 32x32."""

import torch

from captions import MOTIONS, OBJECTS
from clips import FRAMES, Clips

HALF = 32


def halve(x):
    """Average 2x2 pixels: [b, f, 64, 64, c] -> [b, f, 32*32, c]."""
    b, f, h, w, c = x.shape
    return x.reshape(b, f, h // 2, 2, w // 2, 2, c).mean((3, 5)).flatten(2, 3)


def placements(motion):
    """Uniforms [n, 16] that make every placement of one motion."""
    centre = lambda k, n: (k + 0.5) / n
    rows = []
    for i in range(5):
        for j in range(5):
            for k in range(2):
                row = torch.full((16,), 0.5)
                row[0], row[1], row[2], row[3] = centre(i, 5), centre(j, 5), centre(k, 2), centre(k, 2)
                rows.append(row)
    rows = torch.stack(rows)
    # Only some of the four choices matter to a motion: drop the repetitions.
    used = {0: (1, 2), 1: (1, 2), 2: (0, 2), 3: (0, 2), 7: (0, 3)}.get(motion, (0, 1))
    _, first = torch.unique(rows[:, list(used)], dim=0, return_inverse=True)
    return torch.stack([rows[first == k][0] for k in range(int(first.max()) + 1)])


def fit_background(video):
    """Linear ramp per channel under the sprite, from the median over time: [b, 32*32, 3]."""
    axis = torch.linspace(-1, 1, HALF, device=video.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    basis = torch.stack((torch.ones_like(x), x, y), -1).reshape(-1, 3)
    median = video.median(1).values
    weight = ((basis[:, 1:].abs().amax(1) > 0.8).float()).expand(len(video), -1)
    eye = 1e-4 * torch.eye(3, device=video.device)
    for _ in range(4):
        left = torch.einsum("bp,pi,pj->bij", weight, basis, basis) + eye
        right = torch.einsum("bp,pi,bpc->bic", weight, basis, median)
        ground = basis @ torch.linalg.solve(left, right)
        weight = ((median - ground).abs().amax(-1) < 0.08).float()
    return ground


class Checker:
    def __init__(self, device):
        self.clips = Clips(device)
        self.frames = torch.arange(FRAMES, device=device)

    def templates(self, o, m):
        """All placements of (object, motion): alpha [n, f, p, 1] and premultiplied colour [n, f, p, 3]."""
        u = placements(m).to(self.clips.device)
        index = lambda k: torch.full((len(u),), k, device=u.device)
        rgba = halve(self.clips.layers(index(o), index(m), u, self.frames.expand(len(u), -1)))
        return rgba[..., 3:], rgba[..., :3]

    def classify(self, video):
        """[b, 16, 64, 64, 3] -> (object, motion, colour) [b, 3], and the PSNR against the nearest clip [b]."""
        half = halve(video)
        ground = fit_background(half)
        colour = (ground.mean(1)[:, None] - self.clips.colours).pow(2).sum(-1).argmin(1)
        difference = half - ground[:, None]
        flat = lambda x: x.flatten(1)
        energy = difference.pow(2).flatten(1).sum(1)
        product, square = flat((difference * ground[:, None]).sum(-1)), ground.pow(2).sum(-1)
        best = torch.full_like(energy, float("inf"))
        label = torch.zeros(len(video), 2, dtype=torch.long, device=video.device)
        for o in range(len(OBJECTS)):
            for m in range(len(MOTIONS)):
                a, s = self.templates(o, m)
                # |difference + a ground - s|^2, expanded so that each term is one matrix product
                error = (energy[:, None] + s.pow(2).flatten(1).sum(1) + square @ flat(a.pow(2).sum((1, 3))).T
                         + 2 * product @ flat(a).T - 2 * flat(difference) @ flat(s).T
                         - 2 * flat(ground) @ flat((a * s).sum(1)).T)
                least = error.amin(1)
                nearer = least < best
                best = torch.where(nearer, least, best)
                label = torch.where(nearer[:, None], torch.tensor([o, m], device=label.device), label)
        psnr = -10 * (best / half[0].numel()).clamp(min=1e-9).log10()
        return torch.cat((label, colour[:, None]), 1), psnr


def score(found, wanted, psnr):
    """Shares of clips that show the object, the motion, the colour, and all three; and the mean PSNR in dB."""
    same = (found.cpu() == wanted.cpu())
    rows = {name: same[:, k].float().mean().item() for k, name in enumerate(("object", "motion", "colour"))}
    rows["all_three"] = same.all(1).float().mean().item()
    rows["nearest_clip_psnr_db"] = psnr.mean().item()
    rows["per_motion"] = {name: same[wanted[:, 1].cpu() == m, 1].float().mean().item()
                          for m, name in enumerate(MOTIONS)}
    rows["per_object"] = {name: same[wanted[:, 0].cpu() == o, 0].float().mean().item()
                          for o, name in enumerate(OBJECTS)}
    return rows
