"""What RealBasicVSR's training sets have in common: 15 frames, sharpened, mirrored to 30, degraded as footage is."""

_base_ = "./training.py"

total_batch_size = 16  # of all processes together

footage = dict(type="DegradeFootage", presets="realbasicvsr", scale=4)
train_pipeline = [
    dict(type="Flip", keys=["gt"], flip_ratio=0.5, direction="horizontal"),
    dict(type="Flip", keys=["gt"], flip_ratio=0.5, direction="vertical"),
    dict(type="RandomTransposeHW", keys=["gt"], transpose_ratio=0.5),
    dict(type="SharpenTruth", keep_plain=True),
    dict(type="MirrorSequence", keys=["gt", "gt_plain"]),
    footage,
    dict(type="PackInputs"),
]
val_pipeline = [dict(footage, seed=0), dict(type="PackInputs")]
train_dataloader = dict(batch_size=total_batch_size)
