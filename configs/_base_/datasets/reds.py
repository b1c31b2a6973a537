"""REDS, BI: sequences of 15 frames; validation on REDSval4, test on all four sets.

The official folders are expected (docs/data.md); LR frames are made on the fly where `*_bicubic` is absent.
"""

_base_ = ["./training.py", "./test_bi.py"]

data_root = "data/REDS"
data_root_followed = data_root  # where this is replaced, the sets that lie there follow

# As the archives unpack them, or without the folders above.
train_sharp = [f"{data_root}/train_sharp", f"{data_root}/train/train_sharp"]
val_sharp = [f"{data_root}/val_sharp", f"{data_root}/val/val_sharp"]
train_lr, val_lr = [[f"{root}_bicubic/X4" for root in roots] for roots in (train_sharp, val_sharp)]
# 240, 241, 246 and 257 are REDSval4 where clips of validation were appended to train_sharp.
reds4 = ["000", "011", "015", "020"]
reds_val4 = ["000", "001", "006", "017"]

_train = dict(type="ClipDataset", degradation="BI", num_input_frames=15, gt_size=256, pipeline=_base_.train_pipeline)

train_dataloader = dict(
    dataset=dict(
        type="ConcatClips",
        datasets=[
            dict(
                gt_root=train_sharp,
                lq_root=train_lr,
                exclude=[*reds4, "240", "241", "246", "257"],
                **_train,
            ),
            dict(
                gt_root=val_sharp,
                lq_root=val_lr,
                exclude=reds_val4,
                **_train,
            ),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        type="ClipDataset",
        gt_root=val_sharp,
        lq_root=val_lr,
        include=reds_val4,
        degradation="BI",
        pipeline=[dict(type="PackInputs")],
    ),
)
val_evaluator = dict(type="ClipQuality", dataset="REDSval4", channel="RGB", baseline=True)
