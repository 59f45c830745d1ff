#!/usr/bin/env bash
# Trains a small model and exports it to runs/MODEL: `train.sh wan-mini 8`. Run again with the same arguments to resume.
# PYTHON chooses the interpreter; what it needs stands in requirements.txt.
set -euo pipefail
cd "$(dirname "$0")"
model=${1:?wan-mini or hunyuan-mini} minutes=${2:-8} python=${PYTHON:-python3} runs=${RUNS:-runs}
"$python" -c "import torch, safetensors, cv2, PIL" 2>/dev/null || {
    echo "$python lacks PyTorch or its companions: $python -m pip install -r experiments/train/requirements.txt" >&2
    exit 1
}
case $model in
wan-mini)
    "$python" train.py --model wan --run "$runs/wan" --minutes "$minutes"
    "$python" export.py --run "$runs/wan" --out "$runs/wan-mini" --extras "$runs/wan-mini-extras"
    ;;
hunyuan-mini) # two thirds for the teacher, one third to distil its guidance
    part() { "$python" -c "print($minutes * $1)"; }
    "$python" train.py --model hunyuan --run "$runs/teacher" --minutes "$(part 2/3)"
    "$python" train.py --model hunyuan --run "$runs/hunyuan" --minutes "$(part 1/3)" --teacher "$runs/teacher"
    "$python" export.py --run "$runs/hunyuan" --teacher "$runs/teacher" --out "$runs/hunyuan-mini" --extras "$runs/hunyuan-mini-extras"
    ;;
*)
    echo "$model: expected wan-mini or hunyuan-mini" >&2
    exit 1
    ;;
esac
