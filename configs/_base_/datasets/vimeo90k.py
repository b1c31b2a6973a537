"""Vimeo-90K septuplets, mirrored to 14 frames, and Vid4 to validate on.

Which degradation they are under stands in vimeo90k_bi.py and vimeo90k_bd.py.
"""

vimeo90k_root = "data/vimeo90k"
total_batch_size = 8  # of all processes together

train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="ResumableSampler"),
    dataset=dict(
        type="ClipDataset",
        gt_root=f"{vimeo90k_root}/sequences",
        ann_file=f"{vimeo90k_root}/sep_trainlist.txt",
        num_input_frames=7,
        gt_size=256,
        pipeline=[
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="vertical"),
            dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
            dict(type="MirrorSequence", keys=["img", "gt"]),
            dict(type="PackInputs"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ClipDataset", gt_root="data/Vid4/GT", pipeline=[dict(type="PackInputs")]),
)
val_evaluator = dict(type="ClipQuality", dataset="Vid4", channel="Y", baseline=True)
