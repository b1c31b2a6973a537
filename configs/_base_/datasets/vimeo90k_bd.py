"""Vimeo-90K under BD; LR frames are made on the fly where their folder is absent."""

_base_ = ["./vimeo90k.py", "./test_bd.py"]

train_dataloader = dict(dataset=dict(lq_root=f"{_base_.vimeo90k_root}/BDx4", degradation="BD"))
val_dataloader = dict(dataset=dict(lq_root="data/Vid4/BDx4", degradation="BD"))
