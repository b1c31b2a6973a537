#!/usr/bin/env bash
# Test with one process per GPU, or on a CPU with that many:  tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
#
# Several machines: the same command on each, with NNODES, NODE_RANK and MASTER_ADDR set. On Slurm:
#   srun --ntasks-per-node=8 --gres=gpu:8 python tools/test.py CONFIG CHECKPOINT --launcher slurm
set -euo pipefail

if [ $# -lt 3 ] || ! [[ $3 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]; GPUS is a number" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3

# As a module, since torchrun is on the path only in an environment that is activated.
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" --nproc-per-node "$gpus" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
