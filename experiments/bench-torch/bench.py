"""mixcache's forward against PyTorch's on this CPU, or on one of its GPUs: same shapes, dtype and threads, in turns.

    just bench-torch --help

Each round times PyTorch, then mixcache (`crates/core/examples/stopwatch.rs`), each the fastest of some repetitions. The ratio
of a case is that of the fastest times over all rounds; the ratios of the rounds show the noise. Processor time, which
includes that of threads that spin while they wait, is the steadier measure of one thread on a busy machine. With
`--device cuda:0` the shapes are those of Wan2.1 at 832×480 and 81 frames, and PyTorch's side is all bf16. The rate of both
stands beside that of PyTorch's product of two large matrices in the same dtype on as many threads: what there is to be had.
Wan's rival is `wan.py` beside this; where diffusers is installed, HunyuanVideo and CogVideoX run beside its models (`hub.py`).
Records rounds.csv and machine.json under results/bench-torch/.
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

import hub
import wan

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Threads of the rival before spin for some time after its last call: neither may be timed beside them.
REST_S = 0.5
# The rival must be right before it is timed: rounding of a few layers in f32.
DISTANCE_MAX = 1e-5


def sizes(layers, heads, head_dim, ffn_dim, text_len, text_dim):
    return dict(
        num_layers=layers, num_attention_heads=heads, attention_head_dim=head_dim, ffn_dim=ffn_dim,
        text_len=text_len, text_dim=text_dim, in_channels=16, out_channels=16, patch_size=[1, 2, 2],
        freq_dim=256, eps=1e-6,
    )  # fmt: skip


S, L = (4, 32, 32), (8, 32, 32)
WAN_S, WAN_L = sizes(1, 6, 64, 1536, 128, 384), sizes(1, 12, 128, 8960, 512, 4096)
WAN_MINI = sizes(8, 6, 32, 768, 16, 64)
# name: (rival, what is timed, dtype, sizes, latent frames × rows × columns, repetitions a round). In bf16 the rival runs
# under autocast, attention too, as on our side; its norms, as ours, are in f32.
CASES = {
    "block-s": (wan.run, "block", "f32", WAN_S, S, 10),
    "block-l": (wan.run, "block", "f32", WAN_L, L, 1),
    "mini": (wan.run, "pass", "f32", WAN_MINI, (8, 16, 16), 10),
    "block-s-bf16": (wan.run, "block", "bf16", WAN_S, S, 10),
    "block-l-bf16": (wan.run, "block", "bf16", WAN_L, L, 1),
    "mini-bf16": (wan.run, "pass", "bf16", WAN_MINI, (8, 16, 16), 10),
}
if hub.IS_INSTALLED:
    HUNYUAN, COGVIDEOX = hub.hunyuan(1, 2, 6, 128, 1024), hub.cogvideox(3, 12, 1024, L)
    CASES |= {
        "hunyuan": (hub.run_hunyuan, "pass", "f32", HUNYUAN, L, 2),
        "cogvideox": (hub.run_cogvideox, "pass", "f32", COGVIDEOX, L, 2),
        "hunyuan-bf16": (hub.run_hunyuan, "pass", "bf16", HUNYUAN, L, 2),
        "cogvideox-bf16": (hub.run_cogvideox, "pass", "bf16", COGVIDEOX, L, 2),
    }
# The tokens of 832×480 and 81 frames: 32,760. One block and four, which cannot stay in a cache from one run to the next.
CLIP = (21, 60, 104)
GPU_CASES = {
    f"{name}-{count}": (wan.run, "blocks", "bf16", sizes(layers, *widths, 512, 4096), CLIP, 5)
    for name, widths in {"wan-1.3b": (12, 128, 8960), "wan-14b": (40, 128, 13824)}.items()
    for layers, count in ((1, "block"), (4, "4-blocks"))
}


class Torch:
    def __init__(self, rival, what, dtype, sizes, grid, threads, device):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.device = device
        with torch.inference_mode():
            self.run = rival(what, dtype, sizes, grid, device)

    def once(self):
        """Wall-clock and processor seconds of a run."""
        with torch.inference_mode():
            start = time.perf_counter(), time.process_time()
            self.run()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            return time.perf_counter() - start[0], time.process_time() - start[1]


class Mixcache:
    def __init__(self, program, what, dtype, sizes, grid, threads, device):
        """`flops`: the operations of a run, as mixcache counts them: of linear layers, attention and convolutions."""
        command = [program, str(device), json.dumps(sizes), *map(str, grid), what, dtype]
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.flops = float(self.answer())

    def once(self):
        start = self.processor_s()
        print(file=self.process.stdin, flush=True)
        return float(self.answer()), self.processor_s() - start

    def answer(self):
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("stopwatch has stopped: see above")
        return answer

    def processor_s(self):
        """Of all threads of the process; Linux has a clock for it, whose number clock_getcpuclockid(3) makes like this."""
        return time.clock_gettime(~self.process.pid << 3 | 2) if sys.platform == "linux" else float("nan")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def build(device):
    # The whole workspace, as the tests and benches are built: another choice of packages would build Burn once more.
    command = ["cargo", "build", "--release", "--workspace", "--examples"]
    if device.type != "cpu":
        command += ["--features", f"mixcache-harness/{device.type}"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        sys.exit(f"`{' '.join(command)}` failed: see above")
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/stopwatch"


def said(*command):
    """By a program that need not be there: a stopwatch built elsewhere needs none."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def machine(device):
    info = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0] if os.path.exists("/proc/cpuinfo") else ""
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    git = lambda *words: said("git", *words)
    wanted = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": facts.get("model name", "unknown"),
        "family_model": f"{facts.get('cpu family')}/{facts.get('model')}",
        "flags": [flag for flag in facts.get("flags", "").split() if flag in wanted],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "torch_cpu": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": torch.backends.mkldnn.is_available(),
        "python": sys.version.split()[0],
        "rustc": said("rustc", "--version"),
        "revision": git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else ""),
        "command": " ".join(["just bench-torch", *sys.argv[1:]]),
    }


