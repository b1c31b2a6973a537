"""Stage 2 of RealBasicVSR on clips of one's own, after real_basicvsr_wogan_my_clips or from the published stage 1."""

_base_ = [
    "./_base_/models/real_basicvsr.py",
    "./_base_/datasets/footage_my_clips.py",
    "./_base_/schedules/real_basicvsr_150k.py",
    "./_base_/runtime.py",
]

total_batch_size = 8  # of all processes together
train_dataloader = dict(batch_size=total_batch_size)
max_iters = 15_000
max_iters_followed = max_iters
train_cfg = dict(max_iters=max_iters, val_interval=1000)

default_hooks = dict(checkpoint=dict(interval=1000))
