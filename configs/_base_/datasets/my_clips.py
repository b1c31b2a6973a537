"""Clips of one's own: videos or folders of images in data/my_clips/train and data/my_clips/val, without annotation.

LR frames are made on the fly (BI). Videos train faster when packed once: tools/prepare_data.py folder --pack.
"""

_base_ = "./training.py"

my_clips_root = "data/my_clips"
my_clips_root_followed = my_clips_root  # where this is replaced, the sets that lie there follow

train_dataloader = dict(
    dataset=dict(
        type="ClipDataset",
        gt_root=f"{my_clips_root}/train",
        degradation="BI",
        num_input_frames=15,
        gt_size=256,
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type="ClipDataset", gt_root=f"{my_clips_root}/val", degradation="BI", pipeline=[dict(type="PackInputs")]
    ),
)
val_evaluator = dict(type="ClipQuality", dataset="val", channel="Y", baseline=True)

test_dataloader = [dict(_base_.val_dataloader, **val_dataloader)]
test_evaluator = [dict(type="ClipQuality", dataset="val", channel="Y")]
