"""What all training sets have in common: the batch, the loader, flips and transposes (section 4)."""

total_batch_size = 8  # of all processes together

train_pipeline = [
    dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
    dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="vertical"),
    dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=total_batch_size,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="ResumableSampler"),
)
val_dataloader = dict(batch_size=1, num_workers=1, sampler=dict(type="DefaultSampler", shuffle=False))
