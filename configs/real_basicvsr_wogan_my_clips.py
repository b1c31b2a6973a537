"""Fine-tune the published stage 1 of RealBasicVSR on clips of one's own, as in basicvsr_my_clips."""

_base_ = [
    "./_base_/models/real_basicvsr_wogan.py",
    "./_base_/datasets/footage_my_clips.py",
    "./_base_/schedules/real_basicvsr_wogan_300k.py",
    "./_base_/runtime.py",
]

max_iters = 30_000
max_iters_followed = max_iters
train_cfg = dict(max_iters=max_iters, val_interval=1000)
model = dict(
    generator=dict(
        spynet_pretrained=None,
        init_cfg=dict(type="Pretrained", checkpoint="realbasicvsr_wogan_reds"),
    ),
)

default_hooks = dict(checkpoint=dict(interval=1000))
