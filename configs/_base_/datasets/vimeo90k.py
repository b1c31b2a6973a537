"""Vimeo-90K septuplets, mirrored to 14 frames, and Vid4 to validate on.

Which degradation they are under stands in vimeo90k_bi.py and vimeo90k_bd.py.
"""

_base_ = "./training.py"

vimeo90k_root = "data/vimeo90k"
vimeo90k_root_followed = vimeo90k_root  # where this is replaced, the sets that lie there follow

train_dataloader = dict(
    dataset=dict(
        type="ClipDataset",
        gt_root=[f"{vimeo90k_root}/sequences", f"{vimeo90k_root}/GT"],
        ann_file=[f"{vimeo90k_root}/sep_trainlist.txt", f"{vimeo90k_root}/meta_info_Vimeo90K_train_GT.txt"],
        num_input_frames=7,
        gt_size=256,
        pipeline=[
            *_base_.train_pipeline[:-1],
            dict(type="MirrorSequence", keys=["img", "gt"]),
            _base_.train_pipeline[-1],
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(type="ClipDataset", gt_root="data/Vid4/GT", pipeline=[dict(type="PackInputs")]),
)
val_evaluator = dict(type="ClipQuality", dataset="Vid4", channel="Y", baseline=True)
