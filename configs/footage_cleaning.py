"""The cleaning that ships with the package, trained on the photographs and videos that docs/footage.md lists.

Clips come from `prepare_data.py material FOLDER --out data/material`; carphone_pristine is held out. One core of a CPU
does 8 000 steps an hour.
"""

_base_ = [
    "./_base_/models/footage_cleaning.py",
    "./_base_/datasets/training.py",
    "./_base_/schedules/basicvsr_300k.py",
    "./_base_/runtime.py",
]

data_root = "data/material"
data_root_followed = data_root
max_iters = 12_000
max_iters_followed = max_iters
total_batch_size = 8

train_pipeline = [
    dict(type="Flip", keys=["gt"], flip_ratio=0.5, direction="horizontal"),
    dict(type="Flip", keys=["gt"], flip_ratio=0.5, direction="vertical"),
    dict(type="RandomTransposeHW", keys=["gt"], transpose_ratio=0.5),
    # After the turns: codecs' blocks begin at the top left.
    dict(type="DegradeFootage", presets=dict(web=0.55, dvd=0.2, old_camera=0.15, clean=0.05), scale=1),
    dict(type="PackInputs"),
]
clips = dict(
    type="ClipDataset",
    gt_root=data_root,
    degradation="pipeline",
    num_input_frames=5,
    gt_size=64,
    scale=1,
    pipeline=train_pipeline,
)
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        type="ConcatClips",
        datasets=[
            dict(clips, exclude=["*_by_[0-9]"]),
            dict(clips, include=["*_by_[0-9]"]),
        ],
        times=[1, 25],  # videos move as the world does, and there are few: 2 of 5 samples are of them
    ),
)
val_dataloader = dict(
    dataset=dict(
        type="ClipDataset",
        gt_root="data/held_out",
        degradation="pipeline",
        scale=1,
        pipeline=[dict(type="DegradeFootage", presets="web", scale=1, seed=0), dict(type="PackInputs")],
    ),
)
val_evaluator = dict(type="ClipQuality", dataset="held out", channel="Y", baseline=True)
test_dataloader = [dict(_base_.val_dataloader, **val_dataloader)]
test_evaluator = [dict(type="ClipQuality", dataset="held out", channel="Y", baseline=True)]

train_cfg = dict(max_iters=max_iters, val_interval=1000)
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(_delete_=True), max_grad_norm=5.0, precision="bf16")
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.05, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, T_max=max_iters, eta_min=1e-7),
]
custom_hooks = []
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=500))
