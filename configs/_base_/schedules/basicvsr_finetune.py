"""Fine-tuning: a trained network needs a tenth of the steps at half the rate, and no frozen parts."""

_base_ = "./basicvsr_300k.py"

max_iters = 30_000
max_iters_followed = max_iters
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=1000)
custom_hooks = []
