#!/usr/bin/env bash
# Checks this package on a machine with an NVIDIA GPU, in a few minutes, stage by stage.
#
#   OUT=/tmp/check GPU_CHECK_DATA=/data/DAVIS bash tools/gpu_check.sh
#
# Needs Python 3.11 or later with JAX for CUDA; torch and torchvision for the stage `peer`. Results
# are appended to $OUT/gpu_check.jsonl as they come, and a table is printed at the end: a stage that
# hangs or fails costs only its own time. On an H200 the stages versions, cold, cached and training
# have run; the others were rehearsed on a CPU alone.
#
# GPU_CHECK_DATA       dataset in the layout of DAVIS 2016; without it two clips are drawn
# GPU_CHECK_SEQUENCES  names of two of its sequences; the first two by default
# GPU_CHECK_CPU_MASKS  results of `batch` on a CPU for the same sequences, to compare
# GPU_CHECK_SECONDS    limit of all stages together, 480 by default
# GPU_CHECK_STAGES     stages in their order, each with its limit in seconds
# GPU_CHECK_PYTHON     interpreter, python3 by default
# GPU_CHECK_REHEARSE   1: tiny sizes on a CPU; the times mean nothing
set -u
cd "$(dirname "$0")/.." || exit 1

python=${GPU_CHECK_PYTHON:-python3}
stages=${GPU_CHECK_STAGES:-"versions:20 cold:60 profile:90 best:60 zero_shot:45 errors:35 kernels:40
    peer:20 cached:25 training:75 sweep:40"}
export OUT=${OUT:-$PWD/out/gpu_check}
export KERAS_BACKEND=jax TF_CPP_MIN_LOG_LEVEL=3 PYTHONUNBUFFERED=1
export PYTHONPATH=$PWD:$PWD/tools${PYTHONPATH:+:$PYTHONPATH}
[ "${GPU_CHECK_REHEARSE:-}" ] && export JAX_PLATFORMS=cpu
mkdir -p "$OUT" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export GPU_CHECK_WORK=$work
: >"$OUT/gpu_check.jsonl"
: >"$OUT/gpu_check.log"

"$python" tools/gpu_stages.py missing || exit
end=$((SECONDS + ${GPU_CHECK_SECONDS:-480}))
for stage in $stages; do
    name=${stage%%:*} limit=${stage##*:} left=$((end - SECONDS))
    if [ "$left" -lt 8 ]; then
        echo "{\"stage\": \"$name\", \"status\": \"no time left\"}" >>"$OUT/gpu_check.jsonl"
        continue
    fi
    [ "$limit" -gt $((left - 4)) ] && limit=$((left - 4))
    start=$SECONDS
    echo "== $name, at most $limit s" | tee -a "$OUT/gpu_check.log"
    # The stage ends its own commands in time; `timeout` is for one that hangs itself.
    timeout -k 2 "$((limit + 2))" "$python" tools/gpu_stages.py "$name" --seconds "$limit" \
        >>"$OUT/gpu_check.log" 2>&1
    status=$?
    seconds=$((SECONDS - start))
    echo "{\"stage\": \"$name\", \"status\": \"$status\", \"seconds\": $seconds}" \
        >>"$OUT/gpu_check.jsonl"
done
"$python" tools/gpu_results.py "$OUT/gpu_check.jsonl"
