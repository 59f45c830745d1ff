"""mixcache's forward against PyTorch's on this CPU: same shapes, dtype and threads, in turns.

    just bench-torch --help

Each round times PyTorch, then mixcache (`crates/core/examples/stopwatch.rs`), each the fastest of some repetitions. The ratio
of a case is that of the fastest times over all rounds; the ratios of the rounds show the noise. Processor time, which
includes that of threads that spin while they wait, is the steadier measure of one thread on a busy machine. Records
rounds.csv and machine.json under results/bench-torch/.
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

try:
    import torch
except ImportError:
    sys.exit(
        f"{sys.executable} has no PyTorch, the rival of this benchmark: `pip install torch`, "
        "or choose another interpreter with `PYTHON=/path/to/python just bench-torch`"
    )

import wan

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Threads of the rival before spin for some time after its last call: neither may be timed beside them.
REST_S = 0.5
# The rival must be right before it is timed: rounding of a few layers in f32.
DISTANCE_MAX = 1e-5
TIMESTEP = torch.tensor([500.0])


def config(layers, heads, head_dim, ffn_dim, text_len, text_dim):
    return dict(
        num_layers=layers, num_attention_heads=heads, attention_head_dim=head_dim, ffn_dim=ffn_dim,
        text_len=text_len, text_dim=text_dim, in_channels=16, out_channels=16, patch_size=[1, 2, 2],
        freq_dim=256, eps=1e-6,
    )  # fmt: skip


BLOCK_S = config(1, 6, 64, 1536, 128, 384), (4, 32, 32), 10
BLOCK_L = config(1, 12, 128, 8960, 512, 4096), (8, 32, 32), 1
MINI = config(8, 6, 32, 768, 16, 64), (8, 16, 16), 10
# name: (what is timed, dtype, sizes, latent frames × rows × columns, repetitions a round). In bf16 the rival runs under
# autocast, whose attention is in bf16 as well; mixcache's is in f32.
CASES = {
    "block-s": ("block", "f32", *BLOCK_S),
    "block-l": ("block", "f32", *BLOCK_L),
    "mini": ("pass", "f32", *MINI),
    "block-s-bf16": ("block", "bf16", *BLOCK_S),
    "block-l-bf16": ("block", "bf16", *BLOCK_L),
    "mini-bf16": ("pass", "bf16", *MINI),
}


class Torch:
    def __init__(self, what, sizes, grid, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.model = wan.Wan(sizes, grid)
        self.latent = torch.randn(1, sizes["in_channels"], *grid)
        with torch.inference_mode():
            self.context = self.model.text_embedding(torch.randn(1, sizes["text_len"], sizes["text_dim"]))
            self.x, _, self.e0 = self.model.embed(self.latent, TIMESTEP)
        block = lambda: self.model.blocks[0](self.x, self.e0, self.context, self.model.rotary)
        self.run = block if what == "block" else lambda: self.model(self.latent, TIMESTEP, self.context)

    def once(self):
        """Wall-clock and processor seconds of a run."""
        with torch.inference_mode():
            start = time.perf_counter(), time.process_time()
            self.run()
            return time.perf_counter() - start[0], time.process_time() - start[1]


class Mixcache:
    def __init__(self, program, what, dtype, sizes, grid, threads):
        command = [program, json.dumps(sizes), *map(str, grid), what, dtype]
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def once(self):
        start = self.processor_s()
        print(file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("stopwatch has stopped: see above")
        return float(answer), self.processor_s() - start

    def processor_s(self):
        """Of all threads of the process; Linux has a clock for it, whose number clock_getcpuclockid(3) makes like this."""
        return time.clock_gettime(~self.process.pid << 3 | 2) if sys.platform == "linux" else float("nan")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def build():
    # The whole workspace, as the tests and benches are built: another choice of packages would build Burn once more.
    command = ["cargo", "build", "--release", "--workspace", "--examples"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        sys.exit(f"`{' '.join(command)}` failed: see above")
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/stopwatch"


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0] if os.path.exists("/proc/cpuinfo") else ""
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    wanted = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": facts.get("model name", "unknown"),
        "family_model": f"{facts.get('cpu family')}/{facts.get('model')}",
        "flags": [flag for flag in facts.get("flags", "").split() if flag in wanted],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg(),
        "torch": torch.__version__,
        "torch_cpu": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": torch.backends.mkldnn.is_available(),
        "python": sys.version.split()[0],
        "rustc": subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip(),
        "revision": git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else ""),
        "command": " ".join(["just bench-torch", *sys.argv[1:]]),
    }


COLUMNS = "torch_s", "torch_cpu_s", "mixcache_s", "mixcache_cpu_s"


def compete(name, threads, rounds, program):
    """Of every round the least of the repetitions' times: what disturbs a run only adds."""
    what, dtype, sizes, grid, repetitions = CASES[name]
    # Left on for all rounds, autocast keeps the weights that it has converted.
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
        rivals = Torch(what, sizes, grid, threads), Mixcache(program, what, dtype, sizes, grid, threads)
        for rival in rivals:
            rival.once()
        found = []
        for _ in range(rounds):
            times = []
            for rival in rivals:
                time.sleep(REST_S)
                times += [min(t) for t in zip(*(rival.once() for _ in range(repetitions)))]
            found.append(dict(zip(COLUMNS, times)))
        rivals[1].close()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, help="a stopwatch built before; none = build it")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "results/bench-torch")
    options = parser.parse_args()

    distance = wan.distance_from_reference(ROOT / "crates/core/tests/golden/wan/wan_a")
    if not distance < DISTANCE_MAX:
        sys.exit(f"the PyTorch model is {distance:.1e} off a recorded pass of Wan: its times would mean nothing")

    program = options.program or build()
    facts, rows = machine(), []
    print("case          threads  torch ms  mixcache ms  ratio  cpu time  ratios of the rounds")
    for name in options.cases:
        for threads in options.threads:
            rounds = compete(name, threads, options.rounds, program)
            for i, columns in enumerate(rounds):
                rows.append(dict(case=name, threads=threads, round=i, repetitions=CASES[name][-1], **columns))
            t, t_cpu, m, m_cpu = (min(times[column] for times in rounds) for column in COLUMNS)
            ratios = " ".join(f"{times['mixcache_s'] / times['torch_s']:.2f}" for times in rounds)
            print(
                f"{name:<13} {threads:>7}  {t * 1e3:8.1f}  {m * 1e3:11.1f}  {m / t:5.2f}  {m_cpu / t_cpu:8.2f}  {ratios}",
                flush=True,
            )

    folder = options.results / f"{facts['date'][:10]}-{facts['revision'][:8]}"
    if folder.exists():
        folder = folder.with_name(f"{folder.name}-{facts['date'][11:19].replace(':', '')}")
    folder.mkdir(parents=True)
    facts["load_average_after"] = os.getloadavg()
    facts["cases"] = {name: dict(zip(("what", "dtype", "sizes", "grid"), CASES[name])) for name in CASES}
    (folder / "machine.json").write_text(json.dumps(facts, indent=1) + "\n")
    with open(folder / "rounds.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"recorded in {folder}")


if __name__ == "__main__":
    main()
