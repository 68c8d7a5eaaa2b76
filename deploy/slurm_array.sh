#!/bin/bash
# A batch as a SLURM array: each task segments one part of it into the same folder.
#
#   sbatch --array=0-15 deploy/slurm_array.sh clips.csv results --preset fast
#   sbatch --dependency=afterany:JOB --wrap "deeplab-gygo batch-merge results"
#
# Options after the list and the folder are those of `deeplab-gygo batch`. A task that was stopped or
# requeued goes on after the last whole frame; finished clips are skipped.
#SBATCH --job-name=deeplab-gygo
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --output=%x-%A_%a.log
#SBATCH --requeue
set -euo pipefail

: "${SLURM_ARRAY_TASK_ID:?Submit it with sbatch --array=0-N}"
if (($# < 2)); then
    echo "usage: sbatch --array=0-N deploy/slurm_array.sh LIST OUT [OPTIONS]" >&2
    exit 2
fi
videos=$1 out=$2
shift 2

# Copies of remote clips go to a disk of the node, which all tasks on it share.
export DEEPLAB_GYGO_SCRATCH="${DEEPLAB_GYGO_SCRATCH:-${TMPDIR:-/tmp}/deeplab_gygo-$USER}"

# srun passes the signal on with which SLURM ends a task: unfinished work is left in order.
exec srun --ntasks=1 deeplab-gygo batch --videos "$videos" --out "$out" \
    --num-parts "$SLURM_ARRAY_TASK_COUNT" \
    --part-id "$(((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN) / ${SLURM_ARRAY_TASK_STEP:-1}))" \
    "$@"