COLUMNS = "torch_s", "torch_cpu_s", "mixcache_s", "mixcache_cpu_s"


def product_flops_per_s(device, dtype, threads):
    """Of PyTorch's product of two large matrices of random numbers: what this device reaches."""
    size, repetitions = (8192, 20) if device.type == "cuda" else (4096, 5)
    torch.set_num_threads(threads)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def rate(flops_per_s):
    unit, name = (1e12, "TFLOP/s") if flops_per_s >= 1e13 else (1e9, "GFLOP/s")
    return f"{flops_per_s / unit:.0f} {name}"


def compete(case, threads, rounds, program, device):
    """Of every round the least of the repetitions' times: what disturbs a run only adds."""
    rival, what, dtype, sizes, grid, repetitions = case
    # Left on for all rounds, autocast keeps the weights that it has converted.
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16" and device.type == "cpu"):
        rivals = (
            Torch(rival, what, dtype, sizes, grid, threads, device),
            Mixcache(program, what, dtype, sizes, grid, threads, device),
        )
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
    return found, rivals[1].flops


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, help="a stopwatch built before; none = build it")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda:0")
    parser.add_argument("--cases", nargs="+", choices=[*CASES, *GPU_CASES], help="all of the device's, by default")
    parser.add_argument("--threads", nargs="+", type=int, help="of the CPU: 1 and 2, by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "results/bench-torch")
    options = parser.parse_args()

    distance = wan.distance_from_reference(ROOT / "crates/core/tests/golden/wan/wan_a")
    if not distance < DISTANCE_MAX:
        sys.exit(f"the PyTorch model is {distance:.1e} off a recorded pass of Wan: its times would mean nothing")

    device = options.device
    cases, threads_of = (CASES, [1, 2]) if device.type == "cpu" else (GPU_CASES, [1])
    if strange := [name for name in options.cases or [] if name not in cases]:
        sys.exit(f"{' '.join(strange)}: no case of {device}, whose cases are {' '.join(cases)}")
    program = options.program or build(device)
    facts, rows = machine(device), []
    # A program that was built elsewhere may be of another revision than this checkout.
    facts["program"] = str(options.program or "built from this revision")
    chosen = {name: cases[name] for name in options.cases or cases}
    products = facts["product_flops_per_s"] = {}
    print("case          threads  torch ms  mixcache ms  ratio  cpu time  ratios of the rounds")
    for name in chosen:
        for threads in options.threads or threads_of:
            dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[cases[name][2]]
            setting = f"{cases[name][2]}, {threads} thread{'s' * (threads > 1)}"
            if setting not in products:
                products[setting] = product_flops_per_s(device, dtype, threads)
            rounds, work = compete(cases[name], threads, options.rounds, program, device)
            for i, columns in enumerate(rounds):
                rows.append(dict(case=name, threads=threads, round=i, repetitions=cases[name][-1], **columns))
            t, t_cpu, m, m_cpu = (min(times[column] for times in rounds) for column in COLUMNS)
            ratios = " ".join(f"{times['mixcache_s'] / times['torch_s']:.2f}" for times in rounds)
            print(
                f"{name:<13} {threads:>7}  {t * 1e3:8.1f}  {m * 1e3:11.1f}  {m / t:5.2f}  {m_cpu / t_cpu:8.2f}  {ratios}",
                flush=True,
            )
            product = products[setting]
            print(
                f"{'':<13} PyTorch {rate(work / t)}, mixcache {rate(work / m)}: {work / t / product:.0%} and "
                f"{work / m / product:.0%} of PyTorch's large product, {rate(product)}",
                flush=True,
            )

    folder = options.results / f"{facts['date'][:10]}-{facts['revision'][:8]}"
    if folder.exists():
        folder = folder.with_name(f"{folder.name}-{facts['date'][11:19].replace(':', '')}")
    folder.mkdir(parents=True)
    facts["load_average_after"] = os.getloadavg()
    facts["cases"] = {name: dict(zip(("what", "dtype", "sizes", "grid"), case[1:])) for name, case in chosen.items()}
    (folder / "machine.json").write_text(json.dumps(facts, indent=1) + "\n")
    with open(folder / "rounds.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"recorded in {folder}")


if __name__ == "__main__":
    main()
