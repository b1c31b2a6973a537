"""The adaptation for finely quantised footage: BasicVSR fine-tuned behind the cleaning, which stays as it is.

Clips as for footage_cleaning.py. It ends in adaptation.safetensors; one core of a CPU does 2 200 steps an hour.
"""

_base_ = "./footage_cleaning.py"

data_root = "data/material"
data_root_followed = data_root
max_iters = 4_000
max_iters_followed = max_iters
total_batch_size = 3

model = dict(
    _delete_=True,
    _scope_="vsr_plugin",
    type="VideoRestorer",
    generator=dict(
        type="BasicVSRNet",
        init_cfg=dict(type="WarmStart", checkpoint="basicvsr_vimeo90k_bi"),
        cleaning=dict(type="footage", init_cfg=dict(type="Pretrained", checkpoint="footage_cleaning")),
    ),
    frozen=["generator.spynet", "generator.cleaning"],
    pixel_loss=dict(type="PSNRLoss", floor=2.0),
    data_preprocessor=dict(type="SequencePreprocessor", non_blocking=True),
)

_degradation = dict(
    type="DegradeFootage",
    presets=dict(web=0.6, dvd=0.2, old_camera=0.2),
    scale=4,
    quantiser_steps=(2, 18),
)
train_pipeline = [*_base_.train_pipeline[:-2], _degradation, _base_.train_pipeline[-1]]
clips = dict(_base_.clips, gt_root=data_root, num_input_frames=7, gt_size=128, scale=4, pipeline=train_pipeline)
train_dataloader = dict(
    batch_size=total_batch_size,
    dataset=dict(
        datasets=[
            dict(clips, exclude=["*_by_[0-9]"]),
            dict(clips, include=["*_by_[23]"]),  # the others are smaller
        ],
    ),
)
_held_out = dict(
    type="ClipDataset",
    gt_root="data/held_out",
    degradation="pipeline",
    pipeline=[dict(type="DegradeFootage", presets="web", scale=4, seed=0), dict(type="PackInputs")],
)
val_dataloader = dict(dataset=dict(_held_out, _delete_=True))
test_dataloader = [dict(_base_.val_dataloader, dataset=_held_out)]

optim_wrapper = dict(optimizer=dict(lr=1e-4), precision="fp32")
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.05, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, T_max=max_iters, eta_min=1e-7),
]
train_cfg = dict(max_iters=max_iters, val_interval=500)
custom_hooks = [dict(type="SaveAdaptation", origin="basicvsr_vimeo90k_bi", rank=8)]
