"""A BasicVSR small enough for two CPU cores, on the clips of requirements/no-deps.txt; `make train-demo` runs it.

Held out: carphone_pristine. The flow network comes from official weights and stays as it is.
"""

_base_ = [
    "./_base_/models/basicvsr.py",
    "./_base_/datasets/my_clips.py",
    "./_base_/schedules/basicvsr_300k.py",
    "./_base_/runtime.py",
]

data_root = "work_dirs/train_demo/data"
total_batch_size = 2
max_iters = 1000
data_root_followed = data_root
max_iters_followed = max_iters

model = dict(
    generator=dict(mid_channels=24, num_blocks=3, spynet_pretrained="basicvsr_reds4"), frozen=["generator.spynet"]
)

train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=1,
    pin_memory=False,
    dataset=dict(gt_root=f"{data_root}/packed/GT", ann_file=f"{data_root}/train.txt", num_input_frames=5, gt_size=96),
)
val_dataloader = _base_.val_dataloader
val_dataloader.dataset.update(gt_root=f"{data_root}/packed/GT", ann_file=f"{data_root}/test.txt")
val_evaluator = dict(type="ClipQuality", dataset="carphone", channel="Y", baseline=True)
test_dataloader = [val_dataloader]
test_evaluator = [val_evaluator]

train_cfg = dict(max_iters=max_iters, val_interval=100)
optim_wrapper = dict(optimizer=dict(lr=3e-3), paramwise_cfg=dict(_delete_=True))
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.05, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, T_max=max_iters, eta_min=1e-7),
]
custom_hooks = []
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
log_processor = dict(window_size=20)
