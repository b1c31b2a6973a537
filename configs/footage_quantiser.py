"""What tells from frames alone how coarsely they are quantised, trained on the material of footage_cleaning.py.

It learns what codecs leave behind, and that soft, noisy and sharp frames without it, and drawings, are none of that.
docs/footage.md lists the drawings, from which `prepare_data.py material` makes clips as well. One core of a CPU does
19 000 steps an hour.
"""

_base_ = "./footage_cleaning.py"

drawings_root = "data/drawings"
max_iters = 8_000
max_iters_followed = max_iters

model = dict(
    _delete_=True,
    _scope_="vsr_plugin",
    type="QuantiserTraining",
    generator=dict(type="QuantiserEstimator", mid_channels=32),
    data_preprocessor=dict(type="SequencePreprocessor", non_blocking=True),
)

_degradation = dict(
    type="DegradeFootage",
    presets=dict(web=0.28, dvd=0.09, old_camera=0.09, copied=0.13, film=0.15, reduced=0.12, screen=0.09, clean=0.05),
    scale=2,
)
train_pipeline = [*_base_.train_pipeline[:-2], dict(type="Recolour"), _degradation, _base_.train_pipeline[-1]]
clips = dict(_base_.clips, num_input_frames=4, gt_size=128, pipeline=train_pipeline)
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(clips, exclude=["*_by_[0-9]"]),
            dict(clips, include=["*_by_[23]"]),  # the others are smaller
            dict(clips, gt_root=drawings_root),
        ],
        times=[1, 12, 1],
    ),
)
val_pipeline = [dict(type="DegradeFootage", presets="web", scale=2, seed=0), dict(type="PackInputs")]
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = [dict(_base_.val_dataloader, **val_dataloader)]
val_evaluator = dict(_delete_=True, type="StepError")
test_evaluator = [dict(type="StepError")]

train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-3), precision="fp32")
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.05, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, T_max=max_iters, eta_min=1e-7),
]
default_hooks = dict(checkpoint=dict(save_best="step_error", rule="less"), pictures=dict(clips=0))
