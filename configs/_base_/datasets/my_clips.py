"""Clips of one's own: videos or folders of images in data/my_clips/train and data/my_clips/val, without annotation.

LR frames are made on the fly (BI). Videos train faster when packed once: tools/prepare_data.py folder --pack.
"""

my_clips_root = "data/my_clips"
total_batch_size = 8  # of all processes together

train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="ResumableSampler"),
    dataset=dict(
        type="ClipDataset",
        gt_root=f"{my_clips_root}/train",
        degradation="BI",
        num_input_frames=15,
        gt_size=256,
        pipeline=[
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="vertical"),
            dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
            dict(type="PackInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ClipDataset", gt_root=f"{my_clips_root}/val", degradation="BI", pipeline=[dict(type="PackInputs")]
    ),
)
val_evaluator = dict(type="ClipQuality", dataset="val", channel="Y", baseline=True)

test_dataloader = [val_dataloader]
test_evaluator = [dict(type="ClipQuality", dataset="val", channel="Y")]
