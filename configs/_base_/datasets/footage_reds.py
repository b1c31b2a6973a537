"""REDS, degraded as footage: sequences of 15 frames; validation on REDSval4, test on REDS4.

The clips are those of reds.py; MMagic takes crops of the same clips (train_sharp_sub).
"""

_base_ = "./footage.py"

data_root = "data/REDS"
data_root_followed = data_root  # where this is replaced, the sets that lie there follow

# As the archives unpack them, or without the folders above.
train_sharp = [f"{data_root}/train_sharp", f"{data_root}/train/train_sharp"]
val_sharp = [f"{data_root}/val_sharp", f"{data_root}/val/val_sharp"]
# 240, 241, 246 and 257 are REDSval4 where clips of validation were appended to train_sharp.
reds4 = ["000", "011", "015", "020"]
reds_val4 = ["000", "001", "006", "017"]

_train = dict(
    type="ClipDataset", degradation="pipeline", num_input_frames=15, gt_size=256, pipeline=_base_.train_pipeline
)
_whole = dict(type="ClipDataset", degradation="pipeline", pipeline=_base_.val_pipeline)

train_dataloader = dict(
    dataset=dict(
        type="ConcatClips",
        datasets=[
            dict(gt_root=train_sharp, exclude=[*reds4, "240", "241", "246", "257"], **_train),
            dict(gt_root=val_sharp, exclude=reds_val4, **_train),
        ],
    ),
)
val_dataloader = dict(dataset=dict(gt_root=val_sharp, include=reds_val4, **_whole))
val_evaluator = dict(type="ClipQuality", dataset="REDSval4", channel="RGB", baseline=True)
test_dataloader = [dict(_base_.val_dataloader, dataset=dict(gt_root=train_sharp, include=reds4, **_whole))]
test_evaluator = [dict(type="ClipQuality", dataset="REDS4", channel="RGB")]
