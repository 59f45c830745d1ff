#!/usr/bin/env bash
# Both models side by side on one GPU in under ten minutes; the results go to $OUT (runs/out) as at most eight files.
# MINUTES_SCALE shrinks the budgets, TRAIN_FLAGS and EXPORT_FLAGS pass options on: a rehearsal on a CPU is
#   MINUTES_SCALE=0.03 TRAIN_FLAGS="--tiny --batch 2 --short-batch 2" \
#   EXPORT_FLAGS="--samples 4 --steps 3" GRACE_SECONDS=300 EXPORT_SECONDS=300 experiments/train/run_gpu.sh
set -u
cd "$(dirname "$0")"
WORK=${WORK:-$PWD/runs}
OUT=${OUT:-$WORK/out}
SCALE=${MINUTES_SCALE:-1}
minutes() { python3 -c "print($1 * $SCALE)"; }
seconds() { python3 -c "print(int(60 * $1 * $SCALE + $2))"; }
mkdir -p "$WORK" "$OUT"
export PYTHONUNBUFFERED=1

run() { # name minutes arguments…: killed, with its last checkpoint kept, when it overruns
    local name=$1 budget=$2
    shift 2
    timeout "$(seconds "$budget" "${GRACE_SECONDS:-20}")" python3 train.py --run "$WORK/$name" --minutes "$(minutes "$budget")" "$@" \
        ${TRAIN_FLAGS:-} >>"$WORK/$name.out" 2>&1 || echo "$name ended with $?; its last checkpoint is used"
}

train() { # like run; a compiler that has brought no step after COMPILE_SECONDS is given up
    local name=$1 budget=$2 waited=0
    run "$@" &
    local pid=$!
    until [ -s "$WORK/$name/log.jsonl" ] || ! kill -0 $pid 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        if [ $waited -ge "${COMPILE_SECONDS:-110}" ]; then
            echo "$name is still compiling after $waited s: it starts anew without"
            pkill -f -- "--run $WORK/$name " && wait $pid
            shift 2
            run "$name" "$(python3 -c "print($budget - $waited / 60 / $SCALE)")" "$@" --eager
            return
        fi
    done
    wait $pid
}

ship() { # model run teacher
    local name=$1-mini
    timeout "${EXPORT_SECONDS:-75}" python3 export.py --run "$WORK/$2" ${3:+--teacher "$WORK/$3"} --out "$WORK/$name" \
        --extras "$WORK/$name-extras" ${EXPORT_FLAGS:-} >"$WORK/$name.export" 2>&1 || echo "export of $name ended with $?"
    tar -C "$WORK" -cf "$OUT/$name.tar" "$name"
    tar -C "$WORK" -cf "$OUT/$name-extras.tar" "$name-extras"
    tail -n 4 "$WORK/$name.export"
}

{
    train wan "${WAN_MINUTES:-7.7}" --model wan
    ship wan wan ""
} &
wan=$!
{
    train teacher "${TEACHER_MINUTES:-5.3}" --model hunyuan
    train hunyuan "${STUDENT_MINUTES:-2.3}" --model hunyuan --teacher "$WORK/teacher"
    ship hunyuan hunyuan teacher
} &
hunyuan=$!

wait $wan $hunyuan
tar -C "$WORK" -czf "$OUT/runs.tar.gz" --exclude=checkpoint.pt --exclude=checkpoint.part \
    wan teacher hunyuan wan.out teacher.out hunyuan.out wan-mini.export hunyuan-mini.export
for name in wan teacher hunyuan; do echo "== $name" && tail -n 3 "$WORK/$name.out"; done
ls -l "$OUT"
