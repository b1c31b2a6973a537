"""Alignment: none, features are propagated as they are; without a flow network, hence without its settings."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(alignment="none", spynet_pretrained=None), frozen=[])
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, lr_mults={}))
custom_hooks = []
