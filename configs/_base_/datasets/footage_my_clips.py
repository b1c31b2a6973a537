"""Clips of one's own as in my_clips.py, degraded as footage."""

_base_ = "./footage.py"

my_clips_root = "data/my_clips"
my_clips_root_followed = my_clips_root  # where this is replaced, the sets that lie there follow

train_dataloader = dict(
    dataset=dict(
        type="ClipDataset",
        gt_root=f"{my_clips_root}/train",
        degradation="pipeline",
        num_input_frames=15,
        gt_size=256,
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type="ClipDataset", gt_root=f"{my_clips_root}/val", degradation="pipeline", pipeline=_base_.val_pipeline
    ),
)
val_evaluator = dict(type="ClipQuality", dataset="val", channel="Y", baseline=True)

test_dataloader = [dict(_base_.val_dataloader, **val_dataloader)]
test_evaluator = [dict(type="ClipQuality", dataset="val", channel="Y")]
