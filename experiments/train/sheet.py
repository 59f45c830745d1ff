"""Pictures: the sample sheet and the loss curve."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FRAMES_SHOWN = (0, 3, 6, 9, 12, 15)


def draw_sheet(videos, captions, path, scale=2, columns=2):
    """Six frames of each clip [n, 16, 64, 64, 3] in 0..1, its caption above, in `columns` columns."""
    side, gap, text = 64 * scale, 4 * scale, 16 * scale
    font = ImageFont.load_default(size=9 * scale)
    wide = len(FRAMES_SHOWN) * (side + gap) - gap
    rows = -(-len(videos) // columns)
    column, row = wide + 8 * gap, text + side + 2 * gap
    sheet = Image.new("RGB", (columns * column, rows * row + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (video, words) in enumerate(zip((videos * 255).round().astype(np.uint8), captions)):
        x0, y0 = (i % columns) * column + 4 * gap, (i // columns) * row + gap
        pen.text((x0, y0), words, fill=(40, 40, 40), font=font)
        for j, frame in enumerate(FRAMES_SHOWN):
            picture = Image.fromarray(video[frame]).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (x0 + j * (side + gap), y0 + text))
    sheet.save(path, optimize=True)


def read_log(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def draw_curve(log, path, title):
    """Training loss and held-out loss against the step, from the log's rows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    train = [(r["step"], r["loss"]) for r in log if "loss" in r]
    held = [(r["step"], sum(r["held_out"]) / len(r["held_out"])) for r in log if "held_out" in r]
    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=150)
    if train:
        axes.plot(*zip(*train), lw=1, label="training, mean of 100 steps")
    if held:
        axes.plot(*zip(*held), "o-", ms=3, lw=1, label="held-out captions (EMA), mean over 6 sigmas")
    axes.set(xlabel="step", ylabel="squared error of the velocity", yscale="log", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
