# What one does with mixcache. `just` lists.

# The recipes.
default:
    @just --list

# Run every policy of an experiment: `just sweep mini`, `just sweep wan14b --weights DIR --device cuda:0`.
sweep experiment *options:
    cargo run --release -- sweep {{experiment}} {{options}}

# Encode prompts once: `just embed wan14b --weights DIR -o wan.safetensors`.
embed *options:
    cargo run --release -- embed {{options}}

# What a sweep would run, and what it would cost.
list experiment *options:
    cargo run --release -- list {{experiment}} {{options}}

# Check what every figure rests on.
verify experiment="mini" *options:
    cargo run --release -- verify {{experiment}} {{options}}

# Measure what policies need to know of a model beforehand.
calibrate experiment *options:
    cargo run --release -- calibrate {{experiment}} {{options}}

# How fast predictions and residuals change from step to step.
dynamics experiment="mini" *options:
    cargo run --release -- dynamics {{experiment}} {{options}}

# Where the time of a pass goes on a device, and what policies would gain by it.
time experiment="mini" *options:
    cargo run --release -- time {{experiment}} {{options}}

# Does time follow the count of operations?
scaling *options:
    cargo run --release -- scaling {{options}}

# Train a small model anew (needs Python with PyTorch): `just train wan-mini`, `just train hunyuan-mini`.
train model minutes="8":
    experiments/train/train.sh {{model}} {{minutes}}

# Plots, tables and a page to explore in a browser, of a recording.
report recording:
    cargo run --release -- report {{recording}}

# The tables of a paper, from every recording and from published numbers.
tables *options:
    cargo run --release -- tables {{options}}

# Use the pages of made-up and recorded sweeps in headless Chromium (needs Python with Playwright, or CHROMIUM=path).
page-test *options:
    REPORT_SAMPLE="$PWD/target/page" cargo test --release --lib -- report::
    "${PYTHON:-python3}" crates/harness/tests/page/check.py {{options}} target/page/*/index.html $(ls results/*/*/report/index.html)

# Run the notebooks on the newest recordings and keep their outputs (needs notebooks/requirements.txt).
notebooks:
    "${PYTHON:-python3}" -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

# Compare with numbers made by the reference implementations.
parity folder="crates/core/tests/golden":
    cargo run --release -- parity {{folder}}

# The tests.
test:
    cargo test --release

# Time the kernels, a block, the walk, the policies and the model's pass.
bench *options:
    cargo bench --workspace {{options}}

# Time blocks and passes beside PyTorch's, in turns: `PYTHON=venv/bin/python just bench-torch --cases mini`.
bench-torch *options:
    "${PYTHON:-python3}" experiments/bench-torch/bench.py {{options}}

# All that CI checks.
ci:
    .ci/run
