"""Fine-tune the published BasicVSR on clips of one's own: put them into data/my_clips/train and data/my_clips/val."""

_base_ = [
    "./_base_/models/basicvsr.py",
    "./_base_/datasets/my_clips.py",
    "./_base_/schedules/basicvsr_300k.py",
    "./_base_/runtime.py",
]

model = dict(generator=dict(init_cfg=dict(type="Pretrained", checkpoint="basicvsr_reds4")))

# A trained network needs a tenth of the steps at half the rate, and no frozen parts.
max_iters = 30_000
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = dict(T_max=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
custom_hooks = []
