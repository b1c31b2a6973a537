#!/usr/bin/env bash
# Train with one process per GPU:  tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
#
# Several machines: the same command on each, with NNODES, NODE_RANK and MASTER_ADDR set. On Slurm:
#   srun --ntasks-per-node=8 --gres=gpu:8 python tools/train.py CONFIG --launcher slurm
set -euo pipefail

if [ $# -lt 2 ] || ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]; GPUS is a number" >&2
    exit 2
fi
# What to type again, with --resume, after an interruption.
VSR_TYPED_COMMAND=$(printf '%q ' "$0" "$@")
export VSR_TYPED_COMMAND
config=$1 gpus=$2
shift 2

# As a module, since torchrun is on the path only in an environment that is activated.
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" --nproc-per-node "$gpus" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
