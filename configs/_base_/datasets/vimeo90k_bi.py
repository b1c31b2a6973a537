"""Vimeo-90K under BI; LR frames are made on the fly where their folder is absent."""

_base_ = ["./vimeo90k.py", "./test_bi.py"]

train_dataloader = dict(dataset=dict(lq_root=f"{_base_.vimeo90k_root}/BIx4", degradation="BI"))
val_dataloader = dict(dataset=dict(lq_root="data/Vid4/BIx4", degradation="BI"))
