"""Train wan-mini or hunyuan-mini, or distil hunyuan-mini's guidance. Run again with the same arguments to resume.

    python train.py --model wan --run runs/wan --minutes 7.5
    python train.py --model hunyuan --run runs/teacher --minutes 5.2
    python train.py --model hunyuan --run runs/hunyuan --minutes 2.2 --teacher runs/teacher
"""

import time

STARTED = time.time()  # the budget counts the imports below, which take long on a cold disk

import argparse
import copy
import json
import math
import os
from pathlib import Path

import torch

from captions import caption
from clips import Clips
from codec import Codec
from flow import distil_loss, flow_loss, guided, noise_like_clip, sample
from sheet import draw_sheet
from subject import build, unconditional

SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
LOG_EVERY = 100


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--model", choices=("wan", "hunyuan"), required=True)
    p.add_argument("--run", type=Path, required=True, help="folder of checkpoint, log and sheets")
    p.add_argument("--minutes", type=float, help="wall-clock budget, imports, compilation and checkpoints included")
    p.add_argument("--steps", type=int, help="a budget in steps instead: reproducible to the bit order of the device")
    p.add_argument("--teacher", type=Path, help="distil the guidance of the run in this folder")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--lr", type=float, help="peak rate; 1.5e-3, 5e-4 for distillation")
    p.add_argument("--batch", type=int, default=128, help="clips a step")
    p.add_argument("--short-batch", type=int, default=512, help="clips a step while they have one latent frame")
    p.add_argument("--short-part", type=float, default=0.15, help="part of the budget on one latent frame")
    p.add_argument("--checkpoint-seconds", type=float, default=60)
    p.add_argument("--tiny", action="store_true", help="a toy width, to rehearse on a CPU")
    p.add_argument("--eager", action="store_true", help="no torch.compile")
    args = p.parse_args()
    if (args.minutes is None) == (args.steps is None):
        p.error("give one of --minutes and --steps")
    if args.teacher and args.model != "hunyuan":
        p.error("--teacher distils embedded guidance, which only hunyuan has")
    args.lr = args.lr or (5e-4 if args.teacher else 1.5e-3)
    return args


def parameter_groups(model):
    """Weight decay on the matrices alone."""
    matrix = lambda name, p: p.dim() >= 2 and "modulation" not in name.split(".")[-1] and name != "text_table"
    named = list(model.named_parameters())
    return [dict(params=[p for n, p in named if matrix(n, p)], weight_decay=0.01),
            dict(params=[p for n, p in named if not matrix(n, p)], weight_decay=0.0)]


def rate(args, step, progress):
    """Warm-up over 300 steps (or a tenth of few), constant to 40 % of the budget, cosine to 2 %."""
    warm = min(300, 0.1 * args.steps) if args.steps else 300
    fall = max(0.0, progress - 0.4) / 0.6
    return args.lr * min(1.0, (step + 1) / warm) * (0.02 + 0.49 * (1 + math.cos(math.pi * fall)))


