"""The same for REDS, twice as long."""

_base_ = "./basicvsr_pp_300k.py"

max_iters = 600_000
max_iters_followed = max_iters
train_cfg = dict(max_iters=max_iters)
param_scheduler = dict(T_max=max_iters)
