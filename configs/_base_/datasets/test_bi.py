"""Test under BI; LR frames are made on the fly where their folder is absent."""

_base_ = "./test_sets.py"

test_dataloader = _base_.test_dataloader
lq_roots = [
    ["data/REDS/train_sharp_bicubic/X4", "data/REDS/train/train_sharp_bicubic/X4"],
    "data/vimeo90k/BIx4",
    "data/Vid4/BIx4",
    "data/UDM10/BIx4",
]
for loader, lq_root in zip(test_dataloader, lq_roots, strict=True):
    loader.dataset.update(lq_root=lq_root, degradation="BI")
del loader, lq_root