class Trainer:
    def __init__(self, args):
        self.args = args
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        args.run.mkdir(parents=True, exist_ok=True)
        self.clips, self.held = Clips(self.device), Clips(self.device, held=True)
        self.codec = Codec(self.device)
        self.model = build(args.model, args.tiny, args.seed).to(self.device)
        self.teacher = self.load_teacher() if args.teacher else None
        if self.teacher:
            self.model.load_state_dict(self.teacher.state_dict())
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.weights, self.average = list(self.model.parameters()), list(self.ema.parameters())
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model), lr=args.lr, betas=(0.9, 0.98), fused=True)
        self.step, self.elapsed, self.damping = 0, 0.0, 1.0
        self.resume()
        self.compiled = self.device.type == "cuda" and not args.eager
        if self.compiled:
            self.compile()
        self.good = self.state()
        self.log_file = open(args.run / "log.jsonl", "a")

    def load_teacher(self):
        teacher = build("hunyuan", self.args.tiny, self.args.seed).to(self.device)
        teacher.load_state_dict(torch.load(self.args.teacher / "checkpoint.pt", map_location=self.device)["ema"])
        return teacher.requires_grad_(False)

    def compile(self):
        """Compile the blocks, one program for all of a kind; the averaged model stays eager."""
        import torch._dynamo

        for name in ("recompile_limit", "cache_size_limit"):
            if hasattr(torch._dynamo.config, name):
                setattr(torch._dynamo.config, name, 64)
        for model in filter(None, (self.model, self.teacher)):
            for block in model.blocks():
                block.compile(dynamic=False)

    def fall_back(self, error):
        """A compiler that fails costs speed, not the run."""
        self.note(compile_failed=f"{type(error).__name__}: {str(error)[:300]}")
        self.compiled = False
        for model in filter(None, (self.model, self.teacher)):
            for block in model.blocks():
                block._compiled_call_impl = None

    # -- state

    def state(self):
        """Everything a resumed run needs, copied. The data and noise of a step follow from the seed and the step."""
        return copy.deepcopy(dict(model=self.model.state_dict(), ema=self.ema.state_dict(),
                                  optimizer=self.optimizer.state_dict(), step=self.step, elapsed=self.elapsed,
                                  damping=self.damping, kind=self.args.model, tiny=self.args.tiny,
                                  distilled=self.teacher is not None, seed=self.args.seed, batch=self.args.batch,
                                  short_batch=self.args.short_batch, lr=self.args.lr))

    def restore(self, state):
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.damping = state["damping"]

    def resume(self):
        path = self.args.run / "checkpoint.pt"
        if path.exists():
            state = torch.load(path, map_location=self.device)
            self.restore(state)
            self.step, self.elapsed = state["step"], state["elapsed"]

    def save(self):
        part = self.args.run / "checkpoint.part"
        torch.save(self.state(), part)
        os.replace(part, self.args.run / "checkpoint.pt")

    def note(self, **row):
        print(json.dumps(row), flush=True)
        if hasattr(self, "log_file"):
            self.log_file.write(json.dumps(row) + "\n")
            self.log_file.flush()

    # -- one step

    def half(self):
        """Matrix products and attention in bf16; norms, residual stream and loss stay in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def loss(self, latent_frames, batch):
        seed = self.args.seed * 1_000_000_007 + (2 if self.teacher else 1) * 100_000_007 + self.step
        video, ids = self.clips.batch(seed, batch, latent_frames)
        x0 = self.codec.encode(video)
        generator = torch.Generator(self.device).manual_seed(seed)
        with self.half():
            if self.teacher:
                return distil_loss(self.model, self.teacher, x0, ids, generator)
            return flow_loss(self.model, x0, ids, generator)

    def gradients(self, latent_frames, batch):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(latent_frames, batch)
        loss.backward()
        return loss.detach()

    def advance(self, latent_frames, batch, progress):
        """One update; loss and gradient norm stay on the device."""
        try:
            loss = self.gradients(latent_frames, batch)
        except Exception as error:
            if not self.compiled:
                raise
            self.fall_back(error)
            loss = self.gradients(latent_frames, batch)
        norm = torch.nn.utils.clip_grad_norm_([p for p in self.weights if p.grad is not None], 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.args, self.step, progress) * self.damping
        self.optimizer.step()
        self.step += 1
        decay = min(0.999, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.weights], 1 - decay)
        return torch.stack((loss, norm.detach().float()))

    # -- looking at it

    @torch.no_grad()
    def held_out(self):
        """Squared error of the averaged model on 64 clips of held-out captions at each of SIGMAS: with the caption and
        without; for a distilled one, relative to the teacher's guided velocity at guidance 1, 3 and 6."""
        video, ids = self.held.batch(777, 8 if self.args.tiny else 64)
        x0 = self.codec.encode(video)
        noise = torch.randn(x0.shape, generator=torch.Generator(self.device).manual_seed(5), device=self.device)
        rows = {}
        for s in SIGMAS:
            x, velocity = torch.lerp(x0, noise, s), noise - x0
            sigma = torch.full((len(x),), s, device=self.device)
            with self.half():
                errors = self.distilled_errors(x, sigma, ids) if self.teacher else {
                    "held_out": (self.ema(x, sigma, ids) - velocity).pow(2).mean(),
                    "held_out_no_caption": (self.ema(x, sigma, unconditional(ids)) - velocity).pow(2).mean()}
            for name, value in errors.items():
                rows.setdefault(name, []).append(round(value.item(), 5))
        return rows

    def distilled_errors(self, x, sigma, ids):
        errors = {}
        for g in (1, 3, 6):
            target = guided(self.eager_teacher(), x, sigma, ids, g)
            error = (self.ema(x, sigma, ids, torch.full_like(sigma, g)) - target).pow(2).mean()
            errors[f"relative_error_guidance_{g}"] = error / target.pow(2).mean()
        return errors

    def eager_teacher(self):
        if not hasattr(self, "_eager_teacher"):
            self._eager_teacher = copy.deepcopy(self.ema)
            self._eager_teacher.load_state_dict(self.teacher.state_dict())
        return self._eager_teacher

    def progress_sheet(self):
        triples = self.held.triples[4::8][:8]
        ids = self.held.ids[tuple(triples.T)]
        guidance, embedded = (6.0, True) if self.teacher else (3.0, False)
        with self.half():
            x = sample(self.ema, noise_like_clip(len(ids), 3, self.device), ids, 20, guidance, embedded)
        names = [caption(*t) for t in triples.tolist()]
        draw_sheet(self.codec.decode(x.float()).cpu().numpy(), names, self.args.run / f"sheet-{self.step:06d}.png", 1)

    def checkpoint(self):
        """Save, then look: what goes wrong in looking does not end a run."""
        began = time.time()
        self.save()
        try:
            self.note(step=self.step, elapsed_s=round(self.elapsed, 1), **self.held_out())
            self.progress_sheet()
        except Exception as error:
            self.note(step=self.step, look_failed=f"{type(error).__name__}: {str(error)[:300]}")
        self.note(step=self.step, checkpoint_s=round(time.time() - began, 2))

    # -- the loop

    def settle(self, total, count, row):
        """Read the device once: note the means and keep the state, or go back to the last good one at half the rate."""
        loss, norm = (total / max(count, 1)).tolist()
        if math.isfinite(loss) and math.isfinite(norm):
            self.note(**row, loss=round(loss, 5), grad_norm=round(norm, 4))
            self.good = self.state()
            return True
        self.restore(self.good)
        self.damping *= 0.5
        self.note(**row, not_finite=True, damping=self.damping)
        return False

    def run(self):
        args = self.args
        before, saved = self.elapsed, self.elapsed
        mark = time.time()
        total, count = torch.zeros(2, device=self.device), 0
        while True:
            self.elapsed = before + time.time() - STARTED
            progress = self.step / args.steps if args.steps else self.elapsed / (60 * args.minutes)
            if progress >= 1:
                break
            short = not self.teacher and progress < args.short_part
            frames, batch = (1, args.short_batch) if short else (8, args.batch)
            total += self.advance(frames, batch, progress)
            count += 1
            if self.step % LOG_EVERY == 0 or self.step == 1:
                row = dict(step=self.step, elapsed_s=round(self.elapsed, 1), latent_frames=frames, batch=batch,
                           lr=self.optimizer.param_groups[0]["lr"])
                self.settle(total, count, row)
                self.note(step=self.step, step_ms=round(1000 * (time.time() - mark) / count, 2))
                total, count, mark = torch.zeros_like(total), 0, time.time()
                if self.elapsed - saved > args.checkpoint_seconds:
                    self.checkpoint()
                    saved, mark = self.elapsed, time.time()
        if count:
            self.settle(total, count, dict(step=self.step, elapsed_s=round(self.elapsed, 1), latent_frames=8,
                                           batch=args.batch))
        self.checkpoint()
        self.note(step=self.step, done=True, elapsed_s=round(self.elapsed, 1))


if __name__ == "__main__":
    torch.set_float32_matmul_precision("high")
    options = arguments()
    if not torch.cuda.is_available():
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    Trainer(options).run()
